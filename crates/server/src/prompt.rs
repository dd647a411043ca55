//! The prompts of a call: from what was sent, past the rules on prompts, to tokens.

use std::mem::take;

use portcullis_gate::{Gate, InputText, RefusedInput};
use portcullis_text::{Message, RenderOptions, Role, TextError, ToolCall, ToolFormat};
use portcullis_types::TokenId;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::state::App;
use crate::tally::InputReport;
use crate::tools::{Tool, ToolUse};
use crate::wire::chat::Part;
use crate::wire::completion::Prompt;

/// As vLLM joins them.
pub(crate) fn joined(parts: Vec<Part>) -> Option<String> {
    let is_text = |kind: &str| matches!(kind, "text" | "input_text" | "output_text" | "refusal");
    let texts: Option<Vec<String>> = parts
        .into_iter()
        .map(|part| part.text.filter(|_| is_text(&part.kind)))
        .collect();
    Some(texts?.join("\n"))
}

/// A conversation that the rules on prompts have let pass.
type AdmittedConversation = (Vec<Message>, Option<ToolUse>, InputReport);

/// Lets the rules on prompts look at every text of every message, whoever is said to have written
/// it, and at what tools say of themselves.
pub(crate) fn admit_conversation(
    gate: &Gate,
    mut messages: Vec<Message>,
    mut tools: Option<ToolUse>,
) -> Result<AdmittedConversation, Box<RefusedInput>> {
    if !gate.reads_input() {
        return Ok((messages, tools, InputReport::default()));
    }
    let mut texts = Vec::new();
    let mut note = |text: InputText| {
        let unchanged = text.as_str().to_owned();
        texts.push(text);
        unchanged
    };
    each_text(&mut messages, &mut note);
    each_text_of_tools(&mut tools, &mut note);
    let admitted = gate.check_input(texts)?;
    let mut next = admitted.texts.into_iter();
    let mut put = |_| next.next().expect("the gate gives as many texts as it got");
    each_text(&mut messages, &mut put);
    each_text_of_tools(&mut tools, &mut put);
    let input = InputReport {
        findings: admitted.findings,
        rules: admitted.rules,
    };
    Ok((messages, tools, input))
}

/// Names are kept: a call could not be told from text otherwise.
fn each_text_of_tools(tools: &mut Option<ToolUse>, replace: &mut impl FnMut(InputText) -> String) {
    for tool in tools.iter_mut().flat_map(|tools| &mut tools.tools) {
        if let Some(description) = &mut tool.description {
            *description = replace(InputText::Plain(take(description)));
        }
        if let Some(parameters) = &mut tool.parameters {
            replace_json(parameters, replace);
        }
    }
}

/// Replaces every text that a template may show the model: names and the calls of tools as well as
/// what is said.
fn each_text(messages: &mut [Message], replace: &mut impl FnMut(InputText) -> String) {
    for message in messages {
        let mut plain = |text: &mut String| *text = replace(InputText::Plain(take(text)));
        plain(&mut message.content);
        let names = message.name.iter_mut().chain(&mut message.tool_call_id);
        names.for_each(&mut plain);
        for ToolCall { id, function } in &mut message.tool_calls {
            plain(id);
            plain(&mut function.name);
        }
        for ToolCall { function, .. } in &mut message.tool_calls {
            replace_arguments(&mut function.arguments, replace);
        }
    }
}

fn replace_arguments(arguments: &mut Value, replace: &mut impl FnMut(InputText) -> String) {
    if let Value::String(text) = arguments {
        *text = replace(InputText::Plain(take(text)));
        return;
    }
    replace_json(arguments, replace);
}

fn replace_json(value: &mut Value, replace: &mut impl FnMut(InputText) -> String) {
    let json = value.to_string();
    let replaced = replace(InputText::Json(json.clone()));
    if replaced != json {
        *value = serde_json::from_str(&replaced).unwrap_or(Value::String(replaced));
    }
}

/// Lets the rules on prompts look at every prompt; tokens are read as the text that they are.
pub(crate) fn admit_prompt(
    read: impl Fn(&[TokenId]) -> Result<String, TextError>,
    gate: &Gate,
    prompt: Prompt,
) -> Result<(Prompt, InputReport), NotEncoded> {
    if !gate.reads_input() {
        return Ok((prompt, InputReport::default()));
    }
    let read = |tokens: &Vec<TokenId>| read(tokens).map_err(ApiError::from);
    let texts: Vec<String> = match &prompt {
        Prompt::Text(text) => vec![text.clone()],
        Prompt::Texts(texts) => texts.clone(),
        Prompt::Tokens(tokens) => vec![read(tokens)?],
        Prompt::TokenLists(lists) => lists.iter().map(read).collect::<Result<_, _>>()?,
    };
    let admitted = gate.check_input(texts.clone())?;
    // Tokens stay as they were sent unless something in them was replaced.
    let prompt = match admitted.texts == texts {
        true => prompt,
        false => Prompt::Texts(admitted.texts),
    };
    let input = InputReport {
        findings: admitted.findings,
        rules: admitted.rules,
    };
    Ok((prompt, input))
}

/// Why a prompt is not given to the model.
pub(crate) enum NotEncoded {
    /// A rule refused it.
    Refused(Box<RefusedInput>),
    /// It cannot be made.
    Failed(ApiError),
}

impl From<Box<RefusedInput>> for NotEncoded {
    fn from(refused: Box<RefusedInput>) -> Self {
        Self::Refused(refused)
    }
}

impl From<ApiError> for NotEncoded {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

/// The tokens of a conversation; with `add_generation_prompt` the head of the answer that is to come
/// is the last of them.
pub(crate) fn encode_conversation(
    app: &App,
    mut messages: Vec<Message>,
    tools: Option<&ToolUse>,
    add_generation_prompt: bool,
) -> Result<Vec<TokenId>, ApiError> {
    let template = app.template.as_ref().ok_or_else(|| {
        ApiError::bad_request(
            "this model has no chat template; use /v1/completions, or serve a chat model",
        )
    })?;
    settle(&mut messages, tools);
    let offered = tools.map(|tools| tools.tools.iter().map(Tool::for_template).collect());
    let offered: Vec<Value> = offered.unwrap_or_default();
    let options = RenderOptions {
        add_generation_prompt,
        tools: &offered,
        now_unix_s: Some((app.wall)()),
        ..RenderOptions::default()
    };
    let prompt = template.render(&messages, options)?;
    let mut tokens = app.tokenizer.encode_prompt(&prompt)?;
    if let Some(tools) = tools.filter(|tools| add_generation_prompt && tools.is_forced()) {
        tokens.extend(app.tokenizer.encode_own(tools.format.opening())?);
    }
    Ok(tokens)
}

/// What templates expect of messages.
fn settle(messages: &mut [Message], tools: Option<&ToolUse>) {
    let has_short_ids = tools.is_some_and(|tools| tools.format == ToolFormat::Mistral);
    for message in messages {
        if message.role == Role::Developer {
            // Templates know the older name.
            message.role = Role::System;
        }
        if has_short_ids {
            let calls = message.tool_calls.iter_mut().map(|call| &mut call.id);
            calls.chain(&mut message.tool_call_id).for_each(shorten);
        }
    }
}

/// Nine letters and digits, the same for the same id: clients keep ids that others have made.
fn shorten(id: &mut String) {
    let is_short = id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_short {
        *id = hex::encode(Sha256::digest(id.as_bytes()))[..9].to_owned();
    }
}

pub(crate) fn encode_prompts(app: &App, prompt: Prompt) -> Result<Vec<Vec<TokenId>>, ApiError> {
    let encode = |text: String| Ok(app.tokenizer.encode(&text, true)?);
    match prompt {
        Prompt::Text(text) => Ok(vec![encode(text)?]),
        Prompt::Texts(texts) => texts.into_iter().map(encode).collect(),
        Prompt::Tokens(tokens) => Ok(vec![tokens]),
        Prompt::TokenLists(lists) => Ok(lists),
    }
}

/// Where no rule has a say, or nothing is put on record.
impl From<NotEncoded> for ApiError {
    fn from(error: NotEncoded) -> Self {
        match error {
            NotEncoded::Refused(refused) => (&refused.refusal).into(),
            NotEncoded::Failed(error) => error,
        }
    }
}

/// Templates and tokenizers take a core for as long as the text is long: not on a thread that
/// answers others.
pub(crate) async fn on_worker<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NotEncoded> + Send + 'static,
) -> Result<T, NotEncoded> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| {
            tracing::error!(%panic, "encoding a prompt panicked");
            let said = "the server met a bug while it encoded the prompt";
            Err(ApiError::internal(said).into())
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Only what a rule found is another text afterwards.
    #[test]
    fn texts_are_replaced_where_they_stand() {
        let message = |word: &str| -> Message {
            serde_json::from_value(json!({
                "role": "assistant",
                "content": format!("a {word}"),
                "name": word,
                "tool_call_id": word,
                "tool_calls": [
                    {"id": word, "function": {"name": word, "arguments": {"b": [word, 1], "a": {}}}},
                    {"id": "2", "function": {"name": "f", "arguments": format!("no JSON: {word}")}},
                ],
            }))
            .expect("a message")
        };
        let mut messages = [message("secret")];
        each_text(&mut messages, &mut |text: InputText| {
            text.as_str().replace("secret", "hidden")
        });
        assert_eq!(messages, [message("hidden")]);
    }
}
