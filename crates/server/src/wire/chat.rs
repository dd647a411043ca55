//! `/v1/chat/completions`.

use portcullis_text::{Role, ToolCall};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::{Admissibility, UsageBody};
use super::tools::{ToolChoiceField, ToolField};
use super::words::{RoleSchema, ToolCallSchema};

/// The fields that only chat has.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "a JSON object")]
pub(crate) struct ChatFields {
    pub(crate) messages: Option<Vec<ChatMessage>>,
    pub(crate) max_completion_tokens: Option<usize>,
    pub(crate) logprobs: Option<bool>,
    pub(crate) top_logprobs: Option<u8>,
    pub(crate) tools: Option<Vec<ToolField>>,
    pub(crate) tool_choice: Option<ToolChoiceField>,
    pub(crate) parallel_tool_calls: Option<bool>,
    /// The name that tools had before; refused with a hint.
    pub(crate) functions: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ChatMessage {
    #[schemars(with = "RoleSchema")]
    pub(crate) role: Role,
    #[serde(default)]
    pub(crate) content: Option<Content>,
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    #[schemars(with = "Option<Vec<ToolCallSchema>>")]
    pub(crate) tool_calls: Option<Vec<ToolCall>>,
    #[serde(default)]
    pub(crate) tool_call_id: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or an array of text parts")]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Part {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) text: Option<String>,
}

/// The whole answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatCompletion {
    pub(crate) id: String,
    pub(crate) object: &'static str,
    pub(crate) created: i64,
    pub(crate) model: String,
    pub(crate) system_fingerprint: &'static str,
    pub(crate) choices: Vec<ChatChoice>,
    pub(crate) usage: UsageBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admissibility: Option<Admissibility>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatChoice {
    pub(crate) index: usize,
    pub(crate) message: AnswerMessage,
    pub(crate) logprobs: Option<ChatLogprobs>,
    pub(crate) finish_reason: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AnswerMessage {
    pub(crate) role: &'static str,
    /// Null where the answer only calls tools.
    pub(crate) content: Option<String>,
    pub(crate) refusal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<ToolCallBody>,
}

/// A tool that the model asks the caller to call.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ToolCallBody {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) function: CalledFunction,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CalledFunction {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// JSON in a string.
    pub(crate) arguments: String,
}

/// One event of a stream.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatChunk {
    pub(crate) id: String,
    pub(crate) object: &'static str,
    pub(crate) created: i64,
    pub(crate) model: String,
    pub(crate) system_fingerprint: &'static str,
    pub(crate) choices: Vec<ChunkChoice>,
    /// Absent unless asked for; then null in all chunks but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Option<UsageBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admissibility: Option<Admissibility>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChunkChoice {
    pub(crate) index: usize,
    pub(crate) delta: Delta,
    pub(crate) logprobs: Option<ChatLogprobs>,
    pub(crate) finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<CallDelta>,
}

/// The beginning of a call, or more of its arguments.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CallDelta {
    pub(crate) index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<&'static str>,
    pub(crate) function: CalledFunction,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct ChatLogprobs {
    pub(crate) content: Vec<ChatLogprob>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatLogprob {
    #[serde(flatten)]
    pub(crate) token: TokenText,
    pub(crate) top_logprobs: Vec<TokenText>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TokenText {
    pub(crate) token: String,
    pub(crate) logprob: f32,
    /// A token may be part of a character; several then make one.
    pub(crate) bytes: Option<Vec<u8>>,
}
