//! The messages of a conversation, as chat templates see them.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// One message. Its content is text already: parts are joined before they come here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; empty for an answer that only calls tools.
    #[serde(default)]
    pub content: String,
    /// The speaker's name, or the tool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The tools that an answer called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A message with a role and a content and nothing else.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }
}

/// Who speaks. A closed set: templates build control tokens from it (`<|user|>`), so it is never
/// free text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions from whoever runs the application.
    System,
    /// The newer name of `system`.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

impl Role {
    /// The word that templates compare with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// A tool that an answer called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Names the call; the tool's message repeats it.
    #[serde(default)]
    pub id: String,
    /// The function and what it was called with.
    pub function: FunctionCall,
}

/// A function and what it was called with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The function.
    pub name: String,
    /// An object wherever it can be one: on the wire it is JSON inside a string, but templates
    /// expect what the string says.
    #[serde(deserialize_with = "parsed_arguments")]
    pub arguments: Value,
}

impl FunctionCall {
    /// A call whose arguments come as on the wire.
    pub fn new(name: String, arguments: String) -> Self {
        Self {
            name,
            arguments: parsed(arguments),
        }
    }
}

fn parsed_arguments<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => parsed(text),
        other => other,
    })
}

/// Nothing at all stands for no arguments.
fn parsed(text: String) -> Value {
    if text.trim().is_empty() {
        return Value::Object(Map::new());
    }
    match serde_json::from_str::<Map<String, Value>>(&text) {
        Ok(object) => Value::Object(object),
        Err(_) => Value::String(text),
    }
}
