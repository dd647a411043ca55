//! The events of a call: the streams of all its prompts merged, counted, measured and recorded.
//!
//! Handlers own [`Events`] from the submission on. Dropping it in whatever phase, because the reader
//! went away or the server stops, cancels what still runs, waits for what it came to, and puts that
//! on record.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{SelectAll, Stream};
use portcullis_engine::{
    End, GenerateRequest, PromptScore, StreamEvent, SubmitError, Timings, TokenStream,
};
use portcullis_gate::{Admitted, GateReport, Refusal};
use portcullis_ledger::{Outcome, RecordId};
use portcullis_types::{FinishReason, Usage};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{Instrument, Span, info_span};

use crate::budget::Reservation;
use crate::error::ApiError;
use crate::limits::Place;
use crate::record::{CallRecord, Facts};
use crate::serve::RunningCall;
use crate::state::App;
use crate::tally::Tally;
use crate::trace;

/// What is handed to the engine and to the log.
pub(crate) struct Submission {
    pub(crate) requests: Vec<GenerateRequest>,
    pub(crate) facts: Facts,
    pub(crate) tally: Tally,
    pub(crate) reservation: Reservation,
    pub(crate) place: Place,
}

/// The merged events of a call. Choices are numbered through: those of the second prompt follow
/// those of the first.
pub(crate) struct Events {
    /// Taken when it is dropped.
    running: Option<Running>,
    /// Events that were looked at before their turn.
    replay: VecDeque<Event>,
    choices: usize,
    record_id: Option<RecordId>,
}

/// A call under way.
struct Running {
    app: App,
    streams: SelectAll<Numbered>,
    /// Choices that have not ended.
    open: usize,
    /// When each choice last released something.
    released_at: Vec<Option<Duration>>,
    tally: Tally,
    /// `None` where nothing is recorded, and once it is closed.
    record: Option<CallRecord>,
    span: Span,
    reservation: Reservation,
    /// Among the calls of its key.
    place: Place,
    /// Turns true when the server does not wait any longer.
    cut_off: watch::Receiver<bool>,
    _counted: RunningCall,
}

/// Something that happened to a choice.
#[derive(Debug)]
pub(crate) enum Event {
    /// What the prompt was worth to the model, if that was asked for; before any text.
    Prompt {
        choice: usize,
        scores: Vec<PromptScore>,
    },
    /// Text passed the gate.
    Text { choice: usize, admitted: Admitted },
    /// The last event of a choice.
    Ended { choice: usize, ending: Ending },
}

/// How a choice ended, when it has an answer.
#[derive(Debug)]
pub(crate) enum Ending {
    Finished(FinishReason),
    /// Before this stop string.
    Stopped(String),
    Refused(Refusal),
}

impl Events {
    /// Hands every prompt of a call to the engine, all of them or none, and its beginning to the
    /// log. The model computes while the record is written.
    ///
    /// # Errors
    /// The engine takes no more; what it took is cancelled. Or the call cannot be recorded.
    pub(crate) fn submit(app: &App, submission: Submission) -> Result<Self, ApiError> {
        let Submission {
            requests,
            facts,
            tally,
            mut reservation,
            mut place,
        } = submission;
        // A step that takes long is not taken for a stall because nobody looked before it.
        app.heartbeat.observe(&app.engine.status(), app.clock.now());
        let counted = app.calls.begin();
        let (streams, choices) = submit_all(app, requests).inspect_err(|_| place.forgo())?;
        let record = CallRecord::open(app, &facts)?;
        let record_id = record.as_ref().map(|record| record.id().clone());
        let span = trace::generation(&app.model.deployment, choices, record_id.as_ref());
        reservation.begin();
        Ok(Self {
            replay: VecDeque::new(),
            choices,
            record_id,
            running: Some(Running {
                app: Arc::clone(app),
                streams,
                open: choices,
                released_at: vec![None; choices],
                tally,
                record,
                span,
                reservation,
                place,
                cut_off: app.cut_off.subscribe(),
                _counted: counted,
            }),
        })
    }

    /// Choices of the call, over all prompts.
    pub(crate) fn choices(&self) -> usize {
        self.choices
    }

    /// What the record of the call is called, if there is one.
    pub(crate) fn record_id(&self) -> Option<&RecordId> {
        self.record_id.as_ref()
    }

    /// What the choices that have ended came to.
    pub(crate) fn tally(&self) -> &Tally {
        let running = self.running.as_ref();
        &running.expect("taken only when dropped").tally
    }

    /// Waits until the status of the answer is known, and the call is on record: something is
    /// released, or every choice has ended. [`Self::next`] repeats what was seen.
    ///
    /// # Errors
    /// The gate refused every choice before any text, a choice could not be computed, or the call
    /// cannot be recorded.
    pub(crate) async fn wait_for_release(&mut self) -> Result<(), ApiError> {
        let known = self.wait_for_status().await;
        if let Some(record) = &mut self.running().record
            && let Err(error) = record.durable().await
        {
            // What is on no record is not named.
            self.record_id = None;
            return Err(error);
        }
        if let Some(refusal) = known? {
            self.close().await?;
            return Err(refusal);
        }
        Ok(())
    }

    /// Gives the refusal if there is nothing else to answer.
    async fn wait_for_status(&mut self) -> Result<Option<ApiError>, ApiError> {
        while let Some(event) = self.running().receive().await? {
            let refusal = match &event {
                Event::Ended {
                    ending: Ending::Refused(refusal),
                    ..
                } => Some(refusal),
                Event::Ended { .. } | Event::Text { .. } | Event::Prompt { .. } => None,
            };
            match refusal.filter(|refusal| !refusal.after_release) {
                Some(refusal) if self.is_over() => return Ok(Some(refusal.into())),
                Some(_) => self.replay.push_back(event),
                None => {
                    self.replay.push_back(event);
                    break;
                }
            }
        }
        Ok(None)
    }

    /// The next event, for release; `None` after every choice has ended.
    ///
    /// # Errors
    /// A choice could not be computed.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, ApiError> {
        let event = match self.replay.pop_front() {
            Some(event) => Some(event),
            None => self.running().receive().await?,
        };
        if let (Some(record), Some(event)) = (&mut self.running().record, &event) {
            match event {
                Event::Prompt { .. } => {}
                Event::Text { choice, admitted } => record.note_text(*choice, admitted),
                Event::Ended { choice, ending } => {
                    record.note_end(*choice, ending.finish_reason());
                }
            }
        }
        Ok(event)
    }

    /// Puts the end of the call on record and waits until it is there.
    ///
    /// # Errors
    /// 503: it is not on disk yet.
    pub(crate) async fn close(&mut self) -> Result<(), ApiError> {
        let running = self.running();
        let outcome = running.tally.outcome();
        if let Some(record) = running.record.take() {
            let closed = record.close(outcome, &running.tally);
            let span = info_span!(parent: &running.span, "record");
            closed.instrument(span).await?;
        }
        // Before the reader learns that it is over, and calls again.
        running.place.end();
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.running
            .as_ref()
            .is_none_or(|running| running.open == 0)
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("taken only when dropped")
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        let is_settled = running.open == 0 && running.record.is_none();
        if !is_settled && let Ok(runtime) = Handle::try_current() {
            runtime.spawn(running.abandon(std::thread::panicking()));
        }
    }
}

impl Running {
    async fn receive(&mut self) -> Result<Option<Event>, ApiError> {
        if self.open == 0 {
            return Ok(None);
        }
        let event = tokio::select! {
            biased;
            _ = self.cut_off.wait_for(|&cut| cut) => return Err(cut_off()),
            event = self.streams.next() => event,
        };
        match event {
            Some((choice, StreamEvent::Prompt { scores, .. })) => Ok(Some(Event::Prompt {
                choice,
                scores: scores.to_vec(),
            })),
            Some((choice, StreamEvent::Admitted { admitted, .. })) => {
                self.measure_release(choice, &admitted);
                Ok(Some(Event::Text { choice, admitted }))
            }
            Some((
                choice,
                StreamEvent::Ended {
                    end,
                    usage,
                    report,
                    timings,
                    ..
                },
            )) => {
                self.open -= 1;
                let stopped_by = report.stopped_by.clone();
                self.book(choice, &end, usage, *report, &timings);
                let ending = match (ending(end)?, stopped_by) {
                    (Ending::Finished(FinishReason::Stop), Some(string)) => {
                        Ending::Stopped(string.into())
                    }
                    (ending, _) => ending,
                };
                Ok(Some(Event::Ended { choice, ending }))
            }
            None => {
                self.tally.note_failure();
                self.app.heartbeat.note_stopped();
                Err(SubmitError::Stopped.into())
            }
        }
    }

    /// Books what a choice that has ended came to.
    fn book(
        &mut self,
        choice: usize,
        end: &End,
        usage: Usage,
        report: GateReport,
        timings: &Timings,
    ) {
        self.app.metrics.observe_end(timings, &usage, &report);
        self.reservation
            .settle(report.attempts, usage.discarded_tokens);
        match end {
            End::Refused(refusal) => self.tally.note_refusal(refusal),
            End::Failed(_) => self.tally.note_failure(),
            End::Finished(_) | End::Cancelled => {}
        }
        trace::note_choice(&self.span, choice, end, timings);
        self.tally.note_end(choice, usage, report, timings);
        self.place.note_usage(&self.tally.usage());
        if self.open == 0 {
            trace::note_call(&self.span, &self.tally.usage());
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

    /// Nobody reads any more: ends what still runs, and puts on record what it came to.
    async fn abandon(mut self, has_panicked: bool) {
        for stream in self.streams.iter_mut() {
            stream.stream.cancel();
        }
        // What is still admitted is read by nobody, so it is not released.
        while self.open > 0
            && let Some((choice, event)) = self.streams.next().await
        {
            self.note_unread(choice, event);
        }
        let has_failed = has_panicked || self.tally.has_failed() || self.open > 0;
        let outcome = match (has_failed, *self.cut_off.borrow()) {
            (true, _) => Outcome::EngineError,
            (false, true) => Outcome::Cancelled,
            (false, false) => Outcome::ClientGone,
        };
        if let Some(record) = self.record.take() {
            // It is owed if it cannot be written now; the log says so.
            drop(record.abandon(outcome, &self.tally).await);
        }
    }

    fn note_unread(&mut self, choice: usize, event: StreamEvent) {
        if let StreamEvent::Ended {
            end,
            usage,
            report,
            timings,
            ..
        } = event
        {
            self.open -= 1;
            self.book(choice, &end, usage, *report, &timings);
        }
    }
}

/// The streams of all prompts, and how many choices they have.
fn submit_all(
    app: &App,
    requests: Vec<GenerateRequest>,
) -> Result<(SelectAll<Numbered>, usize), ApiError> {
    let (mut streams, mut choices) = (SelectAll::new(), 0);
    for request in requests {
        let first = choices;
        choices += request.choices() as usize;
        let stream = app.engine.submit(request).inspect_err(|error| {
            if *error == SubmitError::Stopped {
                app.heartbeat.note_stopped();
            }
        })?;
        streams.push(Numbered { stream, first });
    }
    Ok((streams, choices))
}

/// The stream of one prompt, whose choices are numbered from `first`.
struct Numbered {
    stream: TokenStream,
    first: usize,
}

impl Stream for Numbered {
    type Item = (usize, StreamEvent);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let first = self.first;
        self.stream.poll_next(context).map(|event| {
            let event = event?;
            Some((first + event.choice() as usize, event))
        })
    }
}

fn cut_off() -> ApiError {
    let said = "the server stopped before this answer was complete";
    ApiError::unavailable("draining", said)
}

/// What leaves no token to draw, only the caller or a rule set can mend.
const NOTHING_LEFT: &str = "no token is left that logit_bias, min_tokens, the schema and the rule \
                            sets allow here; ask for less at once";

fn ending(end: End) -> Result<Ending, ApiError> {
    match end {
        End::Finished(reason) => Ok(Ending::Finished(reason)),
        End::Refused(refusal) => Ok(Ending::Refused(refusal)),
        End::Cancelled => Err(ApiError::internal("this completion was cancelled")),
        End::Failed(failure) if failure.nothing_left => {
            Err(ApiError::bad_request(NOTHING_LEFT).with_code("nothing_left"))
        }
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
            Self::Finished(FinishReason::Stop) | Self::Stopped(_) => "stop",
            Self::Finished(FinishReason::Length) => "length",
            Self::Finished(FinishReason::ContentFilter) | Self::Refused(_) => "content_filter",
        }
    }
}
