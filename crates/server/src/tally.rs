//! What the choices of a call came to together: for its answer, and for its record.

use std::sync::Arc;
use std::time::Duration;

use portcullis_engine::Timings;
use portcullis_gate::{
    Action, BoundSet, Finding, Gate, GateReport, Refusal, RuleReport, RuleStatus, Scope,
};
use portcullis_ledger::{
    self as ledger, CallEnd, Checks, Claim, Found, Matched, Outcome, Resampling, Side,
};
use portcullis_types::Usage;

use crate::wire::call::GateTimings;

/// Findings that are listed, at most; all are counted.
const FINDINGS_MAX: usize = 128;

/// Counts the choices of a call together.
#[derive(Default)]
pub(crate) struct Tally {
    choices_per_prompt: usize,
    /// Choices that have told what they came to.
    ended: usize,
    /// What became of each rule, over prompt and choices.
    rules: Vec<RuleTally>,
    /// For each prompt; its choices share the tokens of the prompt.
    prompts: Vec<Usage>,
    attempts: u64,
    /// With the choice, where they are of one.
    findings: Vec<(Option<usize>, Finding)>,
    findings_total: u64,
    evaluations: u64,
    sampling_modified: bool,
    /// Whether every set that resamples does so by whole completions.
    claims_completions: bool,
    gate: Duration,
    /// From the first token drawn to the first one released; the longest.
    first_held: Duration,
    /// The longest that text waited for its verdict.
    held: Duration,
    refused: Option<Refusal>,
    failed: bool,
}

/// What became of a rule so far.
struct RuleTally {
    set: usize,
    ruleset: String,
    version: u32,
    rule: Arc<str>,
    on: Side,
    /// `None` until it is told.
    status: Option<RuleStatus>,
}

/// What the rules on a prompt came to.
#[derive(Default)]
pub(crate) struct InputReport {
    pub(crate) findings: Vec<Finding>,
    pub(crate) rules: Box<[RuleReport]>,
}

impl Tally {
    pub(crate) fn new(gate: &Gate, choices_per_prompt: usize, input: InputReport) -> Self {
        let mut tally = Self {
            choices_per_prompt,
            rules: rules_of(gate),
            claims_completions: !resamples_segments(gate),
            findings_total: input.findings.len() as u64,
            ..Self::default()
        };
        tally.note_findings(None, input.findings);
        tally.note_rules(Side::Input, &input.rules);
        tally
    }

    /// A choice ended, however it did.
    pub(crate) fn note_end(
        &mut self,
        choice: usize,
        usage: Usage,
        report: GateReport,
        timings: &Timings,
    ) {
        self.ended += 1;
        self.note_usage(choice / self.choices_per_prompt.max(1), usage);
        self.note_rules(Side::Output, &report.rules);
        self.attempts += u64::from(report.attempts);
        self.evaluations += report.evaluations;
        self.sampling_modified |= report.sampling_modified;
        self.findings_total += report.findings_total;
        self.gate += timings.gate;
        self.held = self.held.max(timings.held);
        self.first_held = self
            .first_held
            .max(timings.first_held().unwrap_or_default());
        self.note_findings(Some(choice), report.findings);
    }

    /// A prompt of so many tokens is read, and nothing is generated from it.
    pub(crate) fn note_prompt(&mut self, prompt: usize, tokens: usize) {
        let usage = Usage {
            prompt_tokens: tokens as u64,
            ..Usage::default()
        };
        self.note_usage(prompt, usage);
    }

    /// A rule refused the prompt or a choice.
    pub(crate) fn note_refusal(&mut self, refusal: &Refusal) {
        self.refused.get_or_insert_with(|| refusal.clone());
    }

    /// A choice could not be computed.
    pub(crate) fn note_failure(&mut self) {
        self.failed = true;
    }

    /// Of several choices, the worst counts.
    fn note_rules(&mut self, on: Side, reports: &[RuleReport]) {
        for report in reports {
            let of = |rule: &&mut RuleTally| {
                rule.on == on && rule.set == report.set && rule.rule == report.rule
            };
            if let Some(rule) = self.rules.iter_mut().find(of) {
                let worse = |status: &RuleStatus| severity(*status) < severity(report.status);
                if rule.status.as_ref().is_none_or(worse) {
                    rule.status = Some(report.status);
                }
            }
        }
    }

    fn note_findings(&mut self, choice: Option<usize>, findings: Vec<Finding>) {
        let room = FINDINGS_MAX.saturating_sub(self.findings.len());
        let findings = findings.into_iter().take(room);
        self.findings
            .extend(findings.map(|finding| (choice, finding)));
    }

    fn note_usage(&mut self, prompt: usize, usage: Usage) {
        if self.prompts.len() <= prompt {
            self.prompts.resize(prompt + 1, Usage::default());
        }
        let total = &mut self.prompts[prompt];
        total.prompt_tokens = total.prompt_tokens.max(usage.prompt_tokens);
        total.cached_tokens = total.cached_tokens.max(usage.cached_tokens);
        total.completion_tokens += usage.completion_tokens;
        total.discarded_tokens += usage.discarded_tokens;
    }

    pub(crate) fn usage(&self) -> Usage {
        let add = |sum: Usage, prompt: &Usage| Usage {
            prompt_tokens: sum.prompt_tokens + prompt.prompt_tokens,
            cached_tokens: sum.cached_tokens + prompt.cached_tokens,
            completion_tokens: sum.completion_tokens + prompt.completion_tokens,
            discarded_tokens: sum.discarded_tokens + prompt.discarded_tokens,
        };
        self.prompts.iter().fold(Usage::default(), add)
    }

    /// Roll-backs, over all choices.
    pub(crate) fn attempts(&self) -> u64 {
        self.attempts
    }

    /// What the gate took.
    pub(crate) fn timings(&self) -> GateTimings {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        GateTimings {
            first_held_ms: ms(self.first_held),
            held_ms: ms(self.held),
            gate_ms: ms(self.gate),
        }
    }

    pub(crate) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().map(|(_, finding)| finding)
    }

    /// Whether the gate refused a choice.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether a choice could not be computed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// The outcome of a call that came to its end.
    pub(crate) fn outcome(&self) -> Outcome {
        match (self.failed, &self.refused) {
            (true, _) => Outcome::EngineError,
            (false, Some(_)) => Outcome::Refused,
            (false, None) => Outcome::Finished,
        }
    }

    /// In the words of the record, of a call with so many choices; what was released is for others
    /// to say.
    pub(crate) fn call_end(&self, outcome: Outcome, choices: usize) -> CallEnd {
        let usage = self.usage();
        CallEnd {
            outcome,
            checks: self.checks(self.ended == choices),
            refused_by: self.refused.as_ref().map(refused_by),
            findings: self.findings.iter().map(found).collect(),
            findings_total: self.findings_total,
            evaluations: self.evaluations,
            resampling: (self.attempts > 0).then(|| self.resampling()),
            usage: ledger::TokenCounts {
                prompt: usage.prompt_tokens,
                cached: usage.cached_tokens,
                released: usage.completion_tokens,
                discarded: usage.discarded_tokens,
            },
            gate_us: self.gate.as_micros() as u64,
            ..CallEnd::default()
        }
    }

    /// What became of the rules, by set and side. A rule of which some choice has not told is not
    /// said to have passed.
    fn checks(&self, all_told: bool) -> Vec<Checks> {
        let mut all: Vec<Checks> = Vec::new();
        for rule in &self.rules {
            let found = all.iter().position(|checks| rule.is_of(checks));
            let index = found.unwrap_or_else(|| {
                all.push(no_checks(rule));
                all.len() - 1
            });
            let checks = &mut all[index];
            let is_told = all_told || rule.on == Side::Input;
            let list = match rule.status {
                Some(RuleStatus::Pass) if is_told => &mut checks.pass,
                Some(RuleStatus::Fail) => &mut checks.fail,
                Some(RuleStatus::Error) => &mut checks.error,
                Some(RuleStatus::Pass | RuleStatus::NotRun) | None => &mut checks.not_run,
            };
            list.push(rule.rule.to_string());
        }
        all
    }

    fn resampling(&self) -> Resampling {
        Resampling {
            attempts: self.attempts,
            sampling_modified: self.sampling_modified,
            claim: match self.claims_completions {
                true => Claim::Completion,
                false => Claim::Segments,
            },
        }
    }
}

impl RuleTally {
    fn is_of(&self, checks: &Checks) -> bool {
        checks.ruleset == self.ruleset && (checks.version, checks.on) == (self.version, self.on)
    }
}

fn no_checks(rule: &RuleTally) -> Checks {
    Checks {
        ruleset: rule.ruleset.clone(),
        version: rule.version,
        on: rule.on,
        pass: Vec::new(),
        fail: Vec::new(),
        error: Vec::new(),
        not_run: Vec::new(),
        pass_unlisted: 0,
        not_run_unlisted: 0,
        fail_unlisted: 0,
    }
}

fn rules_of(gate: &Gate) -> Vec<RuleTally> {
    let sets = gate.sets().iter().enumerate();
    let rules = sets.flat_map(|(set, bound)| {
        bound.set().rules().map(move |rule| RuleTally {
            set,
            ruleset: bound.set().name().to_owned(),
            version: bound.set().version(),
            rule: Arc::clone(&rule.id),
            on: match rule.on {
                portcullis_gate::Side::Input => Side::Input,
                portcullis_gate::Side::Output => Side::Output,
            },
            status: None,
        })
    });
    rules.collect()
}

/// The worse a status, the higher.
fn severity(status: RuleStatus) -> u8 {
    match status {
        RuleStatus::Pass => 0,
        RuleStatus::NotRun => 1,
        RuleStatus::Fail => 2,
        RuleStatus::Error => 3,
    }
}

/// Whether some rule set that resamples does so by segments.
fn resamples_segments(gate: &Gate) -> bool {
    let by_segments = |bound: &BoundSet| bound.set().resample().scope == Scope::Segment;
    let mut sets = gate.sets().iter();
    sets.any(|bound| by_segments(bound) && bound.can_resample())
}

fn refused_by(refusal: &Refusal) -> ledger::RefusedBy {
    ledger::RefusedBy {
        ruleset: refusal.ruleset.to_string(),
        version: refusal.version,
        rule: refusal.rule.as_deref().map(str::to_owned),
        after_release: refusal.after_release,
    }
}

fn found((choice, finding): &(Option<usize>, Finding)) -> Found {
    Found {
        ruleset: finding.ruleset.to_string(),
        version: finding.version,
        rule: finding.rule.to_string(),
        action: action(finding.action),
        place: Matched {
            input: finding.input.map(|index| index as u32),
            choice: choice.map(|choice| choice as u32),
            start: finding.start as u64,
            end: finding.end as u64,
            attempt: finding.attempt,
        },
    }
}

fn action(action: Action) -> ledger::Action {
    match action {
        Action::Observe => ledger::Action::Observe,
        Action::Flag => ledger::Action::Flag,
        Action::Redact => ledger::Action::Redact,
        Action::Resample => ledger::Action::Resample,
        Action::Reject => ledger::Action::Reject,
    }
}
