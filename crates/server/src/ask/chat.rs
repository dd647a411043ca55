//! `/v1/chat/completions`.

use portcullis_text::{Message, Role};

use super::{Conversation, not_empty};
use crate::error::ApiError;
use crate::form::AnswerText;
use crate::params::{chat_logprobs, check_common};
use crate::prompt::joined;
use crate::shape::{ChatShape, Head, Logprobs};
use crate::state::App;
use crate::tools::{ToolChoice, ToolsAsked};
use crate::validate::{Call, InferenceRequest, MaxTokens, NotSubmitted, Origin};
use crate::wire;
use crate::wire::call::{AdmissibilityFields, CallFields};
use crate::wire::chat::{ChatFields, ChatMessage, Content};

/// A parsed body.
pub(crate) struct ChatRequest {
    common: CallFields,
    own: ChatFields,
}

impl InferenceRequest for ChatRequest {
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
        check_common(app, &self.common)?;
        let include_usage = self.common.include_usage();
        let conversation = self.into_conversation()?;
        let is_asked = conversation.logprobs.is_some();
        let is_named = matches!(conversation.tools.choice, Some(ToolChoice::Named(_)));
        let shape = |told: &super::Told| ChatShape {
            head: Head::new(app, "chatcmpl-"),
            logprobs: Logprobs::new(app, is_asked, told.end_tokens.clone()),
            include_usage,
            is_named,
        };
        conversation
            .validate(app, "/v1/chat/completions", origin, shape)
            .await
    }
}

impl ChatRequest {
    fn into_conversation(self) -> Result<Conversation, ApiError> {
        let Self { mut common, own } = self;
        if own.functions.is_some_and(|functions| !functions.is_empty()) {
            let said = "is the older name of `tools`; send `tools` and `tool_choice`";
            return Err(ApiError::not_built("functions", said));
        }
        let max_tokens = own.max_completion_tokens.or(common.max_tokens);
        Ok(Conversation {
            messages: chat_messages(own.messages)?,
            tools: ToolsAsked::of_chat(own.tools, own.tool_choice, own.parallel_tool_calls)?,
            text: AnswerText::of_chat(common.response_format.take())?,
            logprobs: chat_logprobs(own.logprobs, own.top_logprobs)?,
            max_tokens: MaxTokens::asked(max_tokens),
            fields: common,
        })
    }
}

/// The messages of a chat: at least one.
///
/// # Errors
/// Content that is no text, by name.
pub(crate) fn chat_messages(messages: Option<Vec<ChatMessage>>) -> Result<Vec<Message>, ApiError> {
    let messages = not_empty(messages, "messages")?;
    let numbered = messages.into_iter().enumerate();
    numbered
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
        role: message.role,
        content,
        name: message.name,
        tool_calls: message.tool_calls.unwrap_or_default(),
        tool_call_id: message.tool_call_id,
    })
}
