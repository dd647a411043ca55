//! What leaves the engine for one choice: [`Admitted`] text, then exactly one [`End`].
//!
//! A slow reader never stops the engine: what finds the channel full waits here and is merged,
//! bounded by the length of the completion.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_gate::{Admitted, GateReport, Refusal};
use portcullis_types::{FinishReason, PromptScore, Usage};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::runner::DrawError;

/// Something that happened to a choice of a call.
#[derive(Debug)]
pub enum StreamEvent {
    /// How likely the tokens of the prompt were, if that was asked for; before any text.
    Prompt {
        /// Which choice.
        choice: u32,
        /// One for each token.
        scores: Arc<[PromptScore]>,
    },
    /// Text that passed the gate: the only way that text takes.
    Admitted {
        /// Which choice.
        choice: u32,
        /// The text and its tokens.
        admitted: Admitted,
    },
    /// The last event of a choice.
    Ended {
        /// Which choice.
        choice: u32,
        /// How it ended.
        end: End,
        /// What it cost.
        usage: Usage,
        /// What the gate did.
        report: Box<GateReport>,
        /// When what happened.
        timings: Timings,
    },
}

impl StreamEvent {
    /// The choice that it happened to.
    pub fn choice(&self) -> u32 {
        match self {
            Self::Prompt { choice, .. }
            | Self::Admitted { choice, .. }
            | Self::Ended { choice, .. } => *choice,
        }
    }
}

/// How a choice ended.
#[derive(Clone, Debug)]
pub enum End {
    /// With an answer.
    Finished(FinishReason),
    /// The gate refused; what was released before stands.
    Refused(Refusal),
    /// Its reader asked for no more; what was released before stands.
    Cancelled,
    /// It could not be computed.
    Failed(Failure),
}

/// Why a choice could not be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For the log and, in general words, for the caller.
    pub message: String,
    /// Whether what the caller asked for left no token to draw: the model is well.
    pub nothing_left: bool,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self {
            message,
            nothing_left: false,
        }
    }
}

impl From<DrawError> for Failure {
    fn from(error: DrawError) -> Self {
        Self {
            nothing_left: error == DrawError::NothingLeft,
            ..Self::from(error.to_string())
        }
    }
}

/// Times since the call was taken in, as far as they were reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Until its first step.
    pub queued: Duration,
    /// Until its first token was drawn.
    pub first_token: Option<Duration>,
    /// Until its first token was released.
    pub first_release: Option<Duration>,
    /// Until its end.
    pub total: Duration,
    /// The longest that a token which was released had waited for that, since it came to the gate.
    pub held: Duration,
    /// Spent in the gate.
    pub gate: Duration,
}

impl Timings {
    /// From the first token drawn to the first one released.
    pub fn first_held(&self) -> Option<Duration> {
        Some(self.first_release?.saturating_sub(self.first_token?))
    }
}

/// The sending side of one choice.
pub(crate) struct Outbox {
    choice: u32,
    events: mpsc::Sender<StreamEvent>,
    cancelled: Arc<AtomicBool>,
    prompt: Option<Arc<[PromptScore]>>,
    held: Option<Admitted>,
    end: Option<StreamEvent>,
}

/// Whether an outbox still has something to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All is sent.
    Empty,
    /// The reader is slow: try again later.
    Full,
    /// The reader is gone.
    Closed,
}

impl Outbox {
    pub(crate) fn new(
        choice: u32,
        events: mpsc::Sender<StreamEvent>,
        cancelled: Arc<AtomicBool>,
    ) -> Self {
        Self {
            choice,
            events,
            cancelled,
            prompt: None,
            held: None,
            end: None,
        }
    }

    /// Another choice of the same call.
    pub(crate) fn sibling(&self, choice: u32) -> Self {
        Self::new(choice, self.events.clone(), Arc::clone(&self.cancelled))
    }

    pub(crate) fn choice(&self) -> u32 {
        self.choice
    }

    /// Whether the reader asked for no more, or is gone.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire) || self.events.is_closed()
    }

    pub(crate) fn tell_prompt(&mut self, scores: Arc<[PromptScore]>) {
        self.prompt = Some(scores);
        self.flush();
    }

    pub(crate) fn release(&mut self, admitted: Admitted) {
        if admitted.is_empty() {
            return;
        }
        match &mut self.held {
            Some(held) => held.append(admitted),
            None => self.held = Some(admitted),
        }
        self.flush();
    }

    pub(crate) fn finish(&mut self, end: End, usage: Usage, report: GateReport, timings: Timings) {
        debug_assert!(self.end.is_none(), "a choice ends once");
        self.end = Some(StreamEvent::Ended {
            choice: self.choice,
            end,
            usage,
            report: Box::new(report),
            timings,
        });
    }

    /// Sends what the channel takes, in order.
    pub(crate) fn flush(&mut self) -> Flushed {
        while let Some(event) = self.next() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.put_back(event);
                    return Flushed::Full;
                }
                Err(TrySendError::Closed(_)) => return Flushed::Closed,
            }
        }
        Flushed::Empty
    }

    fn next(&mut self) -> Option<StreamEvent> {
        let choice = self.choice;
        if let Some(scores) = self.prompt.take() {
            return Some(StreamEvent::Prompt { choice, scores });
        }
        match self.held.take() {
            Some(admitted) => Some(StreamEvent::Admitted { choice, admitted }),
            None => self.end.take(),
        }
    }

    fn put_back(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Prompt { scores, .. } => self.prompt = Some(scores),
            StreamEvent::Admitted { admitted, .. } => self.held = Some(admitted),
            end @ StreamEvent::Ended { .. } => self.end = Some(end),
        }
    }
}
