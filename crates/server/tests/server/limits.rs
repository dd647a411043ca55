//! What a key may ask for, and until when.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use portcullis_engine::Clock;
use portcullis_store::{KeyChange, KeyLimits, NewKey, Role, Store};
use serde_json::{Value, json};

use crate::common::{Answer, NOW, Recording, Server, Setup, ruleset, say, with};

pub(crate) const CHAT: &str = "/v1/chat/completions";

pub(crate) const NO_LIMITS: KeyLimits = KeyLimits {
    requests_per_minute: None,
    tokens_per_minute: None,
    tokens_per_day: None,
    max_concurrent_requests: None,
};

/// Seconds that a test lets pass: for the clock that measures and the one on the wall.
#[derive(Clone, Default)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    pub(crate) fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    fn passed(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clock for Time {
    fn now(&self) -> Duration {
        Duration::from_secs(self.passed())
    }
}

/// A server whose time a test owns.
pub(crate) async fn server_in(time: &Time, setup: Setup) -> Server {
    let wall = time.clone();
    Server::with(Setup {
        clock: Arc::new(time.clone()),
        wall: Arc::new(move || NOW + wall.passed() as i64),
        ..setup
    })
    .await
}

pub(crate) async fn ask(server: &Server, key: &str, body: &Value) -> Answer {
    let body = body.to_string();
    server.with_key(key, Method::POST, CHAT, body).await
}

/// What is refused for a limit: its error and how long to wait.
pub(crate) fn refused(answer: &Answer) -> (Value, u64) {
    assert_eq!(
        answer.status,
        StatusCode::TOO_MANY_REQUESTS,
        "{}",
        answer.text
    );
    let error = answer.error();
    assert_eq!(error["code"], "rate_limit_exceeded");
    assert_eq!(error["param"], json!(null));
    let wait = answer.headers[header::RETRY_AFTER].to_str().unwrap();
    (error, wait.parse().unwrap())
}

pub(crate) fn header_of<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let name = format!("x-ratelimit-{name}");
    Some(answer.headers.get(name)?.to_str().unwrap())
}

pub(crate) fn limit(number: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(number)
}

#[tokio::test]
async fn requests_per_minute_are_counted_over_all_routes() {
    let time = Time::default();
    let server = server_in(&time, Setup::default()).await;
    let (key, secret) = server
        .key_within(KeyLimits {
            requests_per_minute: limit(2),
            ..NO_LIMITS
        })
        .await;
    let first = ask(&server, &secret, &say("x")).await;
    assert_eq!(first.status, StatusCode::OK);
    let told = |answer: &Answer| {
        ["limit-requests", "remaining-requests", "reset-requests"]
            .map(|name| header_of(answer, name).map(str::to_owned))
    };
    let expected = ["2", "1", "1m1s"].map(|text| Some(text.to_owned()));
    assert_eq!(told(&first), expected);
    assert_eq!(
        header_of(&first, "limit-tokens"),
        None,
        "it has no such limit"
    );

    time.pass(20);
    let plain = json!({"model": "parrot", "prompt": "user: x\n=>", "stream": true});
    let second = server
        .with_key(&secret, Method::POST, "/v1/completions", plain.to_string())
        .await;
    assert_eq!(header_of(&second, "remaining-requests"), Some("0"));

    time.pass(1);
    let third = ask(&server, &secret, &say("x")).await;
    let (error, wait) = refused(&third);
    assert_eq!((error["type"].as_str(), wait), (Some("requests"), 40));
    let message = format!(
        "Rate limit reached for {} on requests per min (RPM): Limit 2, Used 2, Requested 1. Please \
         try again in 40s.",
        key.id
    );
    assert_eq!(error["message"], message);
    assert_eq!(header_of(&third, "remaining-requests"), Some("0"));
    // What is no call of a model is not counted and not refused; other keys go on.
    let models = server
        .with_key(&secret, Method::GET, "/v1/models", String::new())
        .await;
    assert_eq!(models.status, StatusCode::OK);
    let (_, other) = server.key(Role::Inference).await;
    let answer = ask(&server, &other, &say("x")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(header_of(&answer, "limit-requests"), None);

    time.pass(40);
    assert_eq!(
        ask(&server, &secret, &say("x")).await.status,
        StatusCode::OK
    );
    let metrics = server.get("/metrics").await.text;
    let line = r#"portcullis_limit_refusals_total{limit="requests_per_minute"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
    assert!(!metrics.contains(key.id.as_str()));
}

/// Each route answers a refusal in its own words, with the same headers.
#[tokio::test]
async fn a_limit_holds_on_every_route_that_generates() {
    let server = server_in(&Time::default(), Setup::default()).await;
    let (_, secret) = server
        .key_within(KeyLimits {
            requests_per_minute: limit(1),
            ..NO_LIMITS
        })
        .await;
    assert_eq!(
        ask(&server, &secret, &say("x")).await.status,
        StatusCode::OK
    );
    for (path, kind) in [
        (CHAT, "requests"),
        ("/v1/completions", "requests"),
        ("/v1/responses", "requests"),
        ("/v1/messages", "rate_limit_error"),
    ] {
        let none = String::new();
        let answer = server.with_key(&secret, Method::POST, path, none).await;
        let (error, wait) = refused(&answer);
        assert_eq!((error["type"].as_str(), wait), (Some(kind), 61), "{path}");
        assert_eq!(header_of(&answer, "remaining-requests"), Some("0"));
    }
}

#[tokio::test]
async fn what_is_refused_as_it_stands_counts_and_what_the_server_cannot_take_does_not() {
    let time = Time::default();
    let server = server_in(&time, Setup::default()).await;
    let (_, secret) = server
        .key_within(KeyLimits {
            requests_per_minute: limit(2),
            ..NO_LIMITS
        })
        .await;
    let bad = ask(&server, &secret, &json!({"model": 7})).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    server.engine.drain();
    for _ in 0..3 {
        let drained = ask(&server, &secret, &say("x")).await;
        assert_eq!(drained.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    ask(&server, &secret, &json!({"model": 7})).await;
    refused(&ask(&server, &secret, &say("x")).await);
}

/// The prompt `user: <text>\n=>`, the text again, and the end of the answer.
pub(crate) fn tokens_of(text: &str) -> u64 {
    "user: \n=>".len() as u64 + 2 * text.len() as u64 + 1
}

#[tokio::test]
async fn tokens_per_minute_are_what_usage_says() {
    for stream in [false, true] {
        let time = Time::default();
        let server = server_in(&time, Setup::default()).await;
        let (_, secret) = server
            .key_within(KeyLimits {
                tokens_per_minute: limit(80),
                ..NO_LIMITS
            })
            .await;
        let body = with(
            say("0123456789"),
            json!({"temperature": 0, "stream": stream}),
        );
        let first = ask(&server, &secret, &body).await;
        assert_eq!(first.status, StatusCode::OK);
        // Read to its end, a stream has cost more than when it began.
        let second = ask(&server, &secret, &body).await;
        let used = 2 * tokens_of("0123456789");
        if !stream {
            let remaining = (80 - used).to_string();
            assert_eq!(header_of(&second, "remaining-tokens"), Some(&*remaining));
            assert_eq!(header_of(&second, "reset-tokens"), Some("1m1s"));
        }
        assert_eq!(header_of(&second, "limit-tokens"), Some("80"));
        // There are 20 left, which is enough for this prompt and not for its answer.
        assert_eq!(used, 60);
        let overdrawn = ask(&server, &secret, &say("0123456")).await;
        assert_eq!(overdrawn.status, StatusCode::OK);
        let (error, wait) = refused(&ask(&server, &secret, &say("0")).await);
        assert_eq!((error["type"].as_str(), wait), (Some("tokens"), 61));
        time.pass(61);
        assert_eq!(ask(&server, &secret, &body).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_refused_and_does_not_count() {
    let time = Time::default();
    let server = server_in(&time, Setup::default()).await;
    let (_, secret) = server
        .key_within(KeyLimits {
            requests_per_minute: limit(2),
            tokens_per_minute: limit(50),
            ..NO_LIMITS
        })
        .await;
    for _ in 0..3 {
        let long = ask(&server, &secret, &say(&"x".repeat(42))).await;
        let (error, _) = refused(&long);
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with("Request too large"), "{message}");
        assert!(message.contains("Limit 50, Requested 51"), "{message}");
        assert_eq!(long.headers["x-should-retry"], "false");
    }
    assert_eq!(
        ask(&server, &secret, &say("x")).await.status,
        StatusCode::OK
    );
    // 12 are used.
    let later = ask(&server, &secret, &say(&"x".repeat(30))).await;
    let (error, wait) = refused(&later);
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("Limit 50, Used 12, Requested 39"),
        "{message}"
    );
    assert_eq!(wait, 61);
    assert!(!later.headers.contains_key("x-should-retry"));
}

/// What the gate throws away was computed for the key, and is in its usage.
#[tokio::test]
async fn tokens_that_the_gate_throws_away_count() {
    let time = Time::default();
    let server = server_in(&time, Setup::default()).await;
    server.bind(&ruleset("enforce", "resample")).await;
    let (_, secret) = server
        .key_within(KeyLimits {
            tokens_per_minute: limit(1_000),
            ..NO_LIMITS
        })
        .await;
    let body = with(
        say("say forbidden now"),
        json!({"seed": 3, "temperature": 0}),
    );
    let answer = ask(&server, &secret, &body).await;
    let usage = answer.json()["usage"].clone();
    let discarded = usage["completion_tokens_details"]["discarded_tokens"].as_u64();
    let total = usage["total_tokens"].as_u64().unwrap() + discarded.unwrap();
    assert!(discarded > Some(0));
    let remaining = (1_000 - total).to_string();
    assert_eq!(header_of(&answer, "remaining-tokens"), Some(&*remaining));
}

#[tokio::test]
async fn tokens_per_day_outlive_the_server_and_end_at_midnight() {
    let time = Time::default();
    let server = Server::with(recorded_in(&time)).await;
    let (_, secret) = server
        .key_within(KeyLimits {
            tokens_per_day: limit(30),
            ..NO_LIMITS
        })
        .await;
    let body = with(say("0123456789"), json!({"temperature": 0}));
    let first = ask(&server, &secret, &body).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    assert_eq!(header_of(&first, "remaining-tokens"), Some("0"));
    // 6,400 seconds before midnight.
    assert_eq!(header_of(&first, "reset-tokens"), Some("1h46m40s"));
    let (error, wait) = refused(&ask(&server, &secret, &body).await);
    assert_eq!((error["type"].as_str(), wait), (Some("tokens"), 6_400));
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("tokens per day (TPD)"),
        "{error}"
    );

    let server = server.restarted(recorded_in(&time)).await;
    let (_, wait) = refused(&ask(&server, &secret, &body).await);
    assert_eq!(wait, 6_400 - time.passed());
    time.pass(6_400);
    assert_eq!(ask(&server, &secret, &body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_limit_that_was_away_for_a_while_counts_what_ran_meanwhile() {
    let time = Time::default();
    let server = Server::with(recorded_in(&time)).await;
    let limited = KeyLimits {
        tokens_per_day: limit(60),
        ..NO_LIMITS
    };
    let (key, secret) = server.key_within(limited).await;
    let body = with(say("0123456789"), json!({"temperature": 0}));
    let set = async |tokens_per_day| {
        let change = KeyChange {
            tokens_per_day: Some(tokens_per_day),
            ..KeyChange::default()
        };
        server.store.update_key(&key.id, change).await.unwrap();
    };
    ask(&server, &secret, &body).await;
    set(None).await;
    let free = ask(&server, &secret, &body).await;
    assert_eq!(free.status, StatusCode::OK);
    set(limit(60)).await;
    refused(&ask(&server, &secret, &body).await);
}

pub(crate) fn recorded_in(time: &Time) -> Setup {
    let wall = time.clone();
    Setup {
        records: Some(Recording::default()),
        clock: Arc::new(time.clone()),
        wall: Arc::new(move || NOW + wall.passed() as i64),
        ..Setup::default()
    }
}

#[tokio::test]
async fn a_refused_call_is_on_no_record() {
    let time = Time::default();
    let server = Server::with(recorded_in(&time)).await;
    let (_, auditor) = server.key(Role::Auditor).await;
    let (_, secret) = server
        .key_within(KeyLimits {
            requests_per_minute: limit(1),
            ..NO_LIMITS
        })
        .await;
    assert_eq!(
        ask(&server, &secret, &say("x")).await.status,
        StatusCode::OK
    );
    let answer = ask(&server, &secret, &say("x")).await;
    refused(&answer);
    assert!(!answer.headers.contains_key("x-admissibility-record"));
    let records = server
        .with_key(
            &auditor,
            Method::GET,
            "/v1/admissibility/records",
            String::new(),
        )
        .await;
    assert_eq!(records.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_change_of_limits_holds_from_the_next_call_on() {
    let time = Time::default();
    let server = server_in(&time, Setup::default()).await;
    let (_, admin) = server.key(Role::Admin).await;
    let (key, secret) = server
        .key_within(KeyLimits {
            requests_per_minute: limit(1),
            ..NO_LIMITS
        })
        .await;
    let change = async |body: Value| {
        let path = format!("/v1/keys/{}", key.id);
        let answer = server
            .with_key(&admin, Method::PATCH, &path, body.to_string())
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    };
    let status = async || ask(&server, &secret, &say("x")).await.status;
    assert_eq!(status().await, StatusCode::OK);
    assert_eq!(status().await, StatusCode::TOO_MANY_REQUESTS);
    change(json!({"requests_per_minute": 2})).await;
    assert_eq!(status().await, StatusCode::OK);
    assert_eq!(status().await, StatusCode::TOO_MANY_REQUESTS);
    change(json!({"requests_per_minute": null})).await;
    assert_eq!(status().await, StatusCode::OK);
}

#[tokio::test]
async fn a_key_works_until_it_expires_and_again_when_that_is_put_off() {
    let time = Time::default();
    let server = server_in(&time, Setup::default()).await;
    let (_, admin) = server.key(Role::Admin).await;
    let brief = NewKey {
        expires_at: Some(NOW + 100),
        ..NewKey::new("brief".parse().unwrap(), Role::Inference)
    };
    let (key, secret) = server.make_key(brief).await;
    time.pass(99);
    assert_eq!(
        ask(&server, &secret, &say("x")).await.status,
        StatusCode::OK
    );
    time.pass(1);
    let models =
        Request::get("/v1/models").header(header::AUTHORIZATION, format!("Bearer {secret}"));
    let models = models.body(Body::empty()).unwrap();
    for answer in [
        ask(&server, &secret, &say("x")).await,
        server.send(models).await,
    ] {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
        let error = answer.error();
        assert_eq!(error["code"], "expired_api_key");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("expired at 2023-11-14T22:15:00.000Z"),
            "{message}"
        );
        assert!(
            message.contains(&format!("keys update {}", key.id)),
            "{message}"
        );
    }
    let path = format!("/v1/keys/{}", key.id);
    let later = json!({"expires_at": NOW + 200}).to_string();
    let put_off = server.with_key(&admin, Method::PATCH, &path, later).await;
    assert_eq!(put_off.status, StatusCode::OK, "{}", put_off.text);
    assert_eq!(
        ask(&server, &secret, &say("x")).await.status,
        StatusCode::OK
    );
}
