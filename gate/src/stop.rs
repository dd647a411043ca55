//! Stop strings: text that ends a completion and is no part of it.
//!
//! They are looked for here, behind the rules: what a rule replaces must not be told by where an
//! answer stops, and what lies behind a stop string must not refuse what lies before it.

use std::{ops::Range, sync::Arc};

use crate::tail::Tail;

/// Looks for stop strings in the text of one completion.
#[derive(Debug, Default)]
pub(crate) struct StopSearch {
    strings: Arc<[String]>,
    /// Tokens whose text is not looked at.
    skip_tokens: usize,
    /// The byte from which text counts, once those tokens are written.
    from: Option<usize>,
    /// The stop string that is complete first.
    found: Option<Range<usize>>,
}

impl StopSearch {
    pub(crate) fn new(strings: &[String], skip_tokens: usize) -> Self {
        let strings = strings.iter().filter(|string| !string.is_empty());
        Self {
            strings: strings.cloned().collect(),
            skip_tokens,
            from: None,
            found: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.strings.is_empty()
    }

    /// The stop string that is complete first: of several that end at the same byte, the longest.
    pub(crate) fn found(&self) -> Option<Range<usize>> {
        self.found.clone()
    }

    /// One more token is written, number `index` of the completion, whose text begins at `start`.
    pub(crate) fn advance(&mut self, tail: &Tail, index: usize, start: usize) {
        if index < self.skip_tokens || self.is_empty() {
            return;
        }
        let from = *self.from.get_or_insert(start);
        if self.found.is_none() {
            let longest = self.strings.iter().map(String::len).max().unwrap_or(0);
            self.found = self.first_in(tail, from.max((start + 1).saturating_sub(longest)));
        }
    }

    /// The string that was found does not count: look for the next.
    pub(crate) fn pass_over(&mut self, tail: &Tail) {
        if let Some(found) = self.found.take() {
            let next = tail.next_boundary(found.start);
            self.from = self.from.max(Some(next));
            self.found = self.first_in(tail, next);
        }
    }

    /// All text from byte `released` on is gone.
    pub(crate) fn roll_back(&mut self, released: usize) {
        self.from = self.from.filter(|from| *from <= released);
        self.found = None;
    }

    /// The first byte of what is, or could yet become, a stop string.
    pub(crate) fn alive_from(&self, tail: &Tail) -> Option<usize> {
        let open = || {
            let from = tail.boundary_at_or_after(self.from?) - tail.start();
            let text = &tail.text()[from..];
            let opens = self.strings.iter().filter_map(|stop| open_len(text, stop));
            Some(tail.end() - opens.max()?)
        };
        self.found.as_ref().map(|found| found.start).or_else(open)
    }

    fn first_in(&self, tail: &Tail, from: usize) -> Option<Range<usize>> {
        let from = tail.boundary_at_or_after(from);
        let text = &tail.text()[from - tail.start()..];
        let found = self.strings.iter().filter_map(|stop| {
            let start = from + text.find(stop.as_str())?;
            Some(start..start + stop.len())
        });
        found.min_by_key(|found| (found.end, found.start))
    }
}

/// The length of the longest beginning of `stop`, not all of it, with which `text` ends.
fn open_len(text: &str, stop: &str) -> Option<usize> {
    let longest = text.len().min(stop.len() - 1);
    let mut lens = (1..=longest).rev();
    lens.find(|&len| stop.is_char_boundary(len) && text.ends_with(&stop[..len]))
}
