//! A server whose delays are known: it speaks the OpenAI protocol, and thinks nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Json, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// What it does.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// From a request to its first token.
    pub(crate) ttft: Duration,
    /// From a token to the next.
    pub(crate) tpot: Duration,
    /// Tokens that leave together, when the last of them is there.
    pub(crate) tokens_per_chunk: usize,
    /// Each delay is longer or shorter by up to this share of it, evenly.
    pub(crate) jitter: f64,
    /// The first so many requests wait so much longer for their first token.
    pub(crate) slow: (usize, Duration),
    /// What it does wrong.
    pub(crate) fault: Fault,
}

/// What a server may do wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It wants a key: `right`.
    Key,
    /// It tells no usage, and has no `/tokenize`.
    NoUsage,
    /// It has no `/tokenize`.
    NoTokenize,
    /// It refuses fields that OpenAI's does not have.
    Strict,
    /// It sends what is no JSON.
    NoJson,
    /// It ends streams half-way.
    Short,
    /// It falls silent half-way.
    Silent,
    /// It takes requests and says nothing at all.
    Mute,
    /// It tells an error half-way.
    Tells,
    /// It has no room.
    Full,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            ttft: Duration::from_millis(50),
            tpot: Duration::from_millis(10),
            tokens_per_chunk: 1,
            jitter: 0.0,
            slow: (0, Duration::ZERO),
            fault: Fault::None,
        }
    }
}

struct App {
    script: Script,
    served: AtomicUsize,
}

/// Answers whoever connects, until the process ends.
pub(crate) async fn serve(listener: TcpListener, script: Script) -> std::io::Result<()> {
    // Small pieces must leave at once: they are what is timed.
    let listener = listener.tap_io(|connection| {
        connection.set_nodelay(true).expect("TCP has this option");
    });
    axum::serve(listener, router(script)).await
}

fn router(script: Script) -> Router {
    let has_tokenize = !matches!(script.fault, Fault::NoUsage | Fault::NoTokenize);
    let app = Arc::new(App {
        script,
        served: AtomicUsize::new(0),
    });
    let mut router = Router::new()
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(complete))
        .route("/v1/completions", post(complete))
        .route("/health", get(|| async { "ok" }));
    if has_tokenize {
        router = router.route("/tokenize", post(tokenize));
    }
    router.with_state(app)
}

async fn models(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refused(&app.script, &headers) {
        return refusal;
    }
    Json(json!({"object": "list", "data": [{"id": "scripted", "object": "model"}]})).into_response()
}

fn refused(script: &Script, headers: &HeaderMap) -> Option<Response> {
    let key = headers.get(header::AUTHORIZATION);
    let is_right = key.is_some_and(|key| key == "Bearer right");
    (script.fault == Fault::Key && !is_right)
        .then(|| error(StatusCode::UNAUTHORIZED, "no such key"))
}

fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": {"message": message}}))).into_response()
}

/// A token is a word; a conversation has two more.
async fn tokenize(Json(body): Json<Value>) -> Json<Value> {
    Json(json!({"count": prompt_tokens(&body)}))
}

fn prompt_tokens(body: &Value) -> usize {
    let words = |text: &Value| text.as_str().unwrap_or_default().split_whitespace().count();
    match body["messages"].as_array() {
        Some(messages) => {
            2 + messages
                .iter()
                .map(|it| words(&it["content"]))
                .sum::<usize>()
        }
        None => words(&body["prompt"]),
    }
}

async fn complete(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response {
    let came = Instant::now();
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return error(StatusCode::BAD_REQUEST, "no JSON");
    };
    let script = app.script.clone();
    if let Some(refusal) = refused(&script, &headers) {
        return refusal;
    }
    match script.fault {
        Fault::Mute => std::future::pending().await,
        Fault::Full => return error(StatusCode::TOO_MANY_REQUESTS, "no room"),
        Fault::Strict if body.get("ignore_eos").is_some() => {
            return error(StatusCode::BAD_REQUEST, "unknown field: ignore_eos");
        }
        _ => {}
    }
    // A thread sleeps to tens of microseconds, a timer of the runtime only to a millisecond.
    let nth = app.served.fetch_add(1, Ordering::Relaxed);
    let (events, stream) = mpsc::channel(64);
    thread::spawn(move || Answer::new(&body, &script, nth, came).play(&events));
    let stream = Body::from_stream(ReceiverStream::new(stream));
    ([(header::CONTENT_TYPE, "text/event-stream")], stream).into_response()
}

type Events = mpsc::Sender<Result<String, Infallible>>;

struct Answer<'a> {
    script: &'a Script,
    is_chat: bool,
    prompt_tokens: usize,
    tokens: usize,
    next: Instant,
    random: u64,
}

impl<'a> Answer<'a> {
    fn new(body: &Value, script: &'a Script, nth: usize, came: Instant) -> Self {
        let limit = body.get("max_completion_tokens").or(body.get("max_tokens"));
        let (slow, more) = script.slow;
        Self {
            script,
            is_chat: body.get("messages").is_some(),
            prompt_tokens: prompt_tokens(body),
            tokens: limit.and_then(Value::as_u64).unwrap_or(16) as usize,
            next: if nth < slow { came + more } else { came },
            random: nth as u64 + 1,
        }
    }

    /// Sends the whole answer; ends early when nobody listens.
    fn play(mut self, events: &Events) {
        let half = self.tokens / 2;
        let mut sent = 0;
        while sent < self.tokens {
            let now = self.script.tokens_per_chunk.min(self.tokens - sent);
            for token in sent..sent + now {
                let delay = if token == 0 {
                    self.script.ttft
                } else {
                    self.script.tpot
                };
                let delay = self.jittered(delay);
                self.next += delay;
            }
            thread::sleep(self.next.saturating_duration_since(Instant::now()));
            if sent >= half && self.goes_wrong(events) {
                return;
            }
            sent += now;
            let finish = (sent == self.tokens).then_some("length");
            if !self.send(events, &self.piece(now, finish)) {
                return;
            }
        }
        if self.script.fault != Fault::NoUsage {
            self.send(events, &self.usage());
        }
        let _ = events.blocking_send(Ok("data: [DONE]\n\n".into()));
    }

    fn goes_wrong(&self, events: &Events) -> bool {
        let said = match self.script.fault {
            Fault::Short => String::new(),
            Fault::NoJson => "data: {\"choices\": oops\n\n".into(),
            Fault::Tells => "data: {\"error\": {\"message\": \"out of memory\"}}\n\n".into(),
            Fault::Silent => {
                thread::sleep(Duration::from_secs(30));
                String::new()
            }
            _ => return false,
        };
        let _ = events.blocking_send(Ok(said));
        true
    }

    fn send(&self, events: &Events, event: &Value) -> bool {
        events
            .blocking_send(Ok(format!("data: {event}\n\n")))
            .is_ok()
    }

    fn piece(&self, tokens: usize, finish: Option<&str>) -> Value {
        let text = "word ".repeat(tokens);
        let choice = match self.is_chat {
            true => json!({"index": 0, "delta": {"content": text}, "finish_reason": finish}),
            false => json!({"index": 0, "text": text, "finish_reason": finish}),
        };
        self.event(json!([choice]))
    }

    fn usage(&self) -> Value {
        let mut event = self.event(json!([]));
        event["usage"] = json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
        });
        event
    }

    fn event(&self, choices: Value) -> Value {
        let object = match self.is_chat {
            true => "chat.completion.chunk",
            false => "text_completion",
        };
        json!({"id": "scripted-1", "object": object, "created": 1, "model": "scripted", "choices": choices})
    }

    /// Even over the range, by xorshift: a delay needs no better randomness.
    fn jittered(&mut self, delay: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let even = (self.random % 20_001) as f64 / 10_000.0 - 1.0;
        delay.mul_f64((1.0 + self.script.jitter * even).max(0.0))
    }
}
