//! `/v1/responses`.

use portcullis_text::{FunctionCall, Message, Role, ToolCall};
use serde_json::{Value, json};

use super::Conversation;
use crate::error::ApiError;
use crate::form::AnswerText;
use crate::params::{check_model, required};
use crate::prompt::joined;
use crate::shape::{Asked, Head, ResponsesShape};
use crate::state::App;
use crate::tools::{Tool, ToolChoice, ToolsAsked, mode_choice};
use crate::validate::{Call, InferenceRequest, MaxTokens, NotSubmitted, Origin};
use crate::wire;
use crate::wire::call::{AdmissibilityFields, CallFields};
use crate::wire::chat::Content;
use crate::wire::responses::{FormatField, Input, InputItem, ResponsesFields, ToolItem};

/// A parsed body.
pub(crate) struct ResponsesRequest {
    common: CallFields,
    own: ResponsesFields,
}

impl InferenceRequest for ResponsesRequest {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        Ok(Self {
            common: wire::parse(body)?,
            own: wire::parse(body)?,
        })
    }

    fn admissibility(&self) -> Option<&AdmissibilityFields> {
        self.common.admissibility.as_ref()
    }

    async fn validate(self, app: &App, origin: Origin) -> Result<Call, NotSubmitted> {
        let Self { common, own } = self;
        check_model(app, common.model.as_deref())?;
        check_state(&own)?;
        let asked = asked(&common, &own);
        let conversation = conversation(common, own)?;
        let shape = |_: &super::Told| ResponsesShape::new(Head::new(app, "resp_"), asked);
        conversation
            .validate(app, "/v1/responses", origin, shape)
            .await
    }
}

/// Nothing is kept between calls.
fn check_state(fields: &ResponsesFields) -> Result<(), ApiError> {
    if fields.previous_response_id.is_some() {
        let said = "responses are not stored here; send the whole conversation in `input`";
        return Err(ApiError::not_built("previous_response_id", said));
    }
    if fields.conversation.is_some() {
        let said = "conversations are not stored here; send the whole conversation in `input`";
        return Err(ApiError::not_built("conversation", said));
    }
    if fields.background.unwrap_or(false) {
        let said = "responses are not stored here, so none can be fetched later; leave it out";
        return Err(ApiError::not_built("background", said));
    }
    Ok(())
}

/// What the answer repeats.
fn asked(common: &CallFields, fields: &ResponsesFields) -> Asked {
    let tools = fields.tools.iter().flatten();
    let format = fields.text.as_ref().and_then(|text| text.format.as_ref());
    Asked {
        instructions: fields.instructions.clone(),
        max_output_tokens: fields.max_output_tokens,
        temperature: common.temperature,
        top_p: common.top_p,
        parallel_tool_calls: fields.parallel_tool_calls.unwrap_or(true),
        text: json!({"format": format.map_or_else(|| json!({"type": "text"}), format_body)}),
        tool_choice: fields.tool_choice.clone().unwrap_or_else(|| "auto".into()),
        tools: tools
            .filter(|tool| is_function(tool))
            .map(tool_body)
            .collect(),
        metadata: fields.metadata.clone().unwrap_or_default(),
    }
}

fn format_body(format: &FormatField) -> Value {
    match &format.schema {
        None => json!({"type": format.kind}),
        Some(schema) => json!({
            "type": format.kind,
            "name": format.name,
            "schema": schema,
            "strict": true,
        }),
    }
}

fn tool_body(tool: &ToolItem) -> Value {
    json!({
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict.unwrap_or(false),
    })
}

fn conversation(common: CallFields, fields: ResponsesFields) -> Result<Conversation, ApiError> {
    let mut messages = Vec::new();
    let instructions = fields.instructions;
    messages.extend(instructions.map(|text| Message::new(Role::System, text)));
    match fields.input.ok_or_else(|| required("input"))? {
        Input::Text(text) => messages.push(Message::new(Role::User, text)),
        Input::Items(items) => add_items(&mut messages, items)?,
    }
    let format = fields.text.and_then(|text| text.format);
    Ok(Conversation {
        messages,
        tools: ToolsAsked {
            tools: tools(fields.tools.unwrap_or_default())?,
            choice: fields.tool_choice.as_ref().map(choice).transpose()?,
            parallel: fields.parallel_tool_calls,
        },
        text: match format {
            None => AnswerText::Free,
            Some(format) => {
                AnswerText::of_type(&format.kind, "text.format", format.schema, SCHEMA)?
            }
        },
        logprobs: None,
        max_tokens: MaxTokens::asked(fields.max_output_tokens).blaming("input"),
        fields: CallFields {
            n: None,
            response_format: None,
            ..common
        },
    })
}

const SCHEMA: &str = "text.format.schema";

fn add_items(messages: &mut Vec<Message>, items: Vec<InputItem>) -> Result<(), ApiError> {
    if items.is_empty() {
        return Err(ApiError::invalid("input", "must hold at least one item"));
    }
    for (index, item) in items.into_iter().enumerate() {
        let param = format!("input.[{index}]");
        match item.kind.as_deref().unwrap_or("message") {
            "message" => messages.push(message(&param, item)?),
            "function_call" => add_call(messages, &param, item)?,
            "function_call_output" => messages.push(output(&param, item)?),
            // What a model thought is its own, and this one cannot read it.
            "reasoning" => {}
            _ => {
                let said = "must be \"message\", \"function_call\" or \"function_call_output\"";
                return Err(ApiError::not_built(&format!("{param}.type"), said));
            }
        }
    }
    Ok(())
}

fn message(param: &str, item: InputItem) -> Result<Message, ApiError> {
    let role = item
        .role
        .ok_or_else(|| required(&format!("{param}.role")))?;
    Ok(Message::new(role, text(param, "content", item.content)?))
}

fn text(param: &str, field: &str, content: Option<Content>) -> Result<String, ApiError> {
    let param = format!("{param}.{field}");
    match content.ok_or_else(|| required(&param))? {
        Content::Text(text) => Ok(text),
        Content::Parts(parts) => joined(parts)
            .ok_or_else(|| ApiError::invalid(param, "may hold text parts and no others")),
    }
}

/// Calls that stand together are those of one answer.
fn add_call(messages: &mut Vec<Message>, param: &str, item: InputItem) -> Result<(), ApiError> {
    let name = item
        .name
        .ok_or_else(|| required(&format!("{param}.name")))?;
    let id = item
        .call_id
        .ok_or_else(|| required(&format!("{param}.call_id")))?;
    let arguments = item.arguments.unwrap_or_default();
    let call = ToolCall {
        id,
        function: FunctionCall::new(name, arguments),
    };
    match messages.last_mut() {
        Some(last) if last.role == Role::Assistant => last.tool_calls.push(call),
        _ => messages.push(Message {
            tool_calls: vec![call],
            ..Message::new(Role::Assistant, "")
        }),
    }
    Ok(())
}

fn output(param: &str, item: InputItem) -> Result<Message, ApiError> {
    let id = item
        .call_id
        .ok_or_else(|| required(&format!("{param}.call_id")))?;
    Ok(Message {
        tool_call_id: Some(id),
        ..Message::new(Role::Tool, text(param, "output", item.output)?)
    })
}

/// Tools of other types run at OpenAI or in a client that has them built in: they are not offered
/// to the model, so it cannot call them.
fn is_function(tool: &ToolItem) -> bool {
    tool.kind == "function"
}

fn tools(tools: Vec<ToolItem>) -> Result<Vec<Tool>, ApiError> {
    let numbered = tools.into_iter().enumerate();
    let functions = numbered.filter(|(_, tool)| is_function(tool));
    functions
        .map(|(index, tool)| {
            let param = format!("tools.[{index}]");
            Ok(Tool {
                name: tool
                    .name
                    .ok_or_else(|| required(&format!("{param}.name")))?,
                description: tool.description,
                parameters: tool.parameters,
                strict: tool.strict.unwrap_or(false),
                param: format!("{param}.parameters"),
            })
        })
        .collect()
}

fn choice(choice: &Value) -> Result<ToolChoice, ApiError> {
    match (choice, &choice["type"], &choice["name"]) {
        (Value::String(mode), ..) => mode_choice(mode),
        (_, Value::String(kind), Value::String(name)) if kind == "function" => {
            Ok(ToolChoice::Named(name.clone()))
        }
        _ => mode_choice(""),
    }
}
