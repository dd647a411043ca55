//! Calls, and what their clients heard of them: every byte, whether or not the answer came to its
//! end.

use std::time::Duration;

use portcullis_ledger::RecordId;
use serde_json::{Value, json};
use tokio::time::timeout;

/// What a client asks.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) key: String,
    pub(crate) text: &'static str,
    pub(crate) seed: u64,
    pub(crate) choices: usize,
    /// It goes on up to so many, whatever it says; by default it ends where the model does.
    pub(crate) tokens: Option<usize>,
}

/// How a client listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) stream: bool,
    /// When it goes away.
    pub(crate) patience: Option<Duration>,
}

/// What a client heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// None if no answer began.
    pub(crate) status: Option<u16>,
    pub(crate) record: Option<RecordId>,
    pub(crate) body: Vec<u8>,
    pub(crate) end: Ended,
}

/// How the listening ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    /// The client went away.
    #[default]
    Left,
    /// The connection broke.
    Broken,
    /// The answer came to its end.
    Complete,
}

/// What an answer says of a choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Choice {
    pub(crate) text: String,
    /// None if it was not told.
    pub(crate) finish_reason: Option<String>,
}

impl Ask {
    /// Calls the server at `url`.
    pub(crate) async fn call(&self, client: &reqwest::Client, url: &str, manner: Manner) -> Heard {
        let request = self.request(client, url, manner.stream);
        let mut heard = Heard::default();
        let listening = heard.listen(request);
        let listened = match manner.patience {
            None => Ok(listening.await),
            Some(patience) => timeout(patience, listening).await,
        };
        heard.end = match listened {
            Ok(Ok(())) => Ended::Complete,
            Ok(Err(_)) => Ended::Broken,
            Err(_) => Ended::Left,
        };
        heard
    }

    /// Calls for a stream and waits for its first text.
    pub(crate) async fn begin(&self, client: &reqwest::Client, url: &str) -> Listening {
        let request = self.request(client, url, true);
        let mut heard = Heard::default();
        let mut answer = heard.begin(request).await.unwrap();
        while heard.choices().iter().all(|choice| choice.text.is_empty()) {
            let bytes = answer.chunk().await.unwrap();
            let bytes = bytes.unwrap_or_else(|| panic!("no text: {heard:?}"));
            heard.body.extend_from_slice(&bytes);
        }
        Listening { answer, heard }
    }

    fn request(
        &self,
        client: &reqwest::Client,
        url: &str,
        stream: bool,
    ) -> reqwest::RequestBuilder {
        let request = client.post(format!("{url}/v1/chat/completions"));
        request.bearer_auth(&self.key).json(&self.body(stream))
    }

    pub(crate) fn body(&self, stream: bool) -> Value {
        json!({
            "model": "demo",
            "messages": [{"role": "user", "content": self.text}],
            "seed": self.seed,
            "temperature": 0.9,
            "n": self.choices,
            "stream": stream,
            "max_tokens": self.tokens.unwrap_or(256),
            "ignore_eos": self.tokens.is_some(),
        })
    }
}

/// A stream of which some text is there.
pub(crate) struct Listening {
    answer: reqwest::Response,
    heard: Heard,
}

impl Listening {
    /// Listens to the end.
    pub(crate) async fn rest(mut self) -> Heard {
        self.heard.end = match self.heard.read(&mut self.answer).await {
            Ok(()) => Ended::Complete,
            Err(_) => Ended::Broken,
        };
        self.heard
    }

    /// Goes away.
    pub(crate) fn leave(self) -> Heard {
        self.heard
    }
}

impl Heard {
    async fn listen(&mut self, request: reqwest::RequestBuilder) -> reqwest::Result<()> {
        let mut answer = self.begin(request).await?;
        self.read(&mut answer).await
    }

    async fn begin(
        &mut self,
        request: reqwest::RequestBuilder,
    ) -> reqwest::Result<reqwest::Response> {
        let answer = request.send().await?;
        self.status = Some(answer.status().as_u16());
        let named = answer.headers().get("x-admissibility-record");
        self.record = named.map(|id| RecordId::parse(id.to_str().unwrap()).unwrap());
        Ok(answer)
    }

    async fn read(&mut self, answer: &mut reqwest::Response) -> reqwest::Result<()> {
        while let Some(bytes) = answer.chunk().await? {
            self.body.extend_from_slice(&bytes);
        }
        Ok(())
    }

    /// The choices, as far as the answer came. A whole answer that broke off says nothing.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        match self.body.starts_with(b"{") {
            true => serde_json::from_slice(&self.body).map_or(Vec::new(), |body| of_whole(&body)),
            false => of_events(&self.events()),
        }
    }

    /// The error that the answer is, or ends in.
    pub(crate) fn error(&self) -> Option<Value> {
        let error = self.last()?["error"].take();
        error.is_object().then_some(error)
    }

    /// Whether the stream ends as it has to.
    pub(crate) fn is_done(&self) -> bool {
        self.body.ends_with(b"data: [DONE]\n\n")
    }

    /// What the answer says of the gate and of its record, where it came to its end.
    pub(crate) fn admissibility(&self) -> Value {
        self.last().unwrap_or_default()["admissibility"].take()
    }

    /// The whole answer, or the last event of a stream.
    fn last(&self) -> Option<Value> {
        match self.body.starts_with(b"{") {
            true => serde_json::from_slice(&self.body).ok(),
            false => self.events().pop(),
        }
    }

    /// The events that came whole, but for the last, which says nothing.
    fn events(&self) -> Vec<Value> {
        let events = self.body.split_inclusive(|&byte| byte == b'\n');
        let whole = events.filter_map(|line| line.strip_prefix(b"data: ")?.strip_suffix(b"\n"));
        let told = whole.filter(|event| *event != b"[DONE]");
        told.map(|event| serde_json::from_slice(event).unwrap())
            .collect()
    }
}

fn of_whole(body: &Value) -> Vec<Choice> {
    let choices = body["choices"].as_array().into_iter().flatten();
    let choices = choices.map(|choice| Choice {
        text: choice["message"]["content"].as_str().unwrap().to_owned(),
        finish_reason: choice["finish_reason"].as_str().map(str::to_owned),
    });
    choices.collect()
}

fn of_events(events: &[Value]) -> Vec<Choice> {
    let mut choices: Vec<Choice> = Vec::new();
    let told = events.iter().filter_map(|event| event["choices"].get(0));
    for part in told {
        let index = part["index"].as_u64().unwrap() as usize;
        if choices.len() <= index {
            choices.resize(index + 1, Choice::default());
        }
        let choice = &mut choices[index];
        let text = part["delta"]["content"].as_str();
        choice.text.push_str(text.unwrap_or_default());
        if let Some(reason) = part["finish_reason"].as_str() {
            choice.finish_reason = Some(reason.to_owned());
        }
    }
    choices
}
