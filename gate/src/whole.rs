//! Whole texts: what the rules find in a text that is there at once, a prompt or a past answer.
//!
//! The same automata and the same judges as for a stream. What a stream finds token by token is
//! here as stretches: of overlapping matches of a rule, the union.

use std::{collections::BTreeMap, ops::Range};

use crate::{
    End, Finding, RuleSet, Side,
    judge::{Judge, Memory},
    scan::{GaveUp, Match, Matcher, Scan},
    state::history::{Counts, History, TokenEvent},
};

/// Bytes after which matches are merged: one place of the text may begin a match for each byte
/// that follows it.
const PIECE_BYTES: usize = 1 << 10;

/// A text was not evaluated. That is no verdict on it, and least of all that it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an automaton of the rule set gave up on this text; it was not evaluated")]
pub struct NotEvaluated;

impl RuleSet {
    /// What the rules on `side` find in a whole text, by rule in the order of the file, then by
    /// place.
    ///
    /// A rule that looks at what only the model knows finds nothing here: see
    /// [`Kind::told_by_text`](crate::Kind::told_by_text).
    ///
    /// # Errors
    /// An automaton gave up.
    pub fn scan(&self, side: Side, text: &str) -> Result<Vec<Finding>, NotEvaluated> {
        let matcher = match side {
            Side::Input => self.input(),
            Side::Output => self.output(),
        };
        let found = matches(matcher, text, false).map_err(|GaveUp| NotEvaluated)?;
        let finding = |(rule, span): (usize, Range<usize>)| Finding {
            ruleset: self.definition().name.clone(),
            version: self.version(),
            rule: self.definition().rules[rule].id.clone(),
            action: self.definition().action(rule),
            input: (side == Side::Input).then_some(0),
            start: span.start,
            end: span.end,
            attempt: 0,
        };
        Ok(found.into_iter().map(finding).collect())
    }
}

/// What `matcher` finds in `text`: rules by their index, each with its stretches of overlapping
/// matches.
pub(crate) fn matches(
    matcher: &Matcher,
    text: &str,
    is_json: bool,
) -> Result<Vec<(usize, Range<usize>)>, GaveUp> {
    let mut collected = Collected::new(matcher);
    let (mut scan, mut found) = (Scan::new(matcher, is_json), Vec::new());
    for (start, piece) in pieces(text) {
        scan.advance(matcher, start, piece, &mut found)?;
        collected.take(&mut found);
    }
    scan.finish(matcher, text.len(), &mut found);
    collected.take(&mut found);
    Ok(collected.judged(text))
}

/// `text` cut between characters, each piece with where it begins.
fn pieces(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = text.ceil_char_boundary(start + PIECE_BYTES);
        let piece = (start, &text[start..end]);
        start = end;
        (!piece.1.is_empty()).then_some(piece)
    })
}

/// What was found so far.
struct Collected<'a> {
    judges: Vec<(&'a Judge, Memory)>,
    stretches: BTreeMap<usize, Vec<Range<usize>>>,
}

impl<'a> Collected<'a> {
    fn new(matcher: &'a Matcher) -> Self {
        let judges = matcher.judges.iter();
        Self {
            judges: judges.map(|judge| (judge, Memory::default())).collect(),
            stretches: BTreeMap::new(),
        }
    }

    /// Takes matches, whose ends never go back within a rule.
    fn take(&mut self, found: &mut Vec<Match>) {
        for one in found.drain(..) {
            let mut judges = self.judges.iter_mut();
            if !judges.any(|(judge, memory)| judge.satisfy(one, memory)) {
                self.add(&one);
            }
        }
    }

    fn add(&mut self, one: &Match) {
        let stretches = self.stretches.entry(one.rule).or_default();
        let mut merged = one.start..one.end;
        while let Some(last) = stretches.pop_if(|last| merged.start < last.end) {
            merged = last.start.min(merged.start)..last.end.max(merged.end);
        }
        stretches.push(merged);
    }

    /// With what the judges say of the text as a whole.
    fn judged(mut self, text: &str) -> Vec<(usize, Range<usize>)> {
        let event = TokenEvent {
            start: 0,
            text,
            end: Some(End::Natural),
            counts_before: Counts::default(),
            history: &History::default(),
            later_tokens: 0,
            written: text,
            first_mass: 0,
        };
        let judges = std::mem::take(&mut self.judges);
        let objections = judges
            .into_iter()
            .filter_map(|(judge, mut memory)| judge.judge(&event, &mut memory));
        objections.for_each(|objection| self.add(&objection));
        let stretches = self.stretches.into_iter();
        stretches
            .flat_map(|(rule, spans)| spans.into_iter().map(move |span| (rule, span)))
            .collect()
    }
}
