//! From the events of a call to its answer: one JSON body, or server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use portcullis_gate::{Action, Finding, Gate, GateReport, Mode, Side};
use portcullis_types::Usage;

use crate::error::ApiError;
use crate::shape::{ChoiceText, Shape};
use crate::state::App;
use crate::stream::{Ending, Event, Events};
use crate::validate::Call;
use crate::wire::call::{Admissibility, AdmissibilityStatus, FindingRef, RuleSetRef, UsageBody};

/// Runs a call and answers it.
///
/// The status is sent once it is known that something may be released, also for a stream, so that
/// a refusal before that is a plain 400.
pub(crate) async fn answer(app: &App, call: Call) -> Result<Response, ApiError> {
    let shape = Shape::new(app, &call);
    let mut events = Events::submit(app, call.requests, call.reservation)?;
    events.wait_for_release().await?;
    let totals = Totals::new(&call.gate, call.choices_per_prompt, call.findings);
    if !call.stream {
        return Ok(whole(events, shape, totals).await?.into_response());
    }
    let interval = app.config.keep_alive_interval;
    let keep_alive = KeepAlive::new().interval(interval).text("keep-alive");
    let frames = Frames::new(events, shape, totals, call.include_usage);
    Ok(Sse::new(frames.into_stream())
        .keep_alive(keep_alive)
        .into_response())
}

async fn whole(mut events: Events, shape: Shape, mut totals: Totals) -> Result<Response, ApiError> {
    let mut choices: Vec<ChoiceText> = Vec::new();
    choices.resize_with(events.choices(), ChoiceText::default);
    while let Some(event) = events.next().await? {
        match event {
            Event::Text { choice, admitted } => {
                let choice = &mut choices[choice];
                choice.samples.extend_from_slice(admitted.samples());
                choice.text.push_str(admitted.text());
            }
            Event::Ended {
                choice,
                ending,
                usage,
                report,
            } => {
                choices[choice].finish_reason = ending.finish_reason();
                totals.add(choice, &ending, usage, report);
            }
        }
    }
    Ok(shape.whole(choices, totals.usage(), totals.admissibility()))
}

/// The events of a stream, made one at a time as the reader takes them.
struct Frames {
    events: Events,
    shape: Shape,
    totals: Totals,
    include_usage: bool,
    /// Frames that are made and not yet taken.
    ready: VecDeque<String>,
    /// Characters released, for each choice.
    offsets: Vec<usize>,
    open: usize,
    finished: bool,
}

impl Frames {
    fn new(events: Events, shape: Shape, totals: Totals, include_usage: bool) -> Self {
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
            totals,
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
                Ok(Some(event)) => self.take(event),
                Ok(None) => self.finish(None),
                Err(error) => self.finish(Some(error)),
            }
        }
        self.ready.pop_front()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Text { choice, admitted } => {
                let offset = self.offsets[choice];
                self.offsets[choice] += admitted.text().chars().count();
                let delta = self
                    .shape
                    .delta(choice, admitted.text(), admitted.samples(), offset);
                self.ready.extend(delta);
            }
            Event::Ended {
                choice,
                ending,
                usage,
                report,
            } => {
                self.open -= 1;
                self.totals.add(choice, &ending, usage, report);
                // The choice that ends last tells what the gate did in all of them.
                let admissibility = (self.open == 0)
                    .then(|| self.totals.admissibility())
                    .flatten();
                let frame = self
                    .shape
                    .finish(choice, ending.finish_reason(), admissibility);
                self.ready.push_back(frame);
            }
        }
    }

    /// `[DONE]` comes last in any case: clients wait for it.
    fn finish(&mut self, error: Option<ApiError>) {
        match error {
            Some(error) => self.ready.push_back(crate::shape::json(&error.body())),
            None if self.include_usage => {
                self.ready.push_back(self.shape.usage(self.totals.usage()));
            }
            None => {}
        }
        self.ready.push_back("[DONE]".to_owned());
        self.finished = true;
    }
}

/// What the choices of a call cost together, and what the gate did in them.
struct Totals {
    choices_per_prompt: usize,
    /// For each prompt; its choices share the tokens of the prompt.
    prompts: Vec<Usage>,
    rulesets: Vec<RuleSetRef>,
    attempts: u64,
    findings: Vec<FindingRef>,
    refused: bool,
}

impl Totals {
    fn new(gate: &Gate, choices_per_prompt: usize, findings: Vec<Finding>) -> Self {
        let enforced = gate.sets().iter().filter(|set| set.mode() == Mode::Enforce);
        let rulesets = enforced.map(|set| RuleSetRef {
            name: set.set().name().to_owned(),
            version: set.set().version(),
            mode: set.mode().as_str(),
        });
        let mut totals = Self {
            choices_per_prompt,
            prompts: Vec::new(),
            rulesets: rulesets.collect(),
            attempts: 0,
            findings: Vec::new(),
            refused: false,
        };
        totals.add_findings(findings);
        totals
    }

    fn add(&mut self, choice: usize, ending: &Ending, usage: Usage, report: GateReport) {
        self.add_usage(choice / self.choices_per_prompt, usage);
        self.attempts += u64::from(report.attempts);
        self.refused |= matches!(ending, Ending::Refused(_));
        self.add_findings(report.findings);
    }

    fn add_findings(&mut self, findings: Vec<Finding>) {
        let findings = findings.into_iter();
        let acted = findings.filter(|finding| finding.action > Action::Observe);
        self.findings.extend(acted.map(|finding| {
            FindingRef {
                ruleset: finding.ruleset.to_string(),
                version: finding.version,
                rule: finding.rule.to_string(),
                action: finding.action.as_str(),
                on: if finding.input.is_some() {
                    Side::Input
                } else {
                    Side::Output
                }
                .as_str(),
            }
        }));
    }

    fn add_usage(&mut self, prompt: usize, usage: Usage) {
        if self.prompts.len() <= prompt {
            self.prompts.resize(prompt + 1, Usage::default());
        }
        let total = &mut self.prompts[prompt];
        total.prompt_tokens = total.prompt_tokens.max(usage.prompt_tokens);
        total.cached_tokens = total.cached_tokens.max(usage.cached_tokens);
        total.completion_tokens += usage.completion_tokens;
        total.discarded_tokens += usage.discarded_tokens;
    }

    fn usage(&self) -> UsageBody {
        let sum = self
            .prompts
            .iter()
            .fold(Usage::default(), |sum, prompt| Usage {
                prompt_tokens: sum.prompt_tokens + prompt.prompt_tokens,
                cached_tokens: sum.cached_tokens + prompt.cached_tokens,
                completion_tokens: sum.completion_tokens + prompt.completion_tokens,
                discarded_tokens: sum.discarded_tokens + prompt.discarded_tokens,
            });
        sum.into()
    }

    fn admissibility(&self) -> Option<Admissibility> {
        let status = match self.refused {
            true => AdmissibilityStatus::Refused,
            false => AdmissibilityStatus::Admitted,
        };
        (!self.rulesets.is_empty()).then(|| Admissibility {
            status,
            rulesets: self.rulesets.clone(),
            attempts: self.attempts,
            findings: self.findings.clone(),
        })
    }
}
