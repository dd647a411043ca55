//! `/v1/messages`: an answer as blocks of content.

use axum::Json;
use axum::response::{IntoResponse, Response};
use portcullis_types::{Sample, Usage};
use serde_json::Value;

use super::{ChoiceText, Finish, Frame, Head, Shape};
use crate::error::ApiError;
use crate::tools::Part;
use crate::wire::call::Admissibility;
use crate::wire::messages::{
    BlockDelta, ContentBlock, MessageBody, MessageEvent, MessageUsage, StopDelta,
};

/// Tells an answer as events, or as one message.
pub(crate) struct MessagesShape {
    head: Head,
    prompt_tokens: u64,
    /// Blocks that have begun; the last of them may be open.
    blocks: usize,
    open: Option<Open>,
    /// Told with the usage, which is known last.
    stop: Option<(Finish, Option<Admissibility>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    ToolUse,
}

impl MessagesShape {
    pub(crate) fn new(head: Head, prompt_tokens: u64) -> Self {
        Self {
            head,
            prompt_tokens,
            blocks: 0,
            open: None,
            stop: None,
        }
    }

    fn message(&self) -> MessageBody {
        MessageBody {
            id: self.head.id.clone(),
            kind: "message",
            role: "assistant",
            model: self.head.model.clone(),
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage: MessageUsage {
                input_tokens: self.prompt_tokens,
                ..MessageUsage::default()
            },
            admissibility: None,
        }
    }

    fn part(&mut self, part: Part) -> Vec<MessageEvent> {
        match part {
            Part::Text(text) => {
                let mut events = match self.open {
                    Some(Open::Text) => Vec::new(),
                    _ => self.open(
                        Open::Text,
                        ContentBlock::Text {
                            text: String::new(),
                        },
                    ),
                };
                events.push(self.delta(BlockDelta::TextDelta { text }));
                events
            }
            Part::Call { id, name, .. } => self.open(
                Open::ToolUse,
                ContentBlock::ToolUse {
                    id,
                    name,
                    input: Value::Object(serde_json::Map::new()),
                },
            ),
            Part::Arguments { json, .. } => {
                vec![self.delta(BlockDelta::InputJsonDelta { partial_json: json })]
            }
        }
    }

    fn open(&mut self, open: Open, content_block: ContentBlock) -> Vec<MessageEvent> {
        let mut events = self.close();
        self.open = Some(open);
        events.push(MessageEvent::ContentBlockStart {
            index: self.blocks,
            content_block,
        });
        self.blocks += 1;
        events
    }

    fn close(&mut self) -> Vec<MessageEvent> {
        let was_open = self.open.take().map(|_| MessageEvent::ContentBlockStop {
            index: self.last_block(),
        });
        was_open.into_iter().collect()
    }

    fn delta(&self, delta: BlockDelta) -> MessageEvent {
        MessageEvent::ContentBlockDelta {
            index: self.last_block(),
            delta,
        }
    }

    fn last_block(&self) -> usize {
        self.blocks.saturating_sub(1)
    }
}

impl Shape for MessagesShape {
    fn begin(&mut self, _choices: usize) -> Vec<Frame> {
        frames(vec![MessageEvent::MessageStart {
            message: self.message(),
        }])
    }

    fn parts(&mut self, _choice: usize, parts: Vec<Part>, _samples: &[Sample]) -> Vec<Frame> {
        let parts = parts.into_iter();
        frames(parts.flat_map(|part| self.part(part)).collect())
    }

    fn finish(
        &mut self,
        _choice: usize,
        finish: Finish,
        admissibility: Option<Admissibility>,
    ) -> Vec<Frame> {
        self.stop = Some((finish, admissibility));
        frames(self.close())
    }

    fn end(&mut self, usage: Usage) -> Vec<Frame> {
        let (finish, admissibility) = self.stop.take().unwrap_or_default();
        let delta = MessageEvent::MessageDelta {
            delta: StopDelta {
                stop_reason: stop_reason(&finish),
                stop_sequence: stop_sequence(&finish),
            },
            usage: usage.into(),
            admissibility,
        };
        frames(vec![delta, MessageEvent::MessageStop])
    }

    fn fail(&mut self, error: ApiError) -> Vec<Frame> {
        vec![Frame::named("error", &error.message_body())]
    }

    fn whole(
        self: Box<Self>,
        choices: Vec<ChoiceText>,
        usage: Usage,
        admissibility: Option<Admissibility>,
    ) -> Response {
        let choice = choices.into_iter().next().unwrap_or_default();
        Json(MessageBody {
            stop_reason: Some(stop_reason(&choice.finish)),
            stop_sequence: stop_sequence(&choice.finish),
            content: content(choice),
            usage: usage.into(),
            admissibility,
            ..self.message()
        })
        .into_response()
    }
}

fn frames(events: Vec<MessageEvent>) -> Vec<Frame> {
    let events = events.iter();
    events
        .map(|event| Frame::named(event.name(), event))
        .collect()
}

fn content(choice: ChoiceText) -> Vec<ContentBlock> {
    let text = Some(choice.text).filter(|text| !text.is_empty());
    let text = text.map(|text| ContentBlock::Text { text });
    let calls = choice.calls.into_iter().map(|call| ContentBlock::ToolUse {
        id: call.id,
        name: call.name,
        // Cut off, it is no JSON.
        input: serde_json::from_str(&call.arguments).unwrap_or(Value::String(call.arguments)),
    });
    text.into_iter().chain(calls).collect()
}

fn stop_sequence(finish: &Finish) -> Option<String> {
    match finish {
        Finish::StopString(string) => Some(string.clone()),
        _ => None,
    }
}

fn stop_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::StopString(_) => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::ContentFilter => "refusal",
    }
}

impl From<Usage> for MessageUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens.saturating_sub(usage.cached_tokens),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: usage.cached_tokens,
            output_tokens: usage.completion_tokens,
            discarded_tokens: usage.discarded_tokens,
        }
    }
}
