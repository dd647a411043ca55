//! The shapes of an answer, one for each endpoint: what was released, as each of them tells it.

mod chat;
mod completion;
mod logprobs;
mod messages;
mod responses;

use axum::response::Response;
use portcullis_engine::PromptScore;
use portcullis_types::{FinishReason, Sample, Usage};
use serde::Serialize;

pub(crate) use chat::ChatShape;
pub(crate) use completion::{Echo, TextShape};
pub(crate) use logprobs::Logprobs;
pub(crate) use messages::MessagesShape;
pub(crate) use responses::{Asked, ResponsesShape};

use crate::error::ApiError;
use crate::ids::new_id;
use crate::state::App;
use crate::stream::Ending;
use crate::tools::{AnswerReader, Part};
use crate::wire::call::Admissibility;

/// Tells answers of different builds apart.
const FINGERPRINT: &str = concat!("portcullis-", env!("CARGO_PKG_VERSION"));

/// Makes the body of one answer, or the events of its stream, in the order of these methods.
pub(crate) trait Shape: Send {
    /// What comes before anything is said.
    fn begin(&mut self, choices: usize) -> Vec<Frame>;

    /// What the prompt of a choice was worth to the model, if that was asked for.
    fn prompt(&mut self, _choice: usize, _scores: &[PromptScore]) -> Vec<Frame> {
        Vec::new()
    }

    /// More of a choice. `samples` are the tokens that were released with it; text may be held back
    /// or come without any.
    fn parts(&mut self, choice: usize, parts: Vec<Part>, samples: &[Sample]) -> Vec<Frame>;

    /// The end of a choice. The choice that ends last tells what the gate did in all of them.
    fn finish(
        &mut self,
        choice: usize,
        finish: Finish,
        admissibility: Option<Admissibility>,
    ) -> Vec<Frame>;

    /// What comes after the last choice.
    fn end(&mut self, usage: Usage) -> Vec<Frame>;

    /// What comes instead where the answer breaks off.
    fn fail(&mut self, error: ApiError) -> Vec<Frame>;

    /// The whole answer as one body.
    fn whole(
        self: Box<Self>,
        choices: Vec<ChoiceText>,
        usage: Usage,
        admissibility: Option<Admissibility>,
    ) -> Response;
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its name, where the endpoint's events have one.
    pub(crate) event: Option<&'static str>,
    pub(crate) data: String,
}

impl Frame {
    /// One without a name.
    fn unnamed<T: Serialize>(body: &T) -> Self {
        Self {
            event: None,
            data: json(body),
        }
    }

    fn named<T: Serialize>(event: &'static str, body: &T) -> Self {
        Self {
            event: Some(event),
            data: json(body),
        }
    }

    /// The last one of OpenAI's older endpoints: their clients wait for it.
    fn done() -> Self {
        Self {
            event: None,
            data: "[DONE]".to_owned(),
        }
    }
}

/// What every body names.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    id: String,
    created: i64,
    model: String,
}

impl Head {
    pub(crate) fn new(app: &App, prefix: &str) -> Self {
        Self {
            id: new_id(prefix),
            created: (app.wall)(),
            model: app.model.deployment.to_string(),
        }
    }
}

/// A choice as far as it is known.
#[derive(Default)]
pub(crate) struct ChoiceText {
    reader: AnswerReader,
    pub(crate) prompt: Vec<PromptScore>,
    pub(crate) text: String,
    pub(crate) calls: Vec<CalledTool>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) finish: Finish,
}

/// A call of a tool.
#[derive(Clone, Debug, Default)]
pub(crate) struct CalledTool {
    pub(crate) id: String,
    pub(crate) name: String,
    /// JSON as the model wrote it.
    pub(crate) arguments: String,
}

impl ChoiceText {
    pub(crate) fn new(reader: AnswerReader) -> Self {
        Self {
            reader,
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, text: &str, samples: &[Sample]) {
        self.samples.extend_from_slice(samples);
        let parts = self.reader.push(text);
        self.take(parts);
    }

    pub(crate) fn end(&mut self, ending: &Ending) {
        let parts = self.reader.finish();
        self.take(parts);
        self.finish = Finish::of(ending, &self.reader);
    }

    /// Joins parts to what is there.
    fn take(&mut self, parts: Vec<Part>) {
        for part in parts {
            match part {
                Part::Text(text) => self.text.push_str(&text),
                Part::Call { id, name, .. } => self.calls.push(CalledTool {
                    id,
                    name,
                    arguments: String::new(),
                }),
                Part::Arguments { index, json } => {
                    if let Some(call) = self.calls.get_mut(index) {
                        call.arguments.push_str(&json);
                    }
                }
            }
        }
    }
}

/// Why a choice ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Finish {
    #[default]
    Stop,
    /// Before this stop string.
    StopString(String),
    Length,
    ToolCalls,
    ContentFilter,
}

impl Finish {
    pub(crate) fn of(ending: &Ending, reader: &AnswerReader) -> Self {
        match ending {
            Ending::Finished(FinishReason::Stop) if reader.has_calls() => Self::ToolCalls,
            Ending::Finished(FinishReason::Stop) => Self::Stop,
            Ending::Stopped(_) if reader.has_calls() => Self::ToolCalls,
            Ending::Stopped(string) => Self::StopString(string.clone()),
            Ending::Finished(FinishReason::Length) => Self::Length,
            Ending::Finished(FinishReason::ContentFilter) | Ending::Refused(_) => {
                Self::ContentFilter
            }
        }
    }

    /// `finish_reason` in OpenAI's API.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Stop | Self::StopString(_) => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// One body.
fn json<T: Serialize>(body: &T) -> String {
    serde_json::to_string(body).expect("wire types have string keys and cannot fail to serialise")
}
