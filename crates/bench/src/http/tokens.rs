//! How many tokens a text has, in the server's own count.

use std::time::Duration;

use serde_json::{Value, json};

use super::HttpTarget;
use crate::args::Endpoint;
use crate::clock::RunClock;
use crate::target::{Ask, Prompt, Target};
use crate::workload::{Ruler, WORDS};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Counts as a server does.
pub(crate) struct HttpRuler<'a> {
    target: &'a HttpTarget,
    counter: Counter,
}

/// Where counts come from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Counter {
    /// `/tokenize` takes prompts and conversations: counts are exact.
    Tokenize,
    /// The usage of two answers said how many tokens a made-up text has: counts are close.
    Usage {
        /// Tokens of an empty prompt: what a template adds.
        base: f64,
        /// Tokens of a word.
        per_word: f64,
    },
    /// Nothing tells: three tokens for two words.
    Guess,
}

impl<'a> HttpRuler<'a> {
    /// Finds out how the server counts.
    pub(crate) async fn new(target: &'a HttpTarget) -> Self {
        let counter = match target.count(&WORDS.join(" ")).await {
            Some(_) => Counter::Tokenize,
            None => Self::by_usage(target).await.unwrap_or(Counter::Guess),
        };
        Self { target, counter }
    }

    /// What the usage of two prompts says of the tokens of a word.
    async fn by_usage(target: &HttpTarget) -> Option<Counter> {
        let (few, many) = (WORDS.len() / 4, WORDS.len() / 2);
        let short = target.used(&WORDS[..few].join(" ")).await?;
        let long = target.used(&WORDS[..many].join(" ")).await?;
        let per_word = (long - short) / (many - few) as f64;
        (per_word > 0.0).then_some(Counter::Usage {
            base: (short - per_word * few as f64).max(0.0),
            per_word,
        })
    }
}

impl Ruler for HttpRuler<'_> {
    async fn count(&self, text: &str) -> Option<usize> {
        match self.counter {
            Counter::Tokenize => self.target.count(text).await,
            Counter::Usage { .. } | Counter::Guess => None,
        }
    }

    async fn count_plain(&self, text: &str) -> Option<usize> {
        match self.counter {
            Counter::Tokenize => self.target.count_plain(text).await,
            Counter::Usage { .. } | Counter::Guess => None,
        }
    }

    fn estimate(&self) -> (f64, f64) {
        match self.counter {
            Counter::Usage { base, per_word } => (base, per_word),
            Counter::Tokenize | Counter::Guess => (0.0, 1.5),
        }
    }
}

impl HttpTarget {
    /// Tokens that `text` will have as the prompt of a request, by `/tokenize`.
    async fn count(&self, text: &str) -> Option<usize> {
        let mut body = json!({"model": self.template.model});
        match self.template.endpoint {
            Endpoint::Chat => {
                body["messages"] = json!([{"role": "user", "content": text}]);
                body["add_generation_prompt"] = json!(true);
            }
            Endpoint::Completions => body["prompt"] = json!(text),
        }
        self.tokenize(&body).await
    }

    /// Tokens of `text` alone, without what a template adds, by `/tokenize`.
    async fn count_plain(&self, text: &str) -> Option<usize> {
        let body = json!({
            "model": self.template.model,
            "prompt": text,
            // llama.cpp's name for it.
            "content": text,
            "add_special_tokens": false,
        });
        self.tokenize(&body).await
    }

    async fn tokenize(&self, body: &Value) -> Option<usize> {
        let request = self.post("tokenize").timeout(TIMEOUT).json(body);
        let response = request.send().await.ok()?.error_for_status().ok()?;
        let body: Value = response.json().await.ok()?;
        let count = body.get("count").and_then(Value::as_u64);
        match count {
            Some(count) => usize::try_from(count).ok(),
            // A server that does not know a field counts nothing.
            None => Some(body.get("tokens")?.as_array()?.len()).filter(|&count| count > 0),
        }
    }

    /// Tokens of a prompt by the usage of an answer to it.
    async fn used(&self, text: &str) -> Option<f64> {
        let ask = Ask {
            prompt: Prompt::Text(text.to_owned()),
            input_tokens: 0,
            output_tokens: 1,
        };
        let reply = self.answer(&ask, RunClock::start()).await;
        reply.usage.map(|(prompt, _)| prompt as f64)
    }
}
