//! What the choices of a call came to together: for its answer, and for its record.

use std::time::Duration;

use portcullis_gate::{Finding, GateReport, Refusal};
use portcullis_ledger::{self as ledger, CallEnd, Claim, Found, Matched, Outcome, Resampling};
use portcullis_types::Usage;

/// Findings that are listed, at most; all are counted.
const FINDINGS_MAX: usize = 128;

/// Counts the choices of a call together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    choices_per_prompt: usize,
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
    refused: Option<Refusal>,
    failed: bool,
}

impl Tally {
    pub(crate) fn new(
        choices_per_prompt: usize,
        claims_completions: bool,
        input: Vec<Finding>,
    ) -> Self {
        let mut tally = Self {
            choices_per_prompt,
            claims_completions,
            findings_total: input.len() as u64,
            ..Self::default()
        };
        tally.note_findings(None, input);
        tally
    }

    /// A choice ended, however it did.
    pub(crate) fn note_end(
        &mut self,
        choice: usize,
        usage: Usage,
        report: GateReport,
        gate: Duration,
    ) {
        self.note_usage(choice / self.choices_per_prompt.max(1), usage);
        self.attempts += u64::from(report.attempts);
        self.evaluations += report.evaluations;
        self.sampling_modified |= report.sampling_modified;
        self.findings_total += report.findings_total;
        self.gate += gate;
        self.note_findings(Some(choice), report.findings);
    }

    /// A rule refused the prompt or a choice.
    pub(crate) fn note_refusal(&mut self, refusal: &Refusal) {
        self.refused.get_or_insert_with(|| refusal.clone());
    }

    /// A choice could not be computed.
    pub(crate) fn note_failure(&mut self) {
        self.failed = true;
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

    /// In the words of the record; what was released is for others to say.
    pub(crate) fn call_end(&self, outcome: Outcome) -> CallEnd {
        let usage = self.usage();
        CallEnd {
            outcome,
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

fn action(action: portcullis_gate::Action) -> ledger::Action {
    use portcullis_gate::Action as Gate;
    match action {
        Gate::Observe => ledger::Action::Observe,
        Gate::Flag => ledger::Action::Flag,
        Gate::Redact => ledger::Action::Redact,
        Gate::Resample => ledger::Action::Resample,
        Gate::Reject => ledger::Action::Reject,
    }
}
