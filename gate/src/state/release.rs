//! What leaves the tail: forward into [`Admitted`], or back.

use super::{GateState, Stop};
use crate::{Admitted, Mode, RuleSet, Verdict, ruleset::Action, tail::Taken};

impl GateState {
    /// Releases what no set holds back.
    pub(super) fn release(&mut self, end: bool) -> Admitted {
        let all = self.tail.num_tokens();
        let count = match self.cleared_to() {
            Some(limit) if !end => self.tail.num_tokens_before(limit),
            _ => all,
        };
        let Taken { text, start } = self.tail.first(count);
        for (state, set) in self.sets.iter_mut().zip(self.gate.sets()) {
            if self.can_roll_back && count > 0 {
                state.release(set, start, text, count == all);
            }
        }
        let mut released = String::with_capacity(text.len());
        let replaced = self.redactor.render(start, text, &mut released);
        self.refused.advance_root(self.tail.token_ids().take(count));
        let samples = self.tail.take(count, |from, to| {
            !replaced.iter().any(|span| touches(span, from, to))
        });
        self.released_tokens += count;
        self.released_text |= !released.is_empty();
        let flagged = self.take_flagged(end);
        Admitted::new(released, samples, flagged, count)
    }

    /// The first byte that some set holds back; `None` where none ever does.
    fn cleared_to(&self) -> Option<usize> {
        let sets = self.sets.iter().zip(self.gate.sets());
        let holding = sets.filter(|(_, set)| set.holds());
        holding.map(|(state, _)| state.cleared_to()).min()
    }

    fn take_flagged(&mut self, end: bool) -> Vec<crate::Finding> {
        let released = self.tail.start();
        self.flagged
            .extract_if(.., |finding| end || finding.end <= released)
            .collect()
    }

    /// Throws the tail away, to draw again or to end.
    pub(super) fn stop(&mut self, stop: Stop) -> Verdict {
        if self.greedy && matches!(stop, Stop::Again(_)) {
            self.refused.refuse(self.tail.samples());
            self.report.sampling_modified = true;
        }
        self.report.discarded_tokens += self.tail.clear() as u64;
        self.flagged.clear();
        let hit = match stop {
            Stop::Again(hit) => hit,
            Stop::Refuse(refusal) => {
                self.closed = Some(refusal.clone());
                return Verdict::Reject(refusal);
            }
        };
        let released = self.tail.start();
        self.report.attempts += 1;
        self.sets[hit.set].count_attempt(hit.found.start.max(released));
        for state in &mut self.sets {
            state.roll_back(released);
        }
        self.redactor.roll_back(released);
        Verdict::Resample {
            keep_tokens: self.released_tokens,
        }
    }
}

/// Whether a set may ask for a roll-back.
pub(super) fn can_roll_back(set: &RuleSet) -> bool {
    let mut actions = set.rules().map(|rule| rule.action);
    set.mode() == Mode::Enforce && actions.any(|action| action == Action::Resample)
}

/// Whether the token with bytes `from..to` tells something of a replaced stretch. A token without
/// text may be the first half of a character that follows it.
fn touches(replaced: &std::ops::Range<usize>, from: usize, to: usize) -> bool {
    let to = to.max(from + 1);
    from < replaced.end && to > replaced.start
}
