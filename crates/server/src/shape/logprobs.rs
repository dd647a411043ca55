//! Log-probabilities on the wire.

use portcullis_engine::PromptScore;
use portcullis_text::Tokenizer;
use portcullis_types::{Sample, TokenId, TokenLogprob};
use serde_json::{Map, Value};

use crate::state::App;
use crate::wire::chat::{ChatLogprob, ChatLogprobs, TokenText};
use crate::wire::completion::TextLogprobs;

/// Tells log-probabilities where they were asked for.
pub(crate) struct Logprobs {
    is_asked: bool,
    /// Tokens that end an answer and are no part of it.
    end_tokens: Vec<TokenId>,
    tokenizer: Tokenizer,
}

impl Logprobs {
    pub(crate) fn new(app: &App, is_asked: bool, end_tokens: Vec<TokenId>) -> Self {
        Self {
            is_asked,
            end_tokens,
            tokenizer: app.tokenizer.clone(),
        }
    }

    /// Whether these samples have something to tell.
    pub(super) fn has_any(&self, samples: &[Sample]) -> bool {
        self.is_asked && self.said(samples).next().is_some()
    }

    pub(super) fn of_chat(&self, samples: &[Sample]) -> Option<ChatLogprobs> {
        let entry = |sample: &Sample| ChatLogprob {
            token: self.token_text(sample.token, sample.logprob),
            top_logprobs: sample.top.iter().map(|top| self.top_text(top)).collect(),
        };
        self.is_asked.then(|| ChatLogprobs {
            content: self.said(samples).map(entry).collect(),
        })
    }

    /// `offset`: characters before the first of them.
    pub(super) fn of_text(&self, samples: &[Sample], mut offset: usize) -> Option<TextLogprobs> {
        if !self.is_asked {
            return None;
        }
        let mut lists = TextLogprobs::default();
        for sample in self.said(samples) {
            let token = self.token_text(sample.token, sample.logprob);
            let top = self.top_map(&sample.top, sample.token, sample.logprob);
            offset = lists.push(token.token, offset, Some((token.logprob, top)));
        }
        Some(lists)
    }

    /// Those of a prompt; nothing comes before its first token, so that has none.
    pub(super) fn of_prompt(&self, scores: &[PromptScore]) -> TextLogprobs {
        let (mut lists, mut offset) = (TextLogprobs::default(), 0);
        for score in scores {
            let text = self.token_text(score.token, 0.0).token;
            let known = score.logprob.map(|logprob| {
                let top = self.top_map(&score.top, score.token, logprob);
                (finite(logprob), top)
            });
            offset = lists.push(text, offset, known);
        }
        lists
    }

    /// The samples that are part of the answer.
    fn said<'a>(&self, samples: &'a [Sample]) -> impl Iterator<Item = &'a Sample> {
        samples
            .iter()
            .filter(|sample| !self.end_tokens.contains(&sample.token))
    }

    /// The most likely tokens, the one that came always among them.
    fn top_map(&self, top: &[TokenLogprob], token: TokenId, logprob: f32) -> Map<String, Value> {
        let came = TokenLogprob { token, logprob };
        let all = top.iter().chain(std::iter::once(&came));
        all.map(|top| self.top_text(top))
            .map(|text| (text.token, Value::from(text.logprob)))
            .collect()
    }

    fn top_text(&self, top: &TokenLogprob) -> TokenText {
        self.token_text(top.token, top.logprob)
    }

    fn token_text(&self, token: TokenId, logprob: f32) -> TokenText {
        let bytes = self.tokenizer.token_bytes(token);
        let text = bytes
            .as_deref()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        TokenText {
            token: text.unwrap_or_default(),
            logprob: finite(logprob),
            bytes,
        }
    }
}

impl TextLogprobs {
    /// Adds a token that begins at `offset`; gives where the next one does.
    fn push(
        &mut self,
        token: String,
        offset: usize,
        known: Option<(f32, Map<String, Value>)>,
    ) -> usize {
        let next = offset + token.chars().count();
        let (logprob, top) = known.unzip();
        self.text_offset.push(offset);
        self.top_logprobs.push(top);
        self.token_logprobs.push(logprob);
        self.tokens.push(token);
        next
    }

    /// Puts the entries of `more` behind.
    pub(super) fn append(&mut self, more: TextLogprobs) {
        self.tokens.extend(more.tokens);
        self.token_logprobs.extend(more.token_logprobs);
        self.top_logprobs.extend(more.top_logprobs);
        self.text_offset.extend(more.text_offset);
    }
}

/// JSON has no infinity; OpenAI's API writes -9999 for a token that cannot be.
fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}
