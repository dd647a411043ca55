//! `/v1/responses`.

use portcullis_text::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::call::Admissibility;
use super::chat::Content;
use super::words::RoleSchema;

/// The fields that chat does not have, or has in another form. Ours, and those of vLLM, are as
/// there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "a JSON object")]
pub(crate) struct ResponsesFields {
    pub(crate) input: Option<Input>,
    pub(crate) instructions: Option<String>,
    pub(crate) max_output_tokens: Option<usize>,
    pub(crate) tools: Option<Vec<ToolItem>>,
    pub(crate) tool_choice: Option<Value>,
    pub(crate) parallel_tool_calls: Option<bool>,
    pub(crate) text: Option<TextField>,
    pub(crate) background: Option<bool>,
    pub(crate) previous_response_id: Option<String>,
    pub(crate) conversation: Option<Value>,
    pub(crate) metadata: Option<Map<String, Value>>,
}

/// A text, or the items of a conversation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or an array of items")]
pub(crate) enum Input {
    Text(String),
    Items(Vec<InputItem>),
}

/// One item of a conversation. What it must hold depends on its type.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct InputItem {
    /// `message` where it is left out.
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    #[schemars(with = "Option<RoleSchema>")]
    pub(crate) role: Option<Role>,
    pub(crate) content: Option<Content>,
    pub(crate) call_id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) arguments: Option<String>,
    pub(crate) output: Option<Content>,
}

/// A tool; of a function, the fields stand beside the type.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ToolItem {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) parameters: Option<Value>,
    #[serde(default)]
    pub(crate) strict: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct TextField {
    pub(crate) format: Option<FormatField>,
}

/// `{"type": "json_schema", "schema": …}`
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct FormatField {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) schema: Option<Value>,
}

/// One event of a stream. What else it holds depends on its type.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ResponseEvent {
    #[serde(rename = "type")]
    kind: String,
    /// From 0.
    sequence_number: u64,
    /// The item of the answer that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_index: Option<usize>,
    /// More of a text, or of the arguments of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<String>,
    /// At the beginning and at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<ResponseBody>,
}

/// The answer, whole or as far as it is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ResponseBody {
    pub(crate) id: String,
    pub(crate) object: &'static str,
    pub(crate) created_at: i64,
    pub(crate) status: &'static str,
    pub(crate) background: bool,
    pub(crate) error: Option<ResponseError>,
    pub(crate) incomplete_details: Option<Incomplete>,
    pub(crate) instructions: Option<String>,
    pub(crate) max_output_tokens: Option<usize>,
    pub(crate) model: String,
    pub(crate) output: Vec<OutputItem>,
    pub(crate) parallel_tool_calls: bool,
    pub(crate) previous_response_id: Option<String>,
    pub(crate) store: bool,
    pub(crate) temperature: Option<f32>,
    pub(crate) text: Value,
    pub(crate) tool_choice: Value,
    pub(crate) tools: Vec<Value>,
    pub(crate) top_p: Option<f32>,
    pub(crate) truncation: &'static str,
    pub(crate) usage: Option<ResponseUsage>,
    pub(crate) metadata: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admissibility: Option<Admissibility>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ResponseError {
    pub(crate) code: String,
    pub(crate) message: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Incomplete {
    pub(crate) reason: &'static str,
}

/// Something that the model said or called.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum OutputItem {
    Message {
        id: String,
        status: &'static str,
        role: &'static str,
        content: Vec<OutputText>,
    },
    FunctionCall {
        id: String,
        status: &'static str,
        call_id: String,
        name: String,
        arguments: String,
    },
}

#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct OutputText {
    #[serde(rename = "type")]
    pub(crate) kind: OutputTextKind,
    pub(crate) text: String,
    pub(crate) annotations: [(); 0],
    pub(crate) logprobs: [(); 0],
}

/// The only type of content.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutputTextKind {
    #[default]
    OutputText,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ResponseUsage {
    pub(crate) input_tokens: u64,
    pub(crate) input_tokens_details: CachedTokens,
    pub(crate) output_tokens: u64,
    pub(crate) output_tokens_details: OutputTokens,
    pub(crate) total_tokens: u64,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct CachedTokens {
    pub(crate) cached_tokens: u64,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct OutputTokens {
    pub(crate) reasoning_tokens: u64,
    /// Ours.
    pub(crate) discarded_tokens: u64,
}
