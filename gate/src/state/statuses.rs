//! What became of each rule, said once the completion is over.

use super::{GateState, set::SetState};
use crate::{GateReport, Kind, RuleReport, RuleStatus, Side};

impl GateState {
    /// The report of a completion that is over. One that was neither ended nor refused by a
    /// verdict counts as cut off here, such as by its reader.
    pub fn into_report(mut self) -> GateReport {
        if self.report.rules.is_empty() {
            self.report.rules = self.rules_cut_off();
        }
        self.report
    }

    /// The completion came to its end; `released`: all of it.
    pub(super) fn rules_at_end(&self, released: bool) -> Box<[RuleReport]> {
        self.rule_reports(|_, kind| released || !kind.is_about_whole())
    }

    /// The completion goes no further; if it came to its end, it was refused there.
    pub(super) fn rules_cut_off(&mut self) -> Box<[RuleReport]> {
        let end = self.tail.end();
        for (state, set) in self.sets.iter_mut().zip(self.gate.sets()) {
            state.cut_off(set, end);
        }
        let unreleased_tokens = self.tail.num_tokens();
        let tokens = self.released_tokens + unreleased_tokens;
        self.rule_reports(|state, kind| {
            state.was_checked(unreleased_tokens)
                && match kind {
                    _ if self.ended => true,
                    Kind::Logits(limits) => tokens >= limits.window,
                    kind => !kind.is_about_whole(),
                }
        })
    }

    /// One for each rule; `judged` says whether one on the completion has judged all that it must.
    fn rule_reports(&self, judged: impl Fn(&SetState, &Kind) -> bool) -> Box<[RuleReport]> {
        let mut reports = Vec::new();
        for (number, (state, set)) in self.sets.iter().zip(self.gate.sets()).enumerate() {
            for (index, rule) in set.set().rules().enumerate() {
                let otherwise = match rule.on {
                    Side::Input => RuleStatus::NotRun,
                    Side::Output if state.has_failed() => RuleStatus::Error,
                    Side::Output if self.waits(number, index) => RuleStatus::NotRun,
                    Side::Output if judged(state, &rule.kind) => RuleStatus::Pass,
                    Side::Output => RuleStatus::NotRun,
                };
                reports.push(state.tally(index).report(number, rule, otherwise));
            }
        }
        reports.into()
    }

    /// Whether nothing was done yet about a match of the rule.
    fn waits(&self, set: usize, rule: usize) -> bool {
        let mut deferred = self.deferred.iter();
        deferred.any(|hit| (hit.set, hit.found.rule) == (set, rule))
            || self.sets[set].has_found(rule)
    }
}
