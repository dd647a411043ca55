//! `generation_config.json` of the Hugging Face layout.

use std::path::Path;

use serde::Deserialize;

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

#[derive(Deserialize)]
struct RawGeneration {
    eos_token_id: Option<OneOrMany>,
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
    repetition_penalty: Option<f32>,
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
        let raw: RawGeneration =
            serde_json::from_slice(&bytes).map_err(|e| ModelError::Config {
                path,
                mistakes: vec![e.to_string()],
            })?;
        let eos_token_ids = match raw.eos_token_id {
            Some(ids) => ids.into(),
            None => config.eos_token_ids.clone(),
        };
        let temperature = if raw.do_sample == Some(false) {
            Some(0.0)
        } else {
            raw.temperature
        };
        Ok(Self {
            eos_token_ids,
            temperature,
            top_p: raw.top_p,
            top_k: raw.top_k.filter(|k| *k > 0),
            repetition_penalty: raw.repetition_penalty,
        })
    }
}

/// A number or a list of them: token ids come both ways.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
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
