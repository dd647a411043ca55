//! `/v1/messages`. Source: Anthropic's API reference.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::Admissibility;
use super::error::RecordRef;

/// The fields that chat does not have, or has in another form. Ours, and those of vLLM, are as
/// there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "a JSON object")]
pub(crate) struct MessagesFields {
    pub(crate) messages: Option<Vec<TurnField>>,
    pub(crate) system: Option<Blocks>,
    pub(crate) stop_sequences: Option<Vec<String>>,
    pub(crate) tools: Option<Vec<ToolOffer>>,
    pub(crate) tool_choice: Option<ChoiceField>,
    pub(crate) output_config: Option<OutputConfig>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct TurnField {
    pub(crate) role: TurnRole,
    pub(crate) content: Blocks,
}

/// Who speaks. `system` is not in the reference; tools that speak to several servers send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TurnRole {
    User,
    Assistant,
    System,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a string or an array of content blocks"
)]
pub(crate) enum Blocks {
    Text(String),
    Many(Vec<Block>),
}

/// One block. What it must hold depends on its type.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Block {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) text: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) input: Option<Value>,
    pub(crate) tool_use_id: Option<String>,
    pub(crate) content: Option<Blocks>,
}

/// A tool of the caller has no type, or `custom`; those with another run at Anthropic.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ToolOffer {
    #[serde(rename = "type", default)]
    pub(crate) kind: Option<String>,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) input_schema: Option<Value>,
    #[serde(default)]
    pub(crate) strict: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ChoiceField {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) disable_parallel_tool_use: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct OutputConfig {
    pub(crate) format: Option<super::responses::FormatField>,
}

/// The answer, whole or as far as it is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MessageBody {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) role: &'static str,
    pub(crate) model: String,
    pub(crate) content: Vec<ContentBlock>,
    pub(crate) stop_reason: Option<&'static str>,
    pub(crate) stop_sequence: Option<String>,
    pub(crate) usage: MessageUsage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admissibility: Option<Admissibility>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ContentBlock {
    Text {
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
}

#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct MessageUsage {
    /// Tokens of the prompt that had to be computed.
    pub(crate) input_tokens: u64,
    pub(crate) cache_creation_input_tokens: u64,
    pub(crate) cache_read_input_tokens: u64,
    pub(crate) output_tokens: u64,
    /// Ours.
    pub(crate) discarded_tokens: u64,
}

/// One event of a stream; its name is its type.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum MessageEvent {
    MessageStart {
        message: MessageBody,
    },
    ContentBlockStart {
        index: usize,
        content_block: ContentBlock,
    },
    ContentBlockDelta {
        index: usize,
        delta: BlockDelta,
    },
    ContentBlockStop {
        index: usize,
    },
    MessageDelta {
        delta: StopDelta,
        usage: MessageUsage,
        #[serde(skip_serializing_if = "Option::is_none")]
        admissibility: Option<Admissibility>,
    },
    MessageStop,
}

impl MessageEvent {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum BlockDelta {
    TextDelta { text: String },
    InputJsonDelta { partial_json: String },
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StopDelta {
    pub(crate) stop_reason: &'static str,
    pub(crate) stop_sequence: Option<String>,
}

/// `{"type": "error", "error": {…}}`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MessageError {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) error: MessageErrorDetail,
    /// Ours: the record of a call that ended with an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admissibility: Option<RecordRef>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MessageErrorDetail {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    /// Ours: as in OpenAI's errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) param: Option<String>,
    /// Ours: as in OpenAI's errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
}

/// The answer of `/v1/messages/count_tokens`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TokenCount {
    pub(crate) input_tokens: usize,
}
