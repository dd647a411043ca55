//! The two shapes of an answer: that of chat and that of text completions.

use axum::Json;
use axum::response::{IntoResponse, Response};
use portcullis_text::Tokenizer;
use portcullis_types::{Sample, TokenId, TokenLogprob};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::ids::new_id;
use crate::state::App;
use crate::validate::Call;
use crate::wire::call::{Admissibility, UsageBody};
use crate::wire::chat::{
    AnswerMessage, ChatChoice, ChatChunk, ChatCompletion, ChatLogprob, ChatLogprobs, ChunkChoice,
    Delta, TokenText,
};
use crate::wire::completion::{TextChoice, TextCompletion, TextLogprobs};

/// Tells answers of different builds apart.
const FINGERPRINT: &str = concat!("portcullis-", env!("CARGO_PKG_VERSION"));

/// Which endpoint was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Completions,
}

impl Endpoint {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
        }
    }
}

/// Makes the bodies of one answer.
pub(crate) struct Shape {
    endpoint: Endpoint,
    id: String,
    created: i64,
    model: String,
    /// Whether the caller wants log-probabilities.
    logprobs: bool,
    /// Tokens that end an answer and are no part of it.
    end_tokens: Vec<TokenId>,
    /// Whether chunks carry `"usage": null` until the last.
    null_usage: bool,
    tokenizer: Tokenizer,
}

/// A choice as far as it is known.
#[derive(Default)]
pub(crate) struct ChoiceText {
    pub(crate) text: String,
    pub(crate) samples: Vec<Sample>,
    pub(crate) finish_reason: &'static str,
}

impl Shape {
    pub(crate) fn new(app: &App, call: &Call) -> Self {
        let prefix = match call.endpoint {
            Endpoint::Chat => "chatcmpl-",
            Endpoint::Completions => "cmpl-",
        };
        Self {
            endpoint: call.endpoint,
            id: new_id(prefix),
            created: (app.wall)(),
            model: app.model.deployment.to_string(),
            logprobs: call.logprobs,
            end_tokens: call.end_tokens.clone(),
            null_usage: false,
            tokenizer: app.tokenizer.clone(),
        }
    }

    pub(crate) fn with_null_usage(self, null_usage: bool) -> Self {
        Self { null_usage, ..self }
    }

    /// The whole answer.
    pub(crate) fn whole(
        &self,
        choices: Vec<ChoiceText>,
        usage: UsageBody,
        admissibility: Option<Admissibility>,
    ) -> Response {
        let numbered = (0..).zip(choices);
        match self.endpoint {
            Endpoint::Chat => Json(ChatCompletion {
                id: self.id.clone(),
                object: "chat.completion",
                created: self.created,
                model: self.model.clone(),
                system_fingerprint: FINGERPRINT,
                choices: numbered
                    .map(|(index, choice)| self.chat_choice(index, choice))
                    .collect(),
                usage,
                admissibility,
            })
            .into_response(),
            Endpoint::Completions => {
                let choices = numbered.map(|(index, choice)| {
                    let ChoiceText {
                        text,
                        samples,
                        finish_reason,
                    } = choice;
                    self.text_choice(index, text, &samples, 0, Some(finish_reason))
                });
                let body = TextCompletion {
                    usage: Some(Some(usage)),
                    admissibility,
                    ..self.text()
                };
                Json(TextCompletion {
                    choices: choices.collect(),
                    ..body
                })
                .into_response()
            }
        }
    }

    /// The chunk that begins a choice, where the endpoint has one.
    pub(crate) fn opening(&self, choice: usize) -> Option<String> {
        let delta = Delta {
            role: Some("assistant"),
            content: Some(String::new()),
        };
        (self.endpoint == Endpoint::Chat).then(|| self.chat_chunk(choice, delta, None, None, None))
    }

    /// The chunk with text; none if there is nothing in it that a caller could see. `offset`:
    /// characters of the choice before it.
    pub(crate) fn delta(
        &self,
        choice: usize,
        text: &str,
        samples: &[Sample],
        offset: usize,
    ) -> Option<String> {
        if text.is_empty() && !(self.logprobs && self.said(samples).next().is_some()) {
            return None;
        }
        Some(match self.endpoint {
            Endpoint::Chat => {
                let delta = Delta {
                    role: None,
                    content: Some(text.to_owned()),
                };
                self.chat_chunk(choice, delta, self.chat_logprobs(samples), None, None)
            }
            Endpoint::Completions => {
                let choice = self.text_choice(choice, text.to_owned(), samples, offset, None);
                json(&TextCompletion {
                    choices: vec![choice],
                    ..self.text()
                })
            }
        })
    }

    /// The chunk that ends a choice.
    pub(crate) fn finish(
        &self,
        choice: usize,
        reason: &'static str,
        admissibility: Option<Admissibility>,
    ) -> String {
        match self.endpoint {
            Endpoint::Chat => {
                self.chat_chunk(choice, Delta::default(), None, Some(reason), admissibility)
            }
            Endpoint::Completions => {
                let choices = vec![TextChoice {
                    index: choice,
                    text: String::new(),
                    logprobs: None,
                    finish_reason: Some(reason),
                }];
                json(&TextCompletion {
                    choices,
                    admissibility,
                    ..self.text()
                })
            }
        }
    }

    /// The chunk after the last choice: usage, and no choices.
    pub(crate) fn usage(&self, usage: UsageBody) -> String {
        let usage = Some(Some(usage));
        match self.endpoint {
            Endpoint::Chat => json(&ChatChunk {
                usage,
                ..self.chat(Vec::new())
            }),
            Endpoint::Completions => json(&TextCompletion {
                usage,
                ..self.text()
            }),
        }
    }

    fn chat_chunk(
        &self,
        choice: usize,
        delta: Delta,
        logprobs: Option<ChatLogprobs>,
        finish_reason: Option<&'static str>,
        admissibility: Option<Admissibility>,
    ) -> String {
        let choice = ChunkChoice {
            index: choice,
            delta,
            logprobs,
            finish_reason,
        };
        json(&ChatChunk {
            admissibility,
            ..self.chat(vec![choice])
        })
    }

    fn chat(&self, choices: Vec<ChunkChoice>) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: FINGERPRINT,
            choices,
            usage: self.null_usage.then_some(None),
            admissibility: None,
        }
    }

    fn text(&self) -> TextCompletion {
        TextCompletion {
            id: self.id.clone(),
            object: "text_completion",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: FINGERPRINT,
            choices: Vec::new(),
            usage: self.null_usage.then_some(None),
            admissibility: None,
        }
    }

    fn chat_choice(&self, index: usize, choice: ChoiceText) -> ChatChoice {
        ChatChoice {
            index,
            logprobs: self.chat_logprobs(&choice.samples),
            message: AnswerMessage {
                role: "assistant",
                content: choice.text,
                refusal: None,
            },
            finish_reason: choice.finish_reason,
        }
    }

    fn text_choice(
        &self,
        index: usize,
        text: String,
        samples: &[Sample],
        offset: usize,
        finish_reason: Option<&'static str>,
    ) -> TextChoice {
        let logprobs = self.text_logprobs(samples, offset);
        TextChoice {
            index,
            text,
            logprobs,
            finish_reason,
        }
    }

    fn chat_logprobs(&self, samples: &[Sample]) -> Option<ChatLogprobs> {
        let entry = |sample: &Sample| ChatLogprob {
            token: self.token_text(sample.token, sample.logprob),
            top_logprobs: sample.top.iter().map(|top| self.top_text(top)).collect(),
        };
        self.logprobs.then(|| ChatLogprobs {
            content: self.said(samples).map(entry).collect(),
        })
    }

    fn text_logprobs(&self, samples: &[Sample], mut offset: usize) -> Option<TextLogprobs> {
        if !self.logprobs {
            return None;
        }
        let mut lists = TextLogprobs::default();
        for sample in self.said(samples) {
            let token = self.token_text(sample.token, sample.logprob);
            lists.text_offset.push(offset);
            offset += token.token.chars().count();
            lists.top_logprobs.push(self.top_map(sample));
            lists.token_logprobs.push(token.logprob);
            lists.tokens.push(token.token);
        }
        Some(lists)
    }

    /// The samples that are part of the answer.
    fn said<'a>(&self, samples: &'a [Sample]) -> impl Iterator<Item = &'a Sample> {
        samples
            .iter()
            .filter(|sample| !self.end_tokens.contains(&sample.token))
    }

    /// The most likely tokens, the drawn one always among them.
    fn top_map(&self, sample: &Sample) -> Map<String, Value> {
        let drawn = TokenLogprob {
            token: sample.token,
            logprob: sample.logprob,
        };
        let all = sample.top.iter().chain(std::iter::once(&drawn));
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

/// JSON has no infinity; OpenAI's API writes -9999 for a token that cannot be.
fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}

/// One event of a stream.
pub(crate) fn json<T: Serialize>(body: &T) -> String {
    serde_json::to_string(body).expect("wire types have string keys and cannot fail to serialise")
}
