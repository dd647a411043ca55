//! The prompts of a call: from what was sent, past the rules on prompts, to tokens.

use std::mem::take;

use portcullis_gate::{Gate, InputText, RefusedInput};
use portcullis_text::{Message, RenderOptions, Role, ToolCall};
use portcullis_types::TokenId;
use serde_json::Value;

use crate::error::ApiError;
use crate::params::required;
use crate::state::App;
use crate::tally::InputReport;
use crate::wire::chat::{ChatMessage, Content, Part};
use crate::wire::completion::Prompt;

pub(crate) fn messages(messages: Option<Vec<ChatMessage>>) -> Result<Vec<Message>, ApiError> {
    let messages = messages.ok_or_else(|| required("messages"))?;
    if messages.is_empty() {
        return Err(ApiError::invalid(
            "messages",
            "must hold at least one message",
        ));
    }
    messages
        .into_iter()
        .enumerate()
        .map(|(index, message)| one_message(index, message))
        .collect()
}

fn one_message(index: usize, message: ChatMessage) -> Result<Message, ApiError> {
    let param = || format!("messages.[{index}].content");
    let content = match (message.content, message.role) {
        (Some(Content::Text(text)), _) => text,
        (Some(Content::Parts(parts)), _) => joined(parts)
            .ok_or_else(|| ApiError::invalid(param(), "may hold text parts and no others"))?,
        // An answer that only called tools has no content.
        (None, Role::Assistant) => String::new(),
        (None, _) => return Err(ApiError::invalid(param(), "must be text")),
    };
    Ok(Message {
        // Templates know the older name.
        role: match message.role {
            Role::Developer => Role::System,
            role => role,
        },
        content,
        name: message.name,
        tool_calls: message.tool_calls.unwrap_or_default(),
        tool_call_id: message.tool_call_id,
    })
}

/// As vLLM joins them.
fn joined(parts: Vec<Part>) -> Option<String> {
    let texts: Option<Vec<String>> = parts
        .into_iter()
        .map(|part| part.text.filter(|_| part.kind == "text"))
        .collect();
    Some(texts?.join("\n"))
}

/// Lets the rules on prompts look at every text of every message, whoever is said to have written
/// it.
pub(crate) fn admit_messages(
    gate: &Gate,
    mut messages: Vec<Message>,
) -> Result<(Vec<Message>, InputReport), Box<RefusedInput>> {
    if !gate.reads_input() {
        return Ok((messages, InputReport::default()));
    }
    let mut texts = Vec::new();
    each_text(&mut messages, |text| {
        let unchanged = text.as_str().to_owned();
        texts.push(text);
        unchanged
    });
    let admitted = gate.check_input(texts)?;
    let mut next = admitted.texts.into_iter();
    each_text(&mut messages, |_| {
        next.next().expect("the gate gives as many texts as it got")
    });
    let input = InputReport {
        findings: admitted.findings,
        rules: admitted.rules,
    };
    Ok((messages, input))
}

/// Replaces every text that a template may show the model: names and the calls of tools as well as
/// what is said.
fn each_text(messages: &mut [Message], mut replace: impl FnMut(InputText) -> String) {
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
            replace_arguments(&mut function.arguments, &mut replace);
        }
    }
}

fn replace_arguments(arguments: &mut Value, replace: &mut impl FnMut(InputText) -> String) {
    if let Value::String(text) = arguments {
        *text = replace(InputText::Plain(take(text)));
        return;
    }
    let json = arguments.to_string();
    let replaced = replace(InputText::Json(json.clone()));
    if replaced != json {
        *arguments = serde_json::from_str(&replaced).unwrap_or(Value::String(replaced));
    }
}

/// Lets the rules on prompts look at every prompt; tokens are read as the text that they are.
pub(crate) fn admit_prompt(
    app: &App,
    gate: &Gate,
    prompt: Prompt,
) -> Result<(Prompt, InputReport), Box<RefusedInput>> {
    if !gate.reads_input() {
        return Ok((prompt, InputReport::default()));
    }
    let read = |tokens: &Vec<TokenId>| app.tokenizer.decode(tokens, false);
    let texts: Vec<String> = match &prompt {
        Prompt::Text(text) => vec![text.clone()],
        Prompt::Texts(texts) => texts.clone(),
        Prompt::Tokens(tokens) => vec![read(tokens)],
        Prompt::TokenLists(lists) => lists.iter().map(read).collect(),
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

pub(crate) fn encode_chat(app: &App, messages: &[Message]) -> Result<Vec<TokenId>, ApiError> {
    let template = app.template.as_ref().ok_or_else(|| {
        ApiError::bad_request(
            "this model has no chat template; use /v1/completions, or serve a chat model",
        )
    })?;
    let options = RenderOptions {
        add_generation_prompt: true,
        now_unix_s: Some((app.wall)()),
        ..RenderOptions::default()
    };
    let prompt = template.render(messages, options)?;
    Ok(app.tokenizer.encode_prompt(&prompt)?)
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
        each_text(&mut messages, |text| {
            text.as_str().replace("secret", "hidden")
        });
        assert_eq!(messages, [message("hidden")]);
    }
}
