//! `/v1/completions`.

use portcullis_types::TokenId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::call::{Admissibility, UsageBody};

/// The fields that only text completions have.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "a JSON object")]
pub(crate) struct CompletionFields {
    pub(crate) prompt: Option<Prompt>,
    pub(crate) logprobs: Option<u8>,
    pub(crate) echo: Option<bool>,
    pub(crate) best_of: Option<u32>,
    pub(crate) suffix: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a string, an array of strings, an array of token ids, or an array of \
                 such arrays"
)]
pub(crate) enum Prompt {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<TokenId>),
    TokenLists(Vec<Vec<TokenId>>),
}

impl Prompt {
    /// How many prompts it holds.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(_) | Self::Tokens(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::TokenLists(lists) => lists.len(),
        }
    }
}

/// The whole answer, and one event of a stream: the same shape.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TextCompletion {
    pub(crate) id: String,
    pub(crate) object: &'static str,
    pub(crate) created: i64,
    pub(crate) model: String,
    pub(crate) system_fingerprint: &'static str,
    pub(crate) choices: Vec<TextChoice>,
    /// Absent in a stream unless asked for; then null in all chunks but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Option<UsageBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admissibility: Option<Admissibility>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TextChoice {
    pub(crate) index: usize,
    pub(crate) text: String,
    pub(crate) logprobs: Option<TextLogprobs>,
    pub(crate) finish_reason: Option<&'static str>,
}

/// Parallel lists, one entry a token.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct TextLogprobs {
    pub(crate) tokens: Vec<String>,
    /// Null for the first token of a prompt: nothing came before it.
    pub(crate) token_logprobs: Vec<Option<f32>>,
    pub(crate) top_logprobs: Vec<Option<Map<String, Value>>>,
    /// In characters, from the start of the text.
    pub(crate) text_offset: Vec<usize>,
}
