//! What one rule set knows of one sequence.

use crate::{
    RuleSet, Scope,
    scan::{GaveUp, Match, Scan},
};

/// What one rule set knows of one sequence.
#[derive(Debug)]
pub(super) struct SetState {
    /// Has read all text.
    head: Scan,
    /// Has read what is released: where a roll-back goes on from.
    base: Scan,
    /// Matches that wait for a checkpoint.
    found: Vec<Match>,
    /// Tokens since the last checkpoint.
    unchecked_tokens: usize,
    /// As far as this set goes, everything before may be released.
    cleared_to: usize,
    /// Roll-backs since the release moved past `refused_at`.
    attempts_here: u32,
    /// The furthest byte at which a refused match began.
    refused_at: usize,
    rules: Vec<RuleState>,
    /// It failed, and lets everything pass because it says `on_gate_error: flag`.
    blind: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct RuleState {
    /// Matches that begin before are recorded.
    noted_to: usize,
    /// Matches that begin before got what the rule does when no attempt is left.
    settled_to: usize,
}

impl SetState {
    pub(super) fn new(set: &RuleSet) -> Self {
        let scan = Scan::new(set.matcher());
        Self {
            base: scan.clone(),
            head: scan,
            found: Vec::new(),
            unchecked_tokens: 0,
            cleared_to: 0,
            attempts_here: 0,
            refused_at: 0,
            rules: vec![RuleState::default(); set.rules().count()],
            blind: false,
        }
    }

    /// Reads the text of one more token, which begins at byte `start`.
    pub(super) fn read(
        &mut self,
        set: &RuleSet,
        start: usize,
        text: &str,
        end: bool,
    ) -> Result<(), GaveUp> {
        self.unchecked_tokens += 1;
        if self.blind {
            self.cleared_to = start + text.len();
            return Ok(());
        }
        let matcher = set.matcher();
        self.head.advance(matcher, start, text, &mut self.found)?;
        if end {
            self.head
                .finish(matcher, start + text.len(), &mut self.found);
        } else {
            self.head.settle(matcher, &mut self.found);
        }
        Ok(())
    }

    /// Whether the set has a checkpoint after the token with `text`; if so, it counts as done.
    pub(super) fn is_due(&mut self, set: &RuleSet, text: &str, end: bool) -> bool {
        let config = set.checkpoint();
        let tokens = self.unchecked_tokens;
        let due = end
            || config.every_tokens.is_some_and(|every| tokens >= every)
            || (config.sentence && ends_sentence(text))
            || (set.resample().scope == Scope::Segment && tokens >= config.max_hold_tokens);
        if due {
            self.unchecked_tokens = 0;
        }
        due
    }

    /// Whether the last token was at a checkpoint.
    pub(super) fn was_due(&self) -> bool {
        self.unchecked_tokens == 0
    }

    pub(super) fn take_found(&mut self) -> impl Iterator<Item = Match> {
        self.found.drain(..)
    }

    /// Whether the match belongs to a stretch of text for which no attempt is left.
    pub(super) fn is_settled(&self, found: Match) -> bool {
        found.start < self.rules[found.rule].settled_to
    }

    pub(super) fn settle(&mut self, found: Match) {
        let settled_to = &mut self.rules[found.rule].settled_to;
        *settled_to = found.end.max(*settled_to);
    }

    /// Whether the match is the first of a stretch of overlapping ones of its rule.
    pub(super) fn note(&mut self, found: Match) -> bool {
        let noted_to = &mut self.rules[found.rule].noted_to;
        let new = found.start >= *noted_to;
        *noted_to = found.end.max(*noted_to);
        new
    }

    /// The first byte from which a rule that holds could still match.
    pub(super) fn alive_from(&self, set: &RuleSet) -> Option<usize> {
        self.head.alive_from(set.matcher())
    }

    pub(super) fn clear_to(&mut self, byte: usize) {
        self.cleared_to = byte;
    }

    pub(super) fn cleared_to(&self) -> usize {
        self.cleared_to
    }

    pub(super) fn attempts_here(&self) -> u32 {
        self.attempts_here
    }

    /// Lets everything before `end` pass; `for_good`: and all that follows.
    pub(super) fn give_up(&mut self, end: usize, for_good: bool) {
        self.head.forget_threads();
        self.cleared_to = end;
        self.blind |= for_good;
    }

    /// This set refuses a match that begins at `byte`.
    pub(super) fn count_attempt(&mut self, byte: usize) {
        self.attempts_here += 1;
        self.refused_at = self.refused_at.max(byte);
    }

    /// All text from byte `released` on is gone.
    pub(super) fn roll_back(&mut self, released: usize) {
        self.head.copy_from(&self.base);
        self.found.clear();
        self.unchecked_tokens = 0;
        self.cleared_to = released;
        for rule in &mut self.rules {
            rule.noted_to = rule.noted_to.min(released);
            rule.settled_to = rule.settled_to.min(released);
        }
    }

    /// `text`, which begins at byte `start`, is released; `all`: and nothing is left.
    pub(super) fn release(&mut self, set: &RuleSet, start: usize, text: &str, all: bool) {
        if all {
            self.base.copy_from(&self.head);
        } else if !self.blind {
            // What it finds has been acted on; and it cannot give up where the head did not.
            let found = &mut Vec::new();
            let read = self.base.advance(set.matcher(), start, text, found);
            self.base.settle(set.matcher(), found);
            self.blind |= read.is_err();
        }
        if start + text.len() > self.refused_at {
            self.attempts_here = 0;
        }
    }
}

/// A full stop, question or exclamation mark, or the end of a line: coarse on purpose, for a
/// checkpoint too many costs little and one too few holds text back.
fn ends_sentence(text: &str) -> bool {
    text.contains(['.', '!', '?', '\n', '…', '。', '！', '？'])
}
