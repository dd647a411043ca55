//! Rules that look at a completion as a whole and not for a pattern in it.

use crate::{
    kind::{Languages, LengthLimits, LogitLimits},
    scan::Match,
    state::history::TokenEvent,
};

/// One such rule, compiled.
#[derive(Debug)]
pub(crate) struct Judge {
    /// Index of the rule in its set.
    pub(crate) rule: usize,
    pub(crate) kind: JudgeKind,
    /// Whether text waits for it.
    pub(crate) holds: bool,
}

#[derive(Debug)]
pub(crate) enum JudgeKind {
    Length(LengthLimits),
    Logits {
        limits: LogitLimits,
        /// Which of the masses that the set watches is this rule's.
        mass: usize,
    },
    /// Its texts are patterns, whose matches tell that it is satisfied.
    Require,
    Language(Languages),
}

/// What a judge remembers of a completion.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Length: the first byte that is too much. Require: the last byte of the first required text.
    since: Option<usize>,
}

impl Judge {
    /// What it says after one more token.
    pub(crate) fn judge(&self, event: &TokenEvent<'_>, memory: &mut Memory) -> Option<Match> {
        match &self.kind {
            JudgeKind::Length(limits) => self.judge_length(limits, event, memory),
            JudgeKind::Logits { limits, mass } => self.judge_logits(limits, *mass, event),
            JudgeKind::Require => {
                let missing = event.ends() && memory.since.is_none();
                missing.then(|| self.found(event.end_byte(), event))
            }
            JudgeKind::Language(languages) => {
                let objects = event.ends() && languages.objects_to(event.written);
                objects.then(|| self.found(0, event))
            }
        }
    }

    fn judge_length(
        &self,
        limits: &LengthLimits,
        event: &TokenEvent<'_>,
        memory: &mut Memory,
    ) -> Option<Match> {
        if memory.since.is_none() {
            let exceeded = limits.exceeded_at(&event.counts_before, event.text);
            memory.since = exceeded.map(|at| event.start + at);
        }
        let since = memory.since?;
        Some(Match {
            // However the text is cut into tokens, it is too long from this byte on.
            known_at: event.end_byte().min(since + 1),
            ..self.found(since, event)
        })
    }

    fn judge_logits(
        &self,
        limits: &LogitLimits,
        mass: usize,
        event: &TokenEvent<'_>,
    ) -> Option<Match> {
        let window = event.window(limits.window);
        let is_full = window.len() == limits.window || event.ends();
        let start = window.clone().next()?.start;
        (is_full && limits.object_to(window, event.first_mass + mass))
            .then(|| self.found(start, event))
    }

    fn found(&self, start: usize, event: &TokenEvent<'_>) -> Match {
        Match {
            rule: self.rule,
            start,
            end: event.end_byte(),
            known_at: event.end_byte(),
        }
    }

    /// A required text was found.
    pub(crate) fn satisfy(&self, found: Match, memory: &mut Memory) -> bool {
        let required = matches!(self.kind, JudgeKind::Require) && found.rule == self.rule;
        if required {
            memory.since.get_or_insert(found.end.saturating_sub(1));
        }
        required
    }

    /// The first byte that a later verdict could still be about.
    pub(crate) fn alive_from(&self, event: &TokenEvent<'_>) -> Option<usize> {
        match &self.kind {
            _ if !self.holds => None,
            // The last tokens are part of the next window.
            JudgeKind::Logits { limits, .. } => {
                let mut window = event.window(limits.window - 1);
                window.next().map(|facts| facts.start)
            }
            JudgeKind::Require | JudgeKind::Language(_) => Some(0),
            JudgeKind::Length(_) => None,
        }
    }
}

impl Memory {
    /// All text from `byte` on is gone.
    pub(crate) fn end_before(&mut self, byte: usize) {
        self.since = self.since.filter(|since| *since < byte);
    }
}
