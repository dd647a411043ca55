//! What the model has written and the gate has not released.

use portcullis_types::{Sample, TokenId};

/// Unreleased tokens and their text.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    text: String,
    /// Where `text` begins in the completion, in bytes.
    start: usize,
    tokens: Vec<Token>,
}

#[derive(Debug)]
struct Token {
    sample: Sample,
    /// First byte after it in the completion.
    end: usize,
}

/// Tokens that leave the tail.
pub(crate) struct Taken<'a> {
    /// Their text.
    pub(crate) text: &'a str,
    /// Where it begins in the completion.
    pub(crate) start: usize,
}

impl Tail {
    pub(crate) fn push(&mut self, sample: Sample, text: &str) {
        self.text.push_str(text);
        let end = self.end();
        self.tokens.push(Token { sample, end });
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
        for Token { sample, end } in self.tokens.drain(..count) {
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
