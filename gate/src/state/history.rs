//! What rules that look at a completion as a whole need to know of its past.

use std::collections::VecDeque;

use portcullis_types::Sample;

use crate::End;

/// One more token, as judges see it.
#[derive(Debug)]
pub(crate) struct TokenEvent<'a> {
    /// Where its text begins in the completion.
    pub(crate) start: usize,
    pub(crate) text: &'a str,
    pub(crate) end: Option<End>,
    /// What was counted before it.
    pub(crate) counts_before: Counts,
    /// The last tokens, this one included; empty where no rule asks for them.
    pub(crate) history: &'a History,
    /// Tokens at the end of the history that come after this one.
    pub(crate) later_tokens: usize,
    /// The whole completion as it was written; empty where no rule asks for it.
    pub(crate) written: &'a str,
    /// Where the masses that the set watches begin in [`TokenFacts::masses`].
    pub(crate) first_mass: usize,
}

impl TokenEvent<'_> {
    pub(crate) fn ends(&self) -> bool {
        self.end.is_some()
    }

    /// The last `count` tokens up to this one, or as many as there are.
    pub(crate) fn window(
        &self,
        count: usize,
    ) -> impl ExactSizeIterator<Item = &TokenFacts> + Clone {
        let facts = &self.history.facts;
        let end = facts.len().saturating_sub(self.later_tokens);
        facts.range(end.saturating_sub(count)..end)
    }

    pub(crate) fn end_byte(&self) -> usize {
        self.start + self.text.len()
    }
}

/// What was written so far, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// With text.
    pub(crate) tokens: usize,
    pub(crate) characters: usize,
    /// Begun.
    pub(crate) sentences: usize,
    in_sentence: bool,
    after_mark: bool,
}

impl Counts {
    pub(crate) fn begin_token(&mut self) {
        self.tokens += 1;
    }

    pub(crate) fn push(&mut self, character: char) {
        self.characters += 1;
        match character {
            '\n' | '。' | '！' | '？' => self.end_sentence(),
            '.' | '!' | '?' | '…' => self.after_mark = self.in_sentence,
            '"' | '\'' | ')' | ']' | '”' | '’' | '»' => {}
            space if space.is_whitespace() => {
                if self.after_mark {
                    self.end_sentence();
                }
            }
            _ => {
                self.sentences += usize::from(!self.in_sentence);
                (self.in_sentence, self.after_mark) = (true, false);
            }
        }
    }

    pub(crate) fn push_token(&mut self, text: &str) {
        if !text.is_empty() {
            self.begin_token();
            text.chars().for_each(|character| self.push(character));
        }
    }

    fn end_sentence(&mut self) {
        (self.in_sentence, self.after_mark) = (false, false);
    }
}

/// What is kept of a token after it is released.
#[derive(Clone, Debug)]
pub(crate) struct TokenFacts {
    /// Where its text begins in the completion.
    pub(crate) start: usize,
    pub(crate) entropy: f32,
    pub(crate) logprob: f32,
    pub(crate) masses: Vec<f32>,
}

impl TokenFacts {
    /// A mass that was not measured is no number, and out of every bound.
    pub(crate) fn mass(&self, index: usize) -> f32 {
        self.masses.get(index).copied().unwrap_or(f32::NAN)
    }
}

/// The last tokens of a completion.
#[derive(Debug, Default)]
pub(crate) struct History {
    facts: VecDeque<TokenFacts>,
    /// The longest window that a rule looks at; 0 keeps nothing.
    window: usize,
}

impl History {
    pub(crate) fn new(window: usize) -> Self {
        Self {
            facts: VecDeque::new(),
            window,
        }
    }

    pub(crate) fn push(&mut self, sample: &Sample, start: usize) {
        if self.window > 0 {
            self.facts.push_back(TokenFacts {
                start,
                entropy: sample.entropy,
                logprob: sample.logprob,
                masses: sample.masses.clone(),
            });
        }
    }

    /// The last `count` tokens are gone.
    pub(crate) fn drop_last(&mut self, count: usize) {
        self.facts.truncate(self.facts.len().saturating_sub(count));
    }

    /// Forgets what lies before every window that can still begin, with `held` tokens unreleased.
    pub(crate) fn trim(&mut self, held: usize) {
        let keep = (self.window + held).min(self.facts.len());
        self.facts.drain(..self.facts.len() - keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, sentences: usize) {
        let mut counts = Counts::default();
        text.chars().for_each(|character| counts.push(character));
        assert_eq!(counts.sentences, sentences, "{text:?}");
    }

    #[test]
    fn sentences_end_with_a_mark_and_space_or_a_line() {
        check("", 0);
        check("One", 1);
        check("One. Two!  Three?", 3);
        check("Pi is 3.14 or so.", 1);
        check("He said \"No.\" Then he left...", 2);
        check("- one\n- two\n\n- three", 3);
        check("一。二！三", 3);
        check("... ", 0);
    }
}
