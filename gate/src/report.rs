//! What the gate did in one sequence, for records, metrics and usage.

use std::sync::Arc;

use crate::{limits::FINDINGS_MAX, ruleset::Action};

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

/// What the gate did in one sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateReport {
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
}

impl GateReport {
    pub(crate) fn record(&mut self, finding: Finding) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}
