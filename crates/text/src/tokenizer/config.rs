//! What stands beside `tokenizer.json` in a model folder.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::TextError;

/// The part of `tokenizer_config.json` that concerns tokens, completed from
/// `special_tokens_map.json`. Both files may be missing.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct TokenizerConfig {
    pub(crate) bos_token: Option<TokenText>,
    pub(crate) eos_token: Option<TokenText>,
    pub(crate) unk_token: Option<TokenText>,
    pub(crate) pad_token: Option<TokenText>,
    #[serde(default)]
    additional_special_tokens: Option<Vec<TokenText>>,
    #[serde(default)]
    added_tokens_decoder: BTreeMap<String, AddedToken>,
    /// Whether text gets a beginning-of-sequence token, where the post-processor writes nothing.
    pub(crate) add_bos_token: Option<bool>,
}

/// A token, given as a string or as an object.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum TokenText {
    Text(String),
    Object { content: String },
}

#[derive(Debug, Deserialize)]
struct AddedToken {
    content: String,
    #[serde(default)]
    special: bool,
}

impl TokenizerConfig {
    pub(crate) fn load(dir: &Path) -> Result<Self, TextError> {
        let config: Self = read_json(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
        let map: Self = read_json(&dir.join("special_tokens_map.json"))?.unwrap_or_default();
        Ok(Self {
            bos_token: config.bos_token.or(map.bos_token),
            eos_token: config.eos_token.or(map.eos_token),
            unk_token: config.unk_token.or(map.unk_token),
            pad_token: config.pad_token.or(map.pad_token),
            additional_special_tokens: config
                .additional_special_tokens
                .or(map.additional_special_tokens),
            ..config
        })
    }

    /// Every token that the folder declares to be special, whatever `tokenizer.json` says of it.
    pub(crate) fn special_tokens(&self) -> impl Iterator<Item = &str> {
        let named = [
            &self.bos_token,
            &self.eos_token,
            &self.unk_token,
            &self.pad_token,
        ];
        let named = named.into_iter().flatten();
        let additional = self.additional_special_tokens.iter().flatten();
        let added = self
            .added_tokens_decoder
            .values()
            .filter(|token| token.special);
        named
            .chain(additional)
            .map(TokenText::as_str)
            .chain(added.map(|token| token.content.as_str()))
    }
}

impl TokenText {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
}

/// The contents of a JSON file, `None` if there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, TextError> {
    let Some(text) = read_text(path)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| TextError::Json {
            path: path.to_owned(),
            source,
        })
}

/// The contents of a text file, `None` if there is no such file.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, TextError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TextError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}
