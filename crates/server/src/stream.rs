//! The events of a call: the streams of all its prompts merged, counted and measured.
//!
//! Dropping [`Events`] drops the engine's streams, which cancels every choice in whatever phase it
//! is. Handlers own it from the submission on, so that a reader who goes away cancels even while
//! the first token is awaited.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use portcullis_engine::{End, GenerateRequest, StreamEvent, SubmitError, TokenStream};
use portcullis_gate::{Admitted, GateReport, Refusal};
use portcullis_types::{FinishReason, Usage};

use crate::budget::Reservation;
use crate::error::ApiError;
use crate::serve::RunningCall;
use crate::state::App;

/// The merged events of a call. Choices are numbered through: those of the second prompt follow
/// those of the first.
pub(crate) struct Events {
    app: App,
    streams: SelectAll<BoxStream<'static, StreamEvent>>,
    /// Events that were looked at before their turn.
    replay: VecDeque<Event>,
    /// Choices that have not ended.
    open: usize,
    /// When each choice last released something.
    released_at: Vec<Option<Duration>>,
    reservation: Reservation,
    _running: RunningCall,
}

/// Something that happened to a choice.
#[derive(Debug)]
pub(crate) enum Event {
    /// Text passed the gate.
    Text { choice: usize, admitted: Admitted },
    /// The last event of a choice.
    Ended {
        choice: usize,
        ending: Ending,
        usage: Usage,
        report: GateReport,
    },
}

/// How a choice ended, when it has an answer.
#[derive(Debug)]
pub(crate) enum Ending {
    Finished(FinishReason),
    Refused(Refusal),
}

impl Events {
    /// Hands every prompt of a call to the engine: all of them or none.
    ///
    /// # Errors
    /// The engine takes no more; what it took is cancelled.
    pub(crate) fn submit(
        app: &App,
        requests: Vec<GenerateRequest>,
        mut reservation: Reservation,
    ) -> Result<Self, ApiError> {
        // A step that takes long is not taken for a stall because nobody looked before it.
        app.heartbeat.observe(&app.engine.status(), app.clock.now());
        let running = app.calls.begin();
        let (mut streams, mut choices) = (SelectAll::new(), 0);
        for request in requests {
            let first = choices;
            choices += request.choices();
            let stream = app.engine.submit(request).inspect_err(|error| {
                if *error == SubmitError::Stopped {
                    app.heartbeat.note_stopped();
                }
            })?;
            streams.push(numbered(stream, first));
        }
        reservation.begin();
        Ok(Self {
            app: Arc::clone(app),
            streams,
            replay: VecDeque::new(),
            open: choices as usize,
            released_at: vec![None; choices as usize],
            reservation,
            _running: running,
        })
    }

    /// Choices of the call, over all prompts.
    pub(crate) fn choices(&self) -> usize {
        self.released_at.len()
    }

    /// Waits until the status of the answer is known: something is released, or every choice has
    /// ended. [`Self::next`] repeats what was seen.
    ///
    /// # Errors
    /// The gate refused every choice before any text, or a choice could not be computed.
    pub(crate) async fn wait_for_release(&mut self) -> Result<(), ApiError> {
        while let Some(event) = self.receive().await? {
            let refusal = match &event {
                Event::Ended {
                    ending: Ending::Refused(refusal),
                    ..
                } => Some(refusal),
                Event::Ended { .. } | Event::Text { .. } => None,
            };
            match refusal.filter(|refusal| !refusal.after_release) {
                Some(refusal) if self.open == 0 => return Err(refusal.into()),
                Some(_) => self.replay.push_back(event),
                None => {
                    self.replay.push_back(event);
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next event; `None` after every choice has ended.
    ///
    /// # Errors
    /// A choice could not be computed.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, ApiError> {
        match self.replay.pop_front() {
            Some(event) => Ok(Some(event)),
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Result<Option<Event>, ApiError> {
        if self.open == 0 {
            return Ok(None);
        }
        match self.streams.next().await {
            Some(StreamEvent::Admitted { choice, admitted }) => {
                let choice = choice as usize;
                self.measure_release(choice, &admitted);
                Ok(Some(Event::Text { choice, admitted }))
            }
            Some(StreamEvent::Ended {
                choice,
                end,
                usage,
                report,
                timings,
            }) => {
                self.open -= 1;
                self.app.metrics.observe_end(&timings, &usage, &report);
                self.reservation
                    .settle(report.attempts, usage.discarded_tokens);
                let ending = ending(end)?;
                Ok(Some(Event::Ended {
                    choice: choice as usize,
                    ending,
                    usage,
                    report,
                }))
            }
            None => {
                self.app.heartbeat.note_stopped();
                Err(SubmitError::Stopped.into())
            }
        }
    }

    fn measure_release(&mut self, choice: usize, admitted: &Admitted) {
        let now = self.app.clock.now();
        if let Some(before) = self.released_at[choice].replace(now) {
            self.app
                .metrics
                .observe_release(admitted.num_tokens(), now.saturating_sub(before));
        }
    }
}

fn numbered(stream: TokenStream, first: u32) -> BoxStream<'static, StreamEvent> {
    stream::unfold(stream, async |mut stream| {
        stream.next().await.map(|event| (event, stream))
    })
    .map(move |event| renumber(event, first))
    .boxed()
}

fn renumber(event: StreamEvent, first: u32) -> StreamEvent {
    match event {
        StreamEvent::Admitted { choice, admitted } => StreamEvent::Admitted {
            choice: first + choice,
            admitted,
        },
        StreamEvent::Ended {
            choice,
            end,
            usage,
            report,
            timings,
        } => StreamEvent::Ended {
            choice: first + choice,
            end,
            usage,
            report,
            timings,
        },
    }
}

fn ending(end: End) -> Result<Ending, ApiError> {
    match end {
        End::Finished(reason) => Ok(Ending::Finished(reason)),
        End::Refused(refusal) => Ok(Ending::Refused(refusal)),
        End::Cancelled => Err(ApiError::internal("this completion was cancelled")),
        End::Failed(failure) => {
            tracing::error!(message = failure.message, "a choice could not be computed");
            Err(ApiError::internal(
                "this completion could not be computed; the server's log says why",
            ))
        }
    }
}

impl Ending {
    /// In the words of the wire.
    pub(crate) fn finish_reason(&self) -> &'static str {
        match self {
            Self::Finished(FinishReason::Stop) => "stop",
            Self::Finished(FinishReason::Length) => "length",
            Self::Finished(FinishReason::ContentFilter) | Self::Refused(_) => "content_filter",
        }
    }
}
