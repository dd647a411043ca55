//! A call holds its place among those of its key until it ends, and pays for what it came to.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use http_body_util::BodyExt;
use portcullis_server::router;
use portcullis_store::KeyLimits;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::common::{Answer, Server, Setup, post, ruleset, say, with};
use crate::limits::{
    CHAT, NO_LIMITS, Time, ask, header_of, limit, recorded_in, refused, server_in, tokens_of,
};

/// A call under way, whose body is read by whoever wants to.
async fn begin(server: &Server, key: &str, body: &Value) -> Response<Body> {
    let mut request = post(CHAT, body.to_string());
    let bearer = format!("Bearer {key}").parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    router(server.state.clone()).oneshot(request).await.unwrap()
}

/// Asks until the limit lets it: what was cut off ends in its own time.
async fn admitted_in_the_end(server: &Server, key: &str, body: &Value) -> Answer {
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let answer = ask(server, key, body).await;
        let is_late = tokio::time::Instant::now() > patience;
        if answer.status != StatusCode::TOO_MANY_REQUESTS || is_late {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_holds_its_place_until_it_ends_however_it_does() {
    let time = Time::default();
    let setup = Setup {
        step_time: Duration::from_millis(1),
        ..recorded_in(&time)
    };
    let server = Server::with(setup).await;
    server.bind(&ruleset("enforce", "reject")).await;
    let (_, secret) = server
        .key_within(KeyLimits {
            max_concurrent_requests: limit(1),
            ..NO_LIMITS
        })
        .await;
    let forever = with(say("forever"), json!({"stream": true}));
    let short = with(say("x"), json!({"temperature": 0}));

    // Its reader leaves while it runs.
    let running = begin(&server, &secret, &forever).await;
    assert_eq!(running.status(), StatusCode::OK);
    let (error, wait) = refused(&ask(&server, &secret, &short).await);
    assert_eq!((error["type"].as_str(), wait), (Some("requests"), 1));
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("concurrent requests: Limit 1, Used 1"),
        "{message}"
    );
    drop(running);
    let next = admitted_in_the_end(&server, &secret, &short).await;
    assert_eq!(next.status, StatusCode::OK, "{}", next.text);

    // Its reader leaves before it has a status.
    let state = server.state.clone();
    let early = {
        let mut request = post(CHAT, forever.to_string());
        let bearer = format!("Bearer {secret}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        tokio::time::timeout(Duration::from_micros(300), router(state).oneshot(request)).await
    };
    drop(early);
    let next = admitted_in_the_end(&server, &secret, &short).await;
    assert_eq!(next.status, StatusCode::OK, "{}", next.text);

    // Refused by a rule, invalid, and read to its end: each frees the place before its answer.
    for (body, status) in [
        (with(short.clone(), say("forbidden")), 400),
        (json!({"model": 7}), 400),
        (short.clone(), 200),
        (short, 200),
    ] {
        let answer = ask(&server, &secret, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    }
}

/// Who has read the last word of a stream may call again, before the connection is let go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_word_of_a_stream_frees_its_place() {
    let server = Server::with_records().await;
    let (_, secret) = server
        .key_within(KeyLimits {
            max_concurrent_requests: limit(1),
            ..NO_LIMITS
        })
        .await;
    let body = with(say("hello"), json!({"stream": true, "temperature": 0}));
    for _ in 0..20 {
        let response = begin(&server, &secret, &body).await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut stream = response.into_body();
        let mut text = String::new();
        while !text.contains("[DONE]") {
            let frame = stream.frame().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        // The body is still there.
        let next = ask(&server, &secret, &say("x")).await;
        assert_eq!(next.status, StatusCode::OK, "{}", next.text);
        drop(stream);
    }
}

/// What a reader who left had computed is paid all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_a_call_that_was_left_count() {
    let time = Time::default();
    let setup = Setup {
        step_time: Duration::from_millis(1),
        ..Setup::default()
    };
    let server = server_in(&time, setup).await;
    let (_, secret) = server
        .key_within(KeyLimits {
            tokens_per_minute: limit(500),
            max_concurrent_requests: limit(1),
            ..NO_LIMITS
        })
        .await;
    let forever = with(say("forever"), json!({"stream": true}));
    let prompt = "user: forever\n=>".len() as u64;
    let running = begin(&server, &secret, &forever).await;
    let mut stream = running.into_body();
    for _ in 0..20 {
        stream.frame().await.unwrap().unwrap();
    }
    drop(stream);
    let short = with(say("x"), json!({"temperature": 0}));
    let next = admitted_in_the_end(&server, &secret, &short).await;
    let left: u64 = header_of(&next, "remaining-tokens")
        .unwrap()
        .parse()
        .unwrap();
    let cost = 500 - left - tokens_of("x");
    assert!(cost > prompt + 10, "only {cost} tokens were counted");
}
