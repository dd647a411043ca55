//! What leaves the tail: forward into [`Admitted`], or back.

use super::{GateState, Stop};
use crate::{Admitted, End, Verdict, tail::Taken};

impl GateState {
    /// Releases what no set holds back.
    pub(super) fn release(&mut self, end: Option<End>) -> Admitted {
        let all = self.tail.num_tokens();
        let count = match self.released_to(end) {
            Some(limit) if end.is_none() || limit < self.tail.end() => {
                self.tail.num_tokens_before(limit)
            }
            _ => all,
        };
        if end.is_some() {
            self.report.withheld_tokens += (all - count) as u64;
        }
        let Taken { text, start } = self.tail.first(count);
        for (state, set) in self.sets.iter_mut().zip(self.gate.sets()) {
            if self.reads_again && count > 0 {
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
        self.history.trim(all - count);
        self.released_text |= !released.is_empty();
        let flagged = self.take_flagged(end);
        if end.is_some() {
            self.report.rules = self.rules_at_end(count == all);
        }
        Admitted::new(released, samples, flagged, count)
    }

    /// The first byte that is held back; `None` where nothing ever is.
    fn released_to(&self, end: Option<End>) -> Option<usize> {
        let sets = self.sets.iter().zip(self.gate.sets());
        let holding = sets.filter(|(_, set)| set.holds());
        let held_by_sets = holding
            .map(|(state, set)| state.released_to(set, end))
            .min();
        let held_by_stop = match end {
            None if self.stop.is_empty() => None,
            None => Some(self.stop.alive_from(&self.tail).unwrap_or(self.tail.end())),
            Some(_) => self.stop.found().map(|stop| stop.start),
        };
        held_by_sets.into_iter().chain(held_by_stop).min()
    }

    fn take_flagged(&mut self, end: Option<End>) -> Vec<crate::Finding> {
        let released = self.tail.start();
        self.flagged
            .extract_if(.., |finding| end.is_some() || finding.end <= released)
            .collect()
    }

    /// Throws the tail away, to draw again or to end.
    pub(super) fn stop(&mut self, stop: Stop) -> Verdict {
        match &stop {
            Stop::Again(hit) => {
                self.ended = false;
                self.remember(hit.found.known_at);
            }
            Stop::Refuse(_) => self.report.rules = self.rules_cut_off(),
        }
        let discarded = self.tail.clear();
        self.report.discarded_tokens += discarded as u64;
        self.history.drop_last(discarded);
        self.grammars.truncate(self.released_tokens);
        self.written.truncate(self.tail.start());
        self.stop.roll_back(self.tail.start());
        self.deferred.clear();
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
        for (state, set) in self.sets.iter_mut().zip(self.gate.sets()) {
            state.roll_back(set, released, discarded);
        }
        self.redactor.roll_back(released);
        Verdict::Resample {
            keep_tokens: self.released_tokens,
        }
    }

    /// Keeps a refused continuation from being drawn again, where it likely would be: on greedy
    /// draws, and on others by its probability. Whatever follows byte `known_at`, it is refused.
    fn remember(&mut self, known_at: usize) {
        let path = || self.tail.samples_to(known_at);
        if self.greedy || self.refused.would_recur(path()) {
            self.refused.refuse(path());
            self.report.sampling_modified = true;
        }
    }
}

/// Whether the token with bytes `from..to` tells something of a replaced stretch. A token without
/// text may be the first half of a character that follows it.
fn touches(replaced: &std::ops::Range<usize>, from: usize, to: usize) -> bool {
    let to = to.max(from + 1);
    from < replaced.end && to > replaced.start
}
