//! From the events of a call to its answer: one JSON body, or server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use portcullis_gate::{Action, Finding, Gate, Mode, Side};
use portcullis_ledger::{Outcome, RecordId};

use crate::error::{ApiError, with_record};
use crate::limits::Place;
use crate::record::CallRecord;
use crate::shape::{ChoiceText, Finish, Frame, Shape};
use crate::state::App;
use crate::stream::{Ending, Event, Events, Submission};
use crate::tally::{InputReport, Tally};
use crate::tools::AnswerReader;
use crate::validate::{Call, RefusedCall, Telling};
use crate::wire::call::{Admissibility, AdmissibilityStatus, FindingRef, RuleSetRef};

/// Runs a call and answers it.
///
/// The status is sent once it is known that something may be released, also for a stream, so that
/// a refusal before that is a plain 400.
pub(crate) async fn answer(app: &App, call: Call, place: Place) -> Result<Response, ApiError> {
    let meter = place.meter();
    let (stream, telling) = (call.stream, call.telling);
    let verdict = Verdict::new(&call.gate, call.tells_timings);
    let tally = Tally::new(&call.gate, call.choices_per_prompt, call.input);
    let mut events = Events::submit(
        app,
        Submission {
            requests: call.requests,
            facts: call.facts,
            tally,
            reservation: call.reservation,
            place,
        },
    )?;
    let ready = events.wait_for_release().await;
    let record_id = events.record_id().cloned();
    let named = |error: ApiError| error.recorded_as(record_id.as_ref());
    ready.map_err(named)?;
    let response = match stream {
        false => whole(events, telling, &verdict).await.map_err(named)?,
        true => {
            let interval = app.config.keep_alive_interval;
            let keep_alive = KeepAlive::new().interval(interval).text("keep-alive");
            let frames = Frames::new(events, telling, verdict);
            let sse = Sse::new(frames.into_stream()).keep_alive(keep_alive);
            sse.into_response()
        }
    };
    let response = with_record(response, record_id.as_ref());
    Ok(match meter {
        Some(meter) => meter.note_on(response),
        None => response,
    })
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

async fn whole(
    mut events: Events,
    telling: Telling,
    verdict: &Verdict,
) -> Result<Response, ApiError> {
    let Telling { shape, reader } = telling;
    let mut choices: Vec<ChoiceText> = Vec::new();
    choices.resize_with(events.choices(), || ChoiceText::new(reader.clone()));
    while let Some(event) = events.next().await? {
        match event {
            Event::Prompt { choice, scores } => choices[choice].prompt = scores,
            Event::Text { choice, admitted } => {
                choices[choice].push(admitted.text(), admitted.samples());
            }
            Event::Ended { choice, ending } => choices[choice].end(&ending),
        }
    }
    events.close().await?;
    let usage = events.tally().usage();
    Ok(shape.whole(choices, usage, verdict.of(&events)))
}

/// The events of a stream, made one at a time as the reader takes them.
struct Frames {
    events: Events,
    shape: Box<dyn Shape>,
    verdict: Verdict,
    /// One for each choice.
    readers: Vec<AnswerReader>,
    /// Frames that are made and not yet taken.
    ready: VecDeque<Frame>,
    open: usize,
    finished: bool,
}

impl Frames {
    fn new(events: Events, telling: Telling, verdict: Verdict) -> Self {
        let Telling { mut shape, reader } = telling;
        let choices = events.choices();
        Self {
            ready: shape.begin(choices).into(),
            readers: vec![reader; choices],
            open: choices,
            finished: false,
            events,
            shape,
            verdict,
        }
    }

    fn into_stream(self) -> impl stream::Stream<Item = Result<SseEvent, Infallible>> + Send {
        stream::unfold(self, async |mut frames| {
            let Frame { event, data } = frames.next().await?;
            let sent = SseEvent::default();
            let sent = match event {
                Some(name) => sent.event(name),
                None => sent,
            };
            let sent = sent.data(data);
            Some((Ok(sent), frames))
        })
    }

    async fn next(&mut self) -> Option<Frame> {
        while self.ready.is_empty() && !self.finished {
            match self.events.next().await {
                Ok(Some(event)) => self.take(event).await,
                Ok(None) => self.end(),
                Err(error) => self.fail(error),
            }
        }
        self.ready.pop_front()
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Prompt { choice, scores } => {
                self.ready.extend(self.shape.prompt(choice, &scores));
            }
            Event::Text { choice, admitted } => {
                let parts = self.readers[choice].push(admitted.text());
                let frames = self.shape.parts(choice, parts, admitted.samples());
                self.ready.extend(frames);
            }
            Event::Ended { choice, ending } => self.finish(choice, &ending).await,
        }
    }

    /// The choice that ends last tells what the gate did in all of them, once that is on record.
    async fn finish(&mut self, choice: usize, ending: &Ending) {
        let rest = self.readers[choice].finish();
        self.ready.extend(self.shape.parts(choice, rest, &[]));
        let finish = Finish::of(ending, &self.readers[choice]);
        self.open -= 1;
        let admissibility = match self.open {
            0 => match self.events.close().await {
                Ok(()) => self.verdict.of(&self.events),
                Err(error) => return self.fail(error),
            },
            _ => None,
        };
        self.ready
            .extend(self.shape.finish(choice, finish, admissibility));
    }

    fn end(&mut self) {
        let usage = self.events.tally().usage();
        self.ready.extend(self.shape.end(usage));
        self.finished = true;
    }

    fn fail(&mut self, error: ApiError) {
        let error = error.recorded_as(self.events.record_id());
        self.ready.extend(self.shape.fail(error));
        self.finished = true;
    }
}

/// What an answer says about the gate.
pub(crate) struct Verdict {
    /// The rule sets that hold; those that are observed change no byte of an answer.
    enforced: Vec<RuleSetRef>,
    /// Whether it tells what the gate took.
    tells_timings: bool,
}

impl Verdict {
    pub(crate) fn new(gate: &Gate, tells_timings: bool) -> Self {
        let enforced = gate.sets().iter().filter(|set| set.mode() == Mode::Enforce);
        let enforced = enforced.map(|set| RuleSetRef {
            name: set.set().name().to_owned(),
            version: set.set().version(),
            mode: set.mode().as_str(),
        });
        Self {
            enforced: enforced.collect(),
            tells_timings,
        }
    }

    fn of(&self, events: &Events) -> Option<Admissibility> {
        self.told(events.tally(), events.record_id())
    }

    /// `None` where nothing holds, nothing is recorded and nothing is asked.
    pub(crate) fn told(
        &self,
        tally: &Tally,
        record_id: Option<&RecordId>,
    ) -> Option<Admissibility> {
        let record_id = record_id.map(ToString::to_string);
        let status = match (tally.is_refused(), self.enforced.is_empty()) {
            (true, _) => AdmissibilityStatus::Refused,
            (false, false) => AdmissibilityStatus::Admitted,
            (false, true) => AdmissibilityStatus::Ungated,
        };
        let is_silent = record_id.is_none() && self.enforced.is_empty() && !self.tells_timings;
        (!is_silent).then(|| Admissibility {
            record_id,
            status,
            rulesets: self.enforced.clone(),
            attempts: tally.attempts(),
            findings: tally.findings().filter_map(acted).collect(),
            timings: self.tells_timings.then(|| tally.timings()),
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
