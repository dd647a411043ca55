//! What each endpoint asks for: from the types of the wire to a [`Call`](crate::validate::Call).
//!
//! Chat, responses and messages are the same conversation in three spellings: each is brought into
//! a [`Conversation`], and goes one way from there.

mod chat;
mod completion;
mod messages;
mod responses;

pub(crate) use chat::{ChatRequest, chat_messages};
pub(crate) use completion::CompletionRequest;
pub(crate) use messages::{MessagesRequest, count};
pub(crate) use responses::ResponsesRequest;

use portcullis_text::Message;
use portcullis_types::TokenId;

use crate::error::ApiError;
use crate::form::{AnswerText, answer_form};
use crate::prompt::{admit_conversation, encode_conversation, on_worker};
use crate::shape::Shape;
use crate::state::App;
use crate::tools::ToolsAsked;
use crate::validate::{Call, Draft, MaxTokens, NotSubmitted, Origin, Prepared, Telling};
use crate::wire::call::CallFields;

/// A conversation that the model is to go on with.
pub(crate) struct Conversation {
    pub(crate) fields: CallFields,
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: ToolsAsked,
    pub(crate) text: AnswerText,
    pub(crate) logprobs: Option<u8>,
    pub(crate) max_tokens: MaxTokens,
}

impl Conversation {
    /// Takes it past its rules to tokens. `shape` is made once the length of the prompt and the
    /// tokens that end an answer are known.
    ///
    /// # Errors
    /// The first parameter that is missing or out of bounds, by name; or a rule refused the prompt.
    async fn validate<S: Shape + 'static>(
        self,
        app: &App,
        path: &'static str,
        origin: Origin,
        shape: impl FnOnce(&Told) -> S,
    ) -> Result<Call, NotSubmitted> {
        let tools = self.tools.for_model(app)?;
        let reader = tools.as_ref().map(|tools| tools.reader());
        let mut draft = Draft::new(
            app,
            path,
            self.fields,
            origin,
            self.logprobs,
            self.max_tokens,
        )?;
        if let Some(tools) = &tools {
            draft.show(app, tools.format.control_tokens());
        }
        let (worker, gate) = (app.clone(), draft.gate().clone());
        let (messages, text) = (self.messages, self.text);
        let turn = app.forms.turn(tools.as_ref(), &text).await;
        let prepared = on_worker(move || {
            let _turn = turn;
            let (messages, tools, input) = admit_conversation(&gate, messages, tools)?;
            let tokens = encode_conversation(&worker, messages, tools.as_ref(), true)?;
            Ok(Prepared {
                form: answer_form(&worker, tools.as_ref(), &text)?,
                prompts: vec![tokens],
                input,
            })
        })
        .await;
        let told = Told {
            prompt_tokens: prepared.as_ref().map_or(0, |it| it.prompts[0].len() as u64),
            end_tokens: draft.end_tokens().to_vec(),
        };
        let telling = Telling {
            shape: Box::new(shape(&told)),
            reader: reader.unwrap_or_default(),
        };
        draft.into_call(app, prepared, 1, telling)
    }
}

/// What a shape may need to know.
struct Told {
    prompt_tokens: u64,
    end_tokens: Vec<TokenId>,
}

/// `messages` of a conversation: at least one.
fn not_empty<T>(messages: Option<Vec<T>>, param: &str) -> Result<Vec<T>, ApiError> {
    let messages = messages.ok_or_else(|| crate::params::required(param))?;
    if messages.is_empty() {
        return Err(ApiError::invalid(param, "must hold at least one message"));
    }
    Ok(messages)
}
