//! What the gate did in one sequence, for records, metrics and usage.

use std::sync::Arc;

use crate::{
    limits::FINDINGS_MAX,
    ruleset::{Action, Rule},
};

/// A rule and where it matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the rule set.
    pub ruleset: Arc<str>,
    /// Version of the rule set.
    pub version: u32,
    /// Id of the rule.
    pub rule: Arc<str>,
    /// What was done about it: the action of the rule, `then` after the last attempt, and
    /// [`Action::Observe`] for every rule of a set in mode `observe`.
    pub action: Action,
    /// Which text of the prompt it was found in, from 0; `None` for the completion.
    pub input: Option<usize>,
    /// First byte of the match in that text, or in the completion as the model wrote it.
    pub start: usize,
    /// First byte after the match.
    pub end: usize,
    /// The attempt in which it was found: with a later one, this text may have been discarded.
    pub attempt: u32,
}

/// What became of a rule in a completion, or in a prompt. A check that did not run is never a
/// [`Pass`](Self::Pass).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleStatus {
    /// It judged all that it must judge, and found nothing.
    ///
    /// Of a completion that was cut off (cancelled, failed, or refused by another rule), that is
    /// the text that was released and no more: every byte of it has been through the rule, at a
    /// checkpoint of its set. What was written and not released has no verdict.
    Pass,
    /// It found something, in whatever attempt and whatever was done about it.
    Fail,
    /// The gate could not evaluate its set, and says so whether that refused the text or was let
    /// pass. What the rule would have found is not known.
    Error,
    /// It did not judge all that it must judge:
    ///
    /// - a rule on the prompt, in the report of a completion;
    /// - any rule, where the completion was cut off before a checkpoint of its set, or while a
    ///   match waited for one;
    /// - `require`, `language`, `json_schema` and `grammar`, which are about whole completions,
    ///   where the completion was cut off before its end, or where some of its end was withheld;
    /// - `logits`, where the completion was cut off before its first window was full;
    /// - a rule on the prompt, where the prompt was refused before all of its texts were read, or
    ///   where it had none.
    NotRun,
}

impl RuleStatus {
    /// The word of a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Error => "error",
            Self::NotRun => "not_run",
        }
    }
}

/// What became of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReport {
    /// Which of [`Gate::sets`](crate::Gate::sets) it belongs to.
    pub set: usize,
    /// Its id.
    pub rule: Arc<str>,
    /// What became of it.
    pub status: RuleStatus,
    /// Its findings, those beyond [`FINDINGS_MAX`] included.
    pub matches: u64,
    /// The strongest of what was done about them; `None` where there are none.
    pub action: Option<Action>,
}

/// What a rule found so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    matches: u64,
    action: Option<Action>,
}

impl Tally {
    /// One more finding.
    pub(crate) fn count(&mut self) {
        self.matches += 1;
    }

    /// This was done about a match.
    pub(crate) fn note(&mut self, action: Action) {
        self.action = self.action.max(Some(action));
    }

    /// What became of `rule` of set `set`; `otherwise` if it found nothing.
    pub(crate) fn report(self, set: usize, rule: &Rule, otherwise: RuleStatus) -> RuleReport {
        RuleReport {
            set,
            rule: rule.id.clone(),
            status: match self.matches {
                0 => otherwise,
                _ => RuleStatus::Fail,
            },
            matches: self.matches,
            action: self.action,
        }
    }
}

/// What the gate did in one sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateReport {
    /// The stop string before which the completion ends, if one does.
    pub stopped_by: Option<Box<str>>,
    /// Checkpoints at which a rule set was evaluated.
    pub evaluations: u64,
    /// Roll-backs.
    pub attempts: u32,
    /// Tokens that were generated and thrown away.
    pub discarded_tokens: u64,
    /// Tokens at a cut-off end that were not released because they could have become a match.
    pub withheld_tokens: u64,
    /// Whether a roll-back was followed by a changed distribution (a mask), not only a new draw.
    pub sampling_modified: bool,
    /// Errors of the gate itself that were let pass because a set says `on_gate_error: flag`.
    pub errors: u64,
    /// The first [`FINDINGS_MAX`] findings, in the order in which they were made.
    pub findings: Vec<Finding>,
    /// How many findings there were, those beyond the list included.
    pub findings_total: u64,
    /// What became of each rule: by set in the order of [`Gate::sets`](crate::Gate::sets), then in
    /// the order of the file. Empty until the completion is over.
    pub rules: Box<[RuleReport]>,
}

impl GateReport {
    pub(crate) fn record(&mut self, finding: Finding) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}
