//! `generation_config.json` of the Hugging Face layout.

use std::path::Path;

use serde::Deserialize;

use crate::mistakes::{Mistakes, read_object};
use crate::{Config, ModelError};

/// What `generation_config.json` recommends for a call that does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// Temperature; 0 where the file says not to sample.
    pub temperature: Option<f32>,
    /// Nucleus.
    pub top_p: Option<f32>,
    /// Likeliest tokens.
    pub top_k: Option<u32>,
    /// Divides logits of tokens seen.
    pub repetition_penalty: Option<f32>,
}

impl GenerationDefaults {
    /// Reads `generation_config.json`; a folder without one recommends nothing but the end tokens
    /// of `config`.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn load(dir: &Path, config: &Config) -> Result<Self, ModelError> {
        let path = dir.join("generation_config.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self {
                    eos_token_ids: config.eos_token_ids.clone(),
                    ..Self::default()
                });
            }
            Err(source) => return Err(ModelError::Unreadable { path, source }),
        };
        let (mut object, mut it) = (read_object(&path, &bytes)?, Mistakes::default());
        let object = &mut object;
        let eos_token_ids: Option<OneOrMany> = it.field(object, "eos_token_id");
        let is_greedy = it.field(object, "do_sample") == Some(false);
        let temperature = it.field(object, "temperature");
        let defaults = Self {
            eos_token_ids: eos_token_ids.map_or(config.eos_token_ids.clone(), Vec::from),
            temperature: if is_greedy { Some(0.0) } else { temperature },
            top_p: it.field(object, "top_p"),
            top_k: it.field(object, "top_k").filter(|k| *k > 0),
            repetition_penalty: it.field(object, "repetition_penalty"),
        };
        it.none_or(defaults, &path)
    }
}

/// A number or a list of them: token ids come both ways.
#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "expected a token id or a list of them")]
pub(crate) enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl From<OneOrMany> for Vec<u32> {
    fn from(ids: OneOrMany) -> Self {
        match ids {
            OneOrMany::One(id) => vec![id],
            OneOrMany::Many(ids) => ids,
        }
    }
}
