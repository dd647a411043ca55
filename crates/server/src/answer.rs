//! From the events of a call to its answer: one JSON body, or server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use portcullis_gate::{Action, Finding, Gate, Mode, Side};
use portcullis_ledger::Outcome;

use crate::error::{ApiError, with_record};
use crate::record::CallRecord;
use crate::shape::{ChoiceText, Shape};
use crate::state::App;
use crate::stream::{Event, Events, Submission};
use crate::tally::{InputReport, Tally};
use crate::validate::{Call, RefusedCall};
use crate::wire::call::{Admissibility, AdmissibilityStatus, FindingRef, RuleSetRef};

/// Runs a call and answers it.
///
/// The status is sent once it is known that something may be released, also for a stream, so that
/// a refusal before that is a plain 400.
pub(crate) async fn answer(app: &App, call: Call) -> Result<Response, ApiError> {
    let shape = Shape::new(app, &call);
    let (stream, include_usage) = (call.stream, call.include_usage);
    let verdict = Verdict::new(&call.gate);
    let tally = Tally::new(&call.gate, call.choices_per_prompt, call.input);
    let mut events = Events::submit(
        app,
        Submission {
            requests: call.requests,
            facts: call.facts,
            tally,
            reservation: call.reservation,
        },
    )?;
    let ready = events.wait_for_release().await;
    let record_id = events.record_id().cloned();
    let named = |error: ApiError| error.recorded_as(record_id.as_ref());
    ready.map_err(named)?;
    let response = match stream {
        false => whole(events, shape, &verdict).await.map_err(named)?,
        true => {
            let interval = app.config.keep_alive_interval;
            let keep_alive = KeepAlive::new().interval(interval).text("keep-alive");
            let frames = Frames::new(events, shape, verdict, include_usage);
            let sse = Sse::new(frames.into_stream()).keep_alive(keep_alive);
            sse.into_response()
        }
    };
    Ok(with_record(response, record_id.as_ref()))
}

/// Records the refusal of a prompt, and tells it.
pub(crate) async fn refuse(app: &App, call: RefusedCall) -> ApiError {
    let RefusedCall {
        gate,
        facts,
        refused,
    } = call;
    let error = ApiError::from(&refused.refusal);
    let input = InputReport {
        findings: refused.findings,
        rules: refused.rules,
    };
    let mut tally = Tally::new(&gate, 1, input);
    tally.note_refusal(&refused.refusal);
    let record = match CallRecord::open(app, &facts) {
        Ok(Some(record)) => record,
        Ok(None) => return error,
        Err(unrecorded) => return unrecorded,
    };
    let id = record.id().clone();
    match record.close(Outcome::Refused, &tally).await {
        Ok(()) => error.recorded_as(Some(&id)),
        Err(unrecorded) => unrecorded.into(),
    }
}

async fn whole(mut events: Events, shape: Shape, verdict: &Verdict) -> Result<Response, ApiError> {
    let mut choices: Vec<ChoiceText> = Vec::new();
    choices.resize_with(events.choices(), ChoiceText::default);
    while let Some(event) = events.next().await? {
        match event {
            Event::Text { choice, admitted } => {
                let choice = &mut choices[choice];
                choice.samples.extend_from_slice(admitted.samples());
                choice.text.push_str(admitted.text());
            }
            Event::Ended { choice, ending } => {
                choices[choice].finish_reason = ending.finish_reason();
            }
        }
    }
    events.close().await?;
    let usage = events.tally().usage().into();
    Ok(shape.whole(choices, usage, verdict.of(&events)))
}

/// The events of a stream, made one at a time as the reader takes them.
struct Frames {
    events: Events,
    shape: Shape,
    verdict: Verdict,
    include_usage: bool,
    /// Frames that are made and not yet taken.
    ready: VecDeque<String>,
    /// Characters released, for each choice.
    offsets: Vec<usize>,
    open: usize,
    finished: bool,
}

impl Frames {
    fn new(events: Events, shape: Shape, verdict: Verdict, include_usage: bool) -> Self {
        let choices = events.choices();
        let shape = shape.with_null_usage(include_usage);
        Self {
            ready: (0..choices)
                .filter_map(|choice| shape.opening(choice))
                .collect(),
            offsets: vec![0; choices],
            open: choices,
            finished: false,
            events,
            shape,
            verdict,
            include_usage,
        }
    }

    fn into_stream(self) -> impl stream::Stream<Item = Result<SseEvent, Infallible>> + Send {
        stream::unfold(self, async |mut frames| {
            let frame = frames.next().await?;
            Some((Ok(SseEvent::default().data(frame)), frames))
        })
    }

    async fn next(&mut self) -> Option<String> {
        while self.ready.is_empty() && !self.finished {
            match self.events.next().await {
                Ok(Some(event)) => self.take(event).await,
                Ok(None) => self.finish(None),
                Err(error) => self.finish(Some(error)),
            }
        }
        self.ready.pop_front()
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Text { choice, admitted } => {
                let offset = self.offsets[choice];
                self.offsets[choice] += admitted.text().chars().count();
                let delta = self
                    .shape
                    .delta(choice, admitted.text(), admitted.samples(), offset);
                self.ready.extend(delta);
            }
            Event::Ended { choice, ending } => {
                self.open -= 1;
                let reason = ending.finish_reason();
                match self.open {
                    0 => self.finish_last(choice, reason).await,
                    _ => self
                        .ready
                        .push_back(self.shape.finish(choice, reason, None)),
                }
            }
        }
    }

    /// The choice that ends last tells what the gate did in all of them, once that is on record.
    async fn finish_last(&mut self, choice: usize, reason: &'static str) {
        match self.events.close().await {
            Ok(()) => {
                let admissibility = self.verdict.of(&self.events);
                let frame = self.shape.finish(choice, reason, admissibility);
                self.ready.push_back(frame);
            }
            Err(error) => self.finish(Some(error)),
        }
    }

    /// `[DONE]` comes last in any case: clients wait for it.
    fn finish(&mut self, error: Option<ApiError>) {
        match error {
            Some(error) => {
                let error = error.recorded_as(self.events.record_id());
                self.ready.push_back(crate::shape::json(&error.body()));
            }
            None if self.include_usage => {
                let usage = self.events.tally().usage().into();
                self.ready.push_back(self.shape.usage(usage));
            }
            None => {}
        }
        self.ready.push_back("[DONE]".to_owned());
        self.finished = true;
    }
}

/// What an answer says about the gate.
struct Verdict {
    /// The rule sets that hold; those that are observed change no byte of an answer.
    enforced: Vec<RuleSetRef>,
}

impl Verdict {
    fn new(gate: &Gate) -> Self {
        let enforced = gate.sets().iter().filter(|set| set.mode() == Mode::Enforce);
        let enforced = enforced.map(|set| RuleSetRef {
            name: set.set().name().to_owned(),
            version: set.set().version(),
            mode: set.mode().as_str(),
        });
        Self {
            enforced: enforced.collect(),
        }
    }

    /// `None` where nothing holds and nothing is recorded.
    fn of(&self, events: &Events) -> Option<Admissibility> {
        let record_id = events.record_id().map(ToString::to_string);
        let tally = events.tally();
        let status = match (tally.is_refused(), self.enforced.is_empty()) {
            (true, _) => AdmissibilityStatus::Refused,
            (false, false) => AdmissibilityStatus::Admitted,
            (false, true) => AdmissibilityStatus::Ungated,
        };
        let is_silent = record_id.is_none() && self.enforced.is_empty();
        (!is_silent).then(|| Admissibility {
            record_id,
            status,
            rulesets: self.enforced.clone(),
            attempts: tally.attempts(),
            findings: tally.findings().filter_map(acted).collect(),
        })
    }
}

/// A finding that was acted on.
fn acted(finding: &Finding) -> Option<FindingRef> {
    (finding.action > Action::Observe).then(|| FindingRef {
        ruleset: finding.ruleset.to_string(),
        version: finding.version,
        rule: finding.rule.to_string(),
        action: finding.action.as_str(),
        on: match finding.input {
            Some(_) => Side::Input,
            None => Side::Output,
        }
        .as_str(),
    })
}
