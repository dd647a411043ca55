//! What one rule set knows of one sequence.

use super::history::TokenEvent;
use crate::{
    Action, BoundSet, End, Scope,
    judge::Memory,
    report::Tally,
    scan::{Base, GaveUp, Match, Matcher, Scan},
};

/// What one rule set knows of one sequence.
#[derive(Debug)]
pub(super) struct SetState {
    /// Has read all text.
    head: Scan,
    /// What is released: where a roll-back goes on from.
    base: Base,
    /// Matches that wait for a checkpoint.
    found: Vec<Match>,
    /// Tokens since the last checkpoint.
    unchecked_tokens: usize,
    /// This set has, and can come to have, nothing against what lies before.
    clear_to: usize,
    /// No match of a pattern that holds can come to begin before. What judges say of a completion
    /// as a whole waits for its end, and does not keep it from ending.
    certain_to: usize,
    /// From where on a rule that holds could still match.
    alive_from: Option<usize>,
    /// From where on a pattern that holds could still match.
    open_from: Option<usize>,
    /// Roll-backs since the release moved past `refused_at`.
    attempts_here: u32,
    /// The furthest byte at which a refused match began.
    refused_at: usize,
    rules: Vec<RuleState>,
    /// For each judge of the set.
    memories: Vec<Memory>,
    /// Where its masses begin among those of all sets.
    first_mass: usize,
    /// Had a checkpoint.
    was_evaluated: bool,
    /// Could not come to a verdict.
    failed: bool,
    /// It failed, and lets everything pass because it says `on_gate_error: flag`.
    blind: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct RuleState {
    /// Matches that begin before are recorded.
    noted_to: usize,
    /// Matches that begin before got what the rule does when no attempt is left.
    settled_to: usize,
    tally: Tally,
}

impl SetState {
    pub(super) fn new(set: &BoundSet, first_mass: usize, is_json: bool) -> Self {
        let matcher = set.set().output();
        let scan = Scan::new(matcher, is_json);
        Self {
            base: Base::new(scan.clone()),
            head: scan,
            found: Vec::new(),
            unchecked_tokens: 0,
            clear_to: 0,
            certain_to: 0,
            alive_from: None,
            open_from: None,
            attempts_here: 0,
            refused_at: 0,
            rules: vec![RuleState::default(); set.set().rules().count()],
            memories: vec![Memory::default(); matcher.judges.len()],
            first_mass,
            was_evaluated: false,
            failed: false,
            blind: false,
        }
    }

    /// Reads one more token.
    pub(super) fn read(&mut self, set: &BoundSet, event: &TokenEvent<'_>) -> Result<(), GaveUp> {
        self.unchecked_tokens += 1;
        if self.blind {
            return Ok(());
        }
        let matcher = set.set().output();
        let known = self.found.len();
        self.head
            .advance(matcher, event.start, event.text, &mut self.found)?;
        if event.end != Some(End::Natural) {
            self.head.settle(matcher, &mut self.found);
        }
        // At a cut, what could have become a match is what was alive before the end.
        let open_from = self.head.alive_from(matcher);
        if event.ends() {
            self.head.finish(matcher, event.end_byte(), &mut self.found);
        }
        self.judge(matcher, known, event);
        let judged = matcher
            .judges
            .iter()
            .filter_map(|judge| judge.alive_from(event));
        (self.alive_from, self.open_from) = match event.end {
            None => (judged.chain(open_from).min(), open_from),
            Some(End::Cut) => (open_from, open_from),
            Some(End::Natural) => (None, None),
        };
        Ok(())
    }

    /// Lets the judges see the token; matches from `known` on are those of its text.
    fn judge(&mut self, matcher: &Matcher, known: usize, event: &TokenEvent<'_>) {
        if matcher.judges.is_empty() {
            return;
        }
        let event = TokenEvent {
            first_mass: self.first_mass,
            ..*event
        };
        let memories = &mut self.memories;
        let mut satisfied = self.found.split_off(known);
        satisfied.retain(|found| {
            let judges = matcher.judges.iter().zip(memories.iter_mut());
            let required = judges.map(|(judge, memory)| judge.satisfy(*found, memory));
            !required.fold(false, |any, one| any | one)
        });
        self.found.append(&mut satisfied);
        let judges = matcher.judges.iter().zip(memories);
        let found = judges.filter_map(|(judge, memory)| judge.judge(&event, memory));
        self.found.extend(found);
    }

    /// Whether the set has a checkpoint after the token with `text`; if so, it counts as done.
    pub(super) fn is_due(&mut self, set: &BoundSet, text: &str, end: Option<End>) -> bool {
        let config = set.set().checkpoint();
        let tokens = self.unchecked_tokens;
        let due = end.is_some()
            || config.every_tokens.is_some_and(|every| tokens >= every)
            || (config.sentence && ends_sentence(text))
            || (set.set().resample().scope == Scope::Segment && tokens >= config.max_hold_tokens);
        if due {
            self.unchecked_tokens = 0;
            self.was_evaluated = true;
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

    /// Notes a match and what is done about it. Whether it is the first of a stretch of
    /// overlapping ones of its rule.
    pub(super) fn note(&mut self, found: Match, action: Action) -> bool {
        let rule = &mut self.rules[found.rule];
        let new = found.start >= rule.noted_to;
        rule.noted_to = found.end.max(rule.noted_to);
        rule.tally.note(action);
        if new {
            rule.tally.count();
        }
        new
    }

    pub(super) fn tally(&self, rule: usize) -> Tally {
        self.rules[rule].tally
    }

    /// The first byte from which a rule that holds could still match, or at a cut could have.
    pub(super) fn alive_from(&self) -> Option<usize> {
        self.alive_from
    }

    /// The same for patterns alone.
    pub(super) fn open_from(&self) -> Option<usize> {
        self.open_from
    }

    pub(super) fn set_clear_to(&mut self, clear_to: usize, certain_to: usize) {
        (self.clear_to, self.certain_to) = (clear_to, certain_to);
    }

    /// Whether the completion may end before `byte` as far as patterns go.
    pub(super) fn is_certain_to(&self, byte: usize) -> bool {
        self.certain_to >= byte
    }

    /// What lies before may be released as far as this set goes.
    pub(super) fn released_to(&self, set: &BoundSet, end: Option<End>) -> usize {
        match set.set().resample().scope {
            Scope::Completion if end.is_none() => 0,
            _ => self.clear_to,
        }
    }

    pub(super) fn attempts_here(&self) -> u32 {
        self.attempts_here
    }

    /// It could not come to a verdict.
    pub(super) fn note_failure(&mut self) {
        self.failed = true;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed || self.blind
    }

    /// Nothing follows byte `end`, and no checkpoint.
    pub(super) fn cut_off(&mut self, set: &BoundSet, end: usize) {
        if !self.has_failed() {
            // Where the end of the text makes a match, text may be out that has it.
            let matcher = set.set().output();
            self.head.finish(matcher, end, &mut self.found);
        }
    }

    /// Whether a match of the rule waits for a checkpoint.
    pub(super) fn has_found(&self, rule: usize) -> bool {
        self.found.iter().any(|found| found.rule == rule)
    }

    /// Whether there was a checkpoint, and all tokens but the last `unreleased_tokens` had theirs.
    pub(super) fn was_checked(&self, unreleased_tokens: usize) -> bool {
        self.was_evaluated && self.unchecked_tokens <= unreleased_tokens
    }

    /// Lets everything before `end` pass; `for_good`: and all that follows.
    pub(super) fn give_up(&mut self, end: usize, for_good: bool) {
        self.head.forget_threads();
        self.base.note_forgotten();
        (self.alive_from, self.open_from) = (None, None);
        self.set_clear_to(end, end);
        self.blind |= for_good;
    }

    /// This set refuses a match that begins at `byte`.
    pub(super) fn count_attempt(&mut self, byte: usize) {
        self.attempts_here += 1;
        self.refused_at = self.refused_at.max(byte);
    }

    /// The text ends before `byte` after all, and is read once more from `released` on, which was
    /// `unread_tokens` ago: what was acted on stays so, and what was found in released text stays
    /// found.
    pub(super) fn end_before(
        &mut self,
        set: &BoundSet,
        byte: usize,
        released: usize,
        unread_tokens: usize,
    ) {
        // It cannot give up where the head did not.
        let restored = self.base.restore(set.set().output(), &mut self.head);
        self.blind |= restored.is_err();
        for memory in &mut self.memories {
            memory.end_before(byte);
        }
        self.found.retain(|found| found.known_at <= released);
        self.unchecked_tokens = self.unchecked_tokens.saturating_sub(unread_tokens);
        (self.alive_from, self.open_from) = (None, None);
        self.set_clear_to(released, released);
    }

    /// All text from byte `released` on is gone, and with it so many tokens.
    pub(super) fn roll_back(&mut self, set: &BoundSet, released: usize, discarded_tokens: usize) {
        self.end_before(set, released, released, discarded_tokens);
        for rule in &mut self.rules {
            rule.noted_to = rule.noted_to.min(released);
            rule.settled_to = rule.settled_to.min(released);
        }
    }

    /// `text`, which begins at byte `start`, is released; `all`: and nothing is left.
    pub(super) fn release(&mut self, set: &BoundSet, start: usize, text: &str, all: bool) {
        if !self.blind {
            // It cannot give up where the head did not.
            let matcher = set.set().output();
            let read = self.base.release(matcher, &self.head, start, text, all);
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
