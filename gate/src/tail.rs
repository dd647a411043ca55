//! What the model has written and the gate has not released.

use std::{collections::VecDeque, ops::Range};

use portcullis_types::{Sample, TokenId};

use crate::state::history::Counts;

/// Unreleased tokens and their text.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    text: String,
    /// Where `text` begins in the completion, in bytes.
    start: usize,
    tokens: VecDeque<Token>,
    /// What was counted before it.
    counts: Counts,
}

#[derive(Debug)]
struct Token {
    sample: Sample,
    /// First byte after it in the completion.
    end: usize,
    /// What is counted up to and with it; stays zero where nobody asks.
    counts: Counts,
}

/// Tokens that leave the tail.
pub(crate) struct Taken<'a> {
    /// Their text.
    pub(crate) text: &'a str,
    /// Where it begins in the completion.
    pub(crate) start: usize,
}

impl Tail {
    /// Adds a token; `count` says whether anybody asks for counts.
    pub(crate) fn push(&mut self, sample: Sample, text: &str, count: bool) {
        let mut counts = self.counts_before(self.tokens.len());
        if count {
            counts.push_token(text);
        }
        self.text.push_str(text);
        let end = self.end();
        self.tokens.push_back(Token {
            sample,
            end,
            counts,
        });
    }

    /// What was counted before token `index`.
    pub(crate) fn counts_before(&self, index: usize) -> Counts {
        match index.checked_sub(1) {
            Some(before) => self.tokens[before].counts,
            None => self.counts,
        }
    }

    /// The bytes of token `index` in the completion.
    pub(crate) fn bytes_of(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1);
        start.map_or(self.start, |before| self.tokens[before].end)..self.tokens[index].end
    }

    /// The text of token `index`.
    pub(crate) fn text_of(&self, index: usize) -> &str {
        let bytes = self.bytes_of(index);
        &self.text[bytes.start - self.start..bytes.end - self.start]
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The first byte at or after `byte` where a character begins.
    pub(crate) fn boundary_at_or_after(&self, byte: usize) -> usize {
        let mut at = byte.clamp(self.start, self.end());
        while !self.text.is_char_boundary(at - self.start) {
            at += 1;
        }
        at
    }

    /// Where the character after that at `byte` begins.
    pub(crate) fn next_boundary(&self, byte: usize) -> usize {
        self.boundary_at_or_after(byte + 1)
    }

    /// Cuts the text off at `stop.start`; tokens that begin behind `stop` go altogether. Says how
    /// many went.
    pub(crate) fn cut(&mut self, stop: &Range<usize>) -> usize {
        let all = self.tokens.len();
        let keep = self.tokens.partition_point(|token| token.end < stop.end) + 1;
        self.tokens.truncate(keep);
        for token in &mut self.tokens {
            token.end = token.end.min(stop.start);
        }
        self.text.truncate(stop.start - self.start);
        all - self.tokens.len()
    }

    /// First byte that is not released.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// First byte after the text.
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    pub(crate) fn num_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// How many tokens reach beyond byte `limit`.
    pub(crate) fn num_tokens_beyond(&self, limit: usize) -> usize {
        let within = self.tokens.partition_point(|token| token.end <= limit);
        self.tokens.len() - within
    }

    /// How many tokens lie before byte `limit`. Of tokens without text that follow, none: such a
    /// token is half a character or waits for a stop string, and its text is yet to come.
    pub(crate) fn num_tokens_before(&self, limit: usize) -> usize {
        let within = self.tokens.partition_point(|token| token.end <= limit);
        let Some(last) = within.checked_sub(1) else {
            return 0;
        };
        let end = self.tokens[last].end;
        if end == self.start {
            return 0;
        }
        self.tokens.partition_point(|token| token.end < end) + 1
    }

    pub(crate) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.tokens.iter().map(|token| &token.sample)
    }

    /// The samples up to the one that reaches byte `limit`, and those without text that follow:
    /// one of them may have ended the completion.
    pub(crate) fn samples_to(&self, limit: usize) -> impl Iterator<Item = &Sample> {
        let before = self.tokens.partition_point(|token| token.end < limit);
        let within = self.tokens.partition_point(|token| token.end <= limit);
        self.samples().take(within.max(before + 1))
    }

    pub(crate) fn token_ids(&self) -> impl Iterator<Item = TokenId> {
        self.samples().map(|sample| sample.token)
    }

    /// The text of the first `count` tokens.
    pub(crate) fn first(&self, count: usize) -> Taken<'_> {
        let len = match count.checked_sub(1) {
            Some(last) => self.tokens[last].end - self.start,
            None => 0,
        };
        Taken {
            text: &self.text[..len],
            start: self.start,
        }
    }

    /// Removes the first `count` tokens and keeps the samples of those whose bytes
    /// `(start, end)` pass `keep`.
    pub(crate) fn take(
        &mut self,
        count: usize,
        keep: impl Fn(usize, usize) -> bool,
    ) -> Vec<Sample> {
        let len = self.first(count).text.len();
        let mut at = self.start;
        let mut samples = Vec::with_capacity(count);
        self.counts = self.counts_before(count);
        for Token { sample, end, .. } in self.tokens.drain(..count) {
            if keep(at, end) {
                samples.push(sample);
            }
            at = end;
        }
        self.text.drain(..len);
        self.start += len;
        samples
    }

    /// Throws everything away and says how many tokens that were.
    pub(crate) fn clear(&mut self) -> usize {
        let count = self.tokens.len();
        self.tokens.clear();
        self.text.clear();
        count
    }
}
