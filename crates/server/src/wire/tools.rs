//! Tools and formats of answers, as chat has them.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// `{"type": "function", "function": {…}}`
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ToolField {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) function: Option<FunctionField>,
}

/// A function that the model may ask the caller to call.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct FunctionField {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    /// A JSON schema; without it the function takes nothing.
    #[serde(default)]
    pub(crate) parameters: Option<Value>,
    #[serde(default)]
    pub(crate) strict: Option<bool>,
}

/// `"auto"`, `"none"`, `"required"`, or the name of a tool.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected \"none\", \"auto\", \"required\" or {\"type\": \"function\", \"function\": \
                 {\"name\": …}}"
)]
pub(crate) enum ToolChoiceField {
    Mode(String),
    Named { function: NameField },
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NameField {
    pub(crate) name: String,
}

/// `{"type": "text" | "json_object" | "json_schema", …}`
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ResponseFormatField {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) json_schema: Option<JsonSchemaField>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct JsonSchemaField {
    #[serde(default)]
    pub(crate) schema: Option<Value>,
}
