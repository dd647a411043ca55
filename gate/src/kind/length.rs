//! `length`: how long an answer may be. What is beyond the limit is the match, so that everything
//! before it streams.

use crate::{
    diagnostic::{Diagnostics, Place},
    ruleset::fields::{self, Fields},
    ruleset::yaml::Node,
    state::history::Counts,
};

use super::Kind;

/// The largest limit that can be given.
const LENGTH_MAX: usize = 1 << 24;

const KEYS: [&str; 3] = ["max_tokens", "max_characters", "max_sentences"];

/// Limits on a text, of which at least one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthLimits {
    /// Tokens of the completion, those without text not counted.
    pub max_tokens: Option<usize>,
    /// Unicode scalar values.
    pub max_characters: Option<usize>,
    /// Stretches that end with `.`, `!`, `?` or the like and white space, or with a line. Coarse:
    /// "Dr. Smith" is two.
    pub max_sentences: Option<usize>,
}

pub(super) fn read(
    _: &Fields<'_>,
    node: &Node,
    mistakes: &mut Diagnostics,
) -> Option<(Kind, Vec<Place>)> {
    let limits = Fields::open(node, "`length`", &KEYS, mistakes)?;
    let mut limit = |key: &str| {
        let node = limits.get(key)?;
        fields::number(node, &format!("`{key}`"), 1..=LENGTH_MAX, mistakes)
    };
    let read = LengthLimits {
        max_tokens: limit("max_tokens"),
        max_characters: limit("max_characters"),
        max_sentences: limit("max_sentences"),
    };
    if KEYS.iter().all(|key| limits.get(key).is_none()) {
        let mend = "write `length: {max_characters: 2000}`";
        mistakes.push(node.at, "`length` has no limit", mend);
    }
    Some((Kind::Length(read), Vec::new()))
}

impl LengthLimits {
    /// Whether some limit is on what a text shows, its tokens unknown.
    pub(crate) fn counts_text(&self) -> bool {
        self.max_characters.or(self.max_sentences).is_some()
    }

    /// The byte of `text` with which it exceeds a limit, where `before` was counted up to it.
    pub(crate) fn exceeded_at(&self, before: &Counts, text: &str) -> Option<usize> {
        let mut counts = *before;
        counts.begin_token();
        for (at, character) in text.char_indices() {
            counts.push(character);
            let over = |count: usize, max: Option<usize>| max.is_some_and(|max| count > max);
            if over(counts.tokens, self.max_tokens)
                || over(counts.characters, self.max_characters)
                || over(counts.sentences, self.max_sentences)
            {
                return Some(at);
            }
        }
        None
    }
}
