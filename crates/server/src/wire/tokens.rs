//! `/tokenize` and `/detokenize`, as vLLM's server has them.

use portcullis_types::TokenId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chat::ChatMessage;
use super::tools::ToolField;

/// A text or a conversation whose tokens are asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "a JSON object")]
pub(crate) struct TokenizeFields {
    /// The model that is served, where it is left out.
    pub(crate) model: Option<String>,
    pub(crate) prompt: Option<String>,
    pub(crate) messages: Option<Vec<ChatMessage>>,
    pub(crate) add_special_tokens: Option<bool>,
    pub(crate) add_generation_prompt: Option<bool>,
    pub(crate) return_token_strs: Option<bool>,
    pub(crate) continue_final_message: Option<bool>,
    pub(crate) chat_template: Option<String>,
    pub(crate) tools: Option<Vec<ToolField>>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Tokenized {
    pub(crate) count: usize,
    pub(crate) max_model_len: usize,
    pub(crate) tokens: Vec<TokenId>,
    /// As the vocabulary spells them; null unless asked for.
    pub(crate) token_strs: Option<Vec<String>>,
}

/// Tokens whose text is asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "a JSON object")]
pub(crate) struct DetokenizeFields {
    /// The model that is served, where it is left out.
    pub(crate) model: Option<String>,
    pub(crate) tokens: Option<Vec<TokenId>>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Detokenized {
    pub(crate) prompt: String,
}
