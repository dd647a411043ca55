//! `/v1/messages` and `/v1/messages/count_tokens`.

use portcullis_text::{FunctionCall, Message, Role, ToolCall};

use super::{Conversation, not_empty};
use crate::error::ApiError;
use crate::form::AnswerText;
use crate::params::{check_model, required};
use crate::prompt::{NotEncoded, encode_conversation, on_worker};
use crate::shape::{Head, MessagesShape};
use crate::state::App;
use crate::tools::{Tool, ToolChoice, ToolsAsked};
use crate::validate::{Call, InferenceRequest, MaxTokens, NotSubmitted, Origin};
use crate::wire;
use crate::wire::call::{AdmissibilityFields, CallFields, Stop};
use crate::wire::messages::{
    Block, Blocks, ChoiceField, MessagesFields, ToolOffer, TurnField, TurnRole,
};

/// A parsed body.
pub(crate) struct MessagesRequest {
    common: CallFields,
    own: MessagesFields,
}

impl InferenceRequest for MessagesRequest {
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
        check_model(app, self.common.model.as_deref())?;
        if self.common.max_tokens.is_none() {
            return Err(required("max_tokens").into());
        }
        let conversation = self.into_conversation()?;
        let shape =
            |told: &super::Told| MessagesShape::new(Head::new(app, "msg_"), told.prompt_tokens);
        conversation
            .validate(app, "/v1/messages", origin, shape)
            .await
    }
}

/// The tokens that a request would have as a prompt. Nothing is generated, and no rule looks at it.
///
/// # Errors
/// As for a call.
pub(crate) async fn count(app: &App, request: MessagesRequest) -> Result<usize, ApiError> {
    check_model(app, request.common.model.as_deref())?;
    let conversation = request.into_conversation()?;
    let tools = conversation.tools.for_model(app)?;
    let (worker, messages) = (app.clone(), conversation.messages);
    let tokens = on_worker(move || {
        Ok(encode_conversation(
            &worker,
            messages,
            tools.as_ref(),
            true,
        )?)
    });
    match tokens.await {
        Ok(tokens) => Ok(tokens.len()),
        Err(NotEncoded::Failed(error)) => Err(error),
        Err(NotEncoded::Refused(_)) => Err(ApiError::internal("a rule looked at a count")),
    }
}

impl MessagesRequest {
    fn into_conversation(self) -> Result<Conversation, ApiError> {
        let Self {
            common,
            own: fields,
        } = self;
        let turns = not_empty(fields.messages, "messages")?;
        let stop = fields.stop_sequences.filter(|stop| !stop.is_empty());
        let format = fields.output_config.and_then(|config| config.format);
        let choice = fields.tool_choice;
        let is_single = choice
            .as_ref()
            .and_then(|choice| choice.disable_parallel_tool_use);
        Ok(Conversation {
            messages: messages(fields.system, turns)?,
            tools: ToolsAsked {
                tools: tools(fields.tools.unwrap_or_default()),
                choice: choice.map(tool_choice).transpose()?,
                parallel: is_single.map(|is_single| !is_single),
            },
            text: match format {
                None => AnswerText::Free,
                Some(format) => {
                    let param = "output_config.format";
                    AnswerText::of_type(&format.kind, param, format.schema, SCHEMA)?
                }
            },
            logprobs: None,
            // It must be given, so clients give the most that any model takes.
            max_tokens: MaxTokens::at_most(common.max_tokens),
            fields: CallFields {
                n: None,
                response_format: None,
                stop: stop.map(Stop::Many).or(common.stop),
                ..common
            },
        })
    }
}

const SCHEMA: &str = "output_config.format.schema";

/// Instructions first, wherever they stood: many templates take them nowhere else.
fn messages(system: Option<Blocks>, turns: Vec<TurnField>) -> Result<Vec<Message>, ApiError> {
    let mut instructions = Vec::new();
    if let Some(system) = system {
        instructions.push(plain("system", system)?);
    }
    let mut messages = Vec::new();
    for (index, turn) in turns.into_iter().enumerate() {
        let param = format!("messages.[{index}].content");
        match turn.role {
            TurnRole::System => instructions.push(plain(&param, turn.content)?),
            TurnRole::User => add_user(&mut messages, &param, turn.content)?,
            TurnRole::Assistant => messages.push(assistant(&param, turn.content)?),
        }
    }
    if !instructions.is_empty() {
        messages.insert(0, Message::new(Role::System, instructions.join("\n\n")));
    }
    Ok(messages)
}

/// Blocks of text and no others.
fn plain(param: &str, blocks: Blocks) -> Result<String, ApiError> {
    let blocks = match blocks {
        Blocks::Text(text) => return Ok(text),
        Blocks::Many(blocks) => blocks,
    };
    let texts: Result<Vec<String>, ApiError> = blocks
        .into_iter()
        .enumerate()
        .map(|(place, block)| match block.kind.as_str() {
            "text" => text(&format!("{param}.[{place}]"), block),
            _ => Err(unknown(param, place)),
        })
        .collect();
    Ok(texts?.join("\n"))
}

fn text(param: &str, block: Block) -> Result<String, ApiError> {
    block.text.ok_or_else(|| required(&format!("{param}.text")))
}

fn unknown(param: &str, place: usize) -> ApiError {
    let said = "is not supported here; this server reads text, tool_use and tool_result";
    ApiError::not_built(&format!("{param}.[{place}].type"), said)
}

/// Results of tools are messages of their own, before what the person says.
fn add_user(messages: &mut Vec<Message>, param: &str, blocks: Blocks) -> Result<(), ApiError> {
    let blocks = match blocks {
        Blocks::Text(text) => {
            messages.push(Message::new(Role::User, text));
            return Ok(());
        }
        Blocks::Many(blocks) => blocks,
    };
    let mut said = Vec::new();
    for (place, block) in blocks.into_iter().enumerate() {
        let at = format!("{param}.[{place}]");
        match block.kind.as_str() {
            "text" => said.push(text(&at, block)?),
            "tool_result" => messages.push(tool_result(&at, block)?),
            _ => return Err(unknown(param, place)),
        }
    }
    if !said.is_empty() {
        messages.push(Message::new(Role::User, said.join("\n")));
    }
    Ok(())
}

fn tool_result(param: &str, block: Block) -> Result<Message, ApiError> {
    let id = block.tool_use_id;
    let id = id.ok_or_else(|| required(&format!("{param}.tool_use_id")))?;
    let content = block
        .content
        .map(|content| plain(&format!("{param}.content"), content));
    Ok(Message {
        tool_call_id: Some(id),
        ..Message::new(Role::Tool, content.transpose()?.unwrap_or_default())
    })
}

fn assistant(param: &str, blocks: Blocks) -> Result<Message, ApiError> {
    let blocks = match blocks {
        Blocks::Text(text) => return Ok(Message::new(Role::Assistant, text)),
        Blocks::Many(blocks) => blocks,
    };
    let (mut said, mut tool_calls) = (Vec::new(), Vec::new());
    for (place, block) in blocks.into_iter().enumerate() {
        let at = format!("{param}.[{place}]");
        match block.kind.as_str() {
            "text" => said.push(text(&at, block)?),
            "tool_use" => tool_calls.push(tool_use(&at, block)?),
            // What a model thought is its own, and this one cannot read it.
            "thinking" | "redacted_thinking" => {}
            _ => return Err(unknown(param, place)),
        }
    }
    Ok(Message {
        tool_calls,
        ..Message::new(Role::Assistant, said.join("\n"))
    })
}

fn tool_use(param: &str, block: Block) -> Result<ToolCall, ApiError> {
    let name = block
        .name
        .ok_or_else(|| required(&format!("{param}.name")))?;
    let id = block.id.ok_or_else(|| required(&format!("{param}.id")))?;
    Ok(ToolCall {
        id,
        function: FunctionCall {
            name,
            arguments: block.input.unwrap_or_default(),
        },
    })
}

/// Tools of other types run at Anthropic: they are not offered to the model, so it cannot call them.
fn tools(tools: Vec<ToolOffer>) -> Vec<Tool> {
    let numbered = tools.into_iter().enumerate();
    let own = numbered.filter(|(_, tool)| tool.kind.as_deref().is_none_or(|kind| kind == "custom"));
    own.map(|(index, tool)| Tool {
        name: tool.name,
        description: tool.description,
        parameters: tool.input_schema,
        strict: tool.strict.unwrap_or(false),
        param: format!("tools.[{index}].input_schema"),
    })
    .collect()
}

fn tool_choice(choice: ChoiceField) -> Result<ToolChoice, ApiError> {
    match (choice.kind.as_str(), choice.name) {
        ("auto", _) => Ok(ToolChoice::Auto),
        ("any", _) => Ok(ToolChoice::Required),
        ("none", _) => Ok(ToolChoice::None),
        ("tool", Some(name)) => Ok(ToolChoice::Named(name)),
        ("tool", None) => Err(required("tool_choice.name")),
        _ => Err(ApiError::invalid(
            "tool_choice.type",
            "must be \"auto\", \"any\", \"tool\" or \"none\"",
        )),
    }
}
