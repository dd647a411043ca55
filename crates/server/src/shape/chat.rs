//! `/v1/chat/completions`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use portcullis_types::{Sample, Usage};

use super::{ChoiceText, FINGERPRINT, Finish, Frame, Head, Logprobs, Shape};
use crate::error::ApiError;
use crate::tools::Part;
use crate::wire::call::Admissibility;
use crate::wire::chat::{
    AnswerMessage, CallDelta, CalledFunction, ChatChoice, ChatChunk, ChatCompletion, ChatLogprobs,
    ChunkChoice, Delta, ToolCallBody,
};

/// Tells an answer as chunks or as one completion.
pub(crate) struct ChatShape {
    pub(crate) head: Head,
    pub(crate) logprobs: Logprobs,
    /// Whether a chunk with usage comes last; all others then say null.
    pub(crate) include_usage: bool,
    /// Whether the caller said which tool to call. It knows then what the answer ends for, and is
    /// told `stop`.
    pub(crate) is_named: bool,
}

impl Shape for ChatShape {
    fn begin(&mut self, choices: usize) -> Vec<Frame> {
        let opening = |choice| {
            let delta = Delta {
                role: Some("assistant"),
                content: Some(String::new()),
                tool_calls: Vec::new(),
            };
            self.frame(choice, delta, None)
        };
        (0..choices).map(opening).collect()
    }

    fn parts(&mut self, choice: usize, parts: Vec<Part>, samples: &[Sample]) -> Vec<Frame> {
        let mut deltas: Vec<Delta> = parts.into_iter().map(delta).collect();
        // Tokens that have no text yet have log-probabilities.
        if deltas.is_empty() && self.logprobs.has_any(samples) {
            deltas.push(delta(Part::Text(String::new())));
        }
        let mut logprobs = self.logprobs.of_chat(samples);
        let frames = deltas.into_iter();
        frames
            .map(|delta| self.frame(choice, delta, logprobs.take()))
            .collect()
    }

    fn finish(
        &mut self,
        choice: usize,
        finish: Finish,
        admissibility: Option<Admissibility>,
    ) -> Vec<Frame> {
        let choice = ChunkChoice {
            index: choice,
            delta: Delta::default(),
            logprobs: None,
            finish_reason: Some(self.reason(&finish)),
        };
        vec![Frame::unnamed(&ChatChunk {
            admissibility,
            ..self.chunk(vec![choice])
        })]
    }

    fn end(&mut self, usage: Usage) -> Vec<Frame> {
        let usage = self.include_usage.then(|| {
            Frame::unnamed(&ChatChunk {
                usage: Some(Some(usage.into())),
                ..self.chunk(Vec::new())
            })
        });
        usage.into_iter().chain([Frame::done()]).collect()
    }

    fn fail(&mut self, error: ApiError) -> Vec<Frame> {
        vec![Frame::unnamed(&error.body()), Frame::done()]
    }

    fn whole(
        self: Box<Self>,
        choices: Vec<ChoiceText>,
        usage: Usage,
        admissibility: Option<Admissibility>,
    ) -> Response {
        let numbered = (0..).zip(choices);
        let choices = numbered.map(|(index, choice)| self.choice(index, choice));
        Json(ChatCompletion {
            choices: choices.collect(),
            id: self.head.id,
            object: "chat.completion",
            created: self.head.created,
            model: self.head.model,
            system_fingerprint: FINGERPRINT,
            usage: usage.into(),
            admissibility,
        })
        .into_response()
    }
}

impl ChatShape {
    fn reason(&self, finish: &Finish) -> &'static str {
        match finish {
            Finish::ToolCalls if self.is_named => Finish::Stop.as_str(),
            finish => finish.as_str(),
        }
    }

    fn frame(&self, choice: usize, delta: Delta, logprobs: Option<ChatLogprobs>) -> Frame {
        let choice = ChunkChoice {
            index: choice,
            delta,
            logprobs,
            finish_reason: None,
        };
        Frame::unnamed(&self.chunk(vec![choice]))
    }

    fn chunk(&self, choices: Vec<ChunkChoice>) -> ChatChunk {
        ChatChunk {
            id: self.head.id.clone(),
            object: "chat.completion.chunk",
            created: self.head.created,
            model: self.head.model.clone(),
            system_fingerprint: FINGERPRINT,
            choices,
            usage: self.include_usage.then_some(None),
            admissibility: None,
        }
    }

    fn choice(&self, index: usize, choice: ChoiceText) -> ChatChoice {
        let finish_reason = self.reason(&choice.finish);
        let calls = choice.calls.into_iter();
        let tool_calls: Vec<ToolCallBody> = calls
            .map(|call| ToolCallBody {
                id: call.id,
                kind: "function",
                function: CalledFunction {
                    name: Some(call.name),
                    arguments: call.arguments,
                },
            })
            .collect();
        // An answer that only calls tools has no content.
        let is_silent = choice.text.is_empty() && !tool_calls.is_empty();
        ChatChoice {
            index,
            logprobs: self.logprobs.of_chat(&choice.samples),
            message: AnswerMessage {
                role: "assistant",
                content: (!is_silent).then_some(choice.text),
                refusal: None,
                tool_calls,
            },
            finish_reason,
        }
    }
}

fn delta(part: Part) -> Delta {
    let call = match part {
        Part::Text(text) => {
            return Delta {
                content: Some(text),
                ..Delta::default()
            };
        }
        Part::Call { index, id, name } => CallDelta {
            index,
            id: Some(id),
            kind: Some("function"),
            function: CalledFunction {
                name: Some(name),
                arguments: String::new(),
            },
        },
        Part::Arguments { index, json } => CallDelta {
            index,
            id: None,
            kind: None,
            function: CalledFunction {
                name: None,
                arguments: json,
            },
        },
    };
    Delta {
        tool_calls: vec![call],
        ..Delta::default()
    }
}
