//! `echo` with `logprobs`: what a prompt is worth to the model.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::common::{MODEL, Server, ruleset, with};

fn ask(more: Value) -> Value {
    with(
        json!({"model": MODEL, "prompt": "abc", "max_tokens": 1, "temperature": 0}),
        more,
    )
}

#[tokio::test]
async fn a_prompt_is_repeated() {
    let server = Server::start().await;
    let answer = server
        .post("/v1/completions", &ask(json!({"echo": true})))
        .await;
    assert_eq!(answer.json()["choices"][0]["text"], "abca");
    assert_eq!(answer.json()["choices"][0]["logprobs"], Value::Null);
    let stream = server
        .post(
            "/v1/completions",
            &ask(json!({"echo": true, "stream": true})),
        )
        .await;
    assert_eq!(stream.streamed_text(0), "abca");
}

/// The model knows of each prefix what it would say: `a` after nothing, for it repeats its prompt.
#[tokio::test]
async fn every_token_of_a_prompt_has_its_probability() {
    let server = Server::start().await;
    let body = ask(json!({"prompt": "aaaa", "echo": true, "logprobs": 2}));
    let answer = server.post("/v1/completions", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let choice = answer.json()["choices"][0].clone();
    let lists = &choice["logprobs"];
    assert_eq!(lists["tokens"], json!(["a", "a", "a", "a", "a"]));
    assert_eq!(lists["text_offset"], json!([0, 1, 2, 3, 4]));
    assert_eq!(lists["token_logprobs"][0], Value::Null);
    assert_eq!(lists["top_logprobs"][0], Value::Null);
    for place in 1..5 {
        let known = lists["token_logprobs"][place].as_f64().unwrap();
        assert!((known - 0.75f64.ln()).abs() < 1e-6, "{lists}");
        let other = lists["top_logprobs"][place]["#"].as_f64().unwrap();
        assert!((other - 0.25f64.ln()).abs() < 1e-6, "{lists}");
    }
}

/// A second call finds its prompt in no cache, so that all of it is known again; and so does each
/// choice and each prompt of one call.
#[tokio::test]
async fn scores_are_whole_whatever_came_before() {
    let server = Server::start().await;
    let prompt = "a".repeat(300);
    let body = ask(json!({"prompt": [prompt, "a"], "n": 2, "echo": true, "logprobs": 0}));
    for stream in [false, false] {
        let answer = server
            .post(
                "/v1/completions",
                &with(body.clone(), json!({"stream": stream})),
            )
            .await;
        let choices = answer.json()["choices"].clone();
        for (index, len) in [301, 301, 2, 2].into_iter().enumerate() {
            let lists = &choices[index]["logprobs"];
            assert_eq!(lists["tokens"].as_array().unwrap().len(), len, "{index}");
            let unknown = lists["token_logprobs"].as_array().unwrap().iter();
            assert_eq!(
                unknown.filter(|known| known.is_null()).count(),
                1,
                "{index}"
            );
        }
    }
}

#[tokio::test]
async fn a_stream_tells_the_prompt_first() {
    let server = Server::start().await;
    let body = ask(json!({"prompt": "aa", "echo": true, "logprobs": 0, "stream": true}));
    let answer = server.post("/v1/completions", &body).await;
    let first = &answer.chunks()[0]["choices"][0];
    assert_eq!(
        (&first["text"], &first["logprobs"]["tokens"]),
        (&json!("aa"), &json!(["a", "a"]))
    );
    let second = &answer.chunks()[1]["choices"][0];
    assert_eq!(second["logprobs"]["text_offset"], json!([2]));
}

/// An end token is the last of the lists: harnesses cut one entry off.
#[tokio::test]
async fn the_token_that_ends_has_its_entry() {
    let server = Server::start().await;
    let prompt = "user: =>";
    let body = ask(json!({"prompt": prompt, "echo": true, "logprobs": 1}));
    let answer = server.post("/v1/completions", &body).await;
    let choice = &answer.json()["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    let tokens = choice["logprobs"]["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), prompt.len() + 1, "{choice}");
}

#[tokio::test]
async fn log_probabilities_of_prompts_are_refused_under_enforced_rules() {
    let server = Server::start().await;
    server.bind(&ruleset("enforce", "reject")).await;
    let body = ask(json!({"echo": true, "logprobs": 1}));
    let answer = server.post("/v1/completions", &body).await;
    assert_eq!(answer.error()["param"], "logprobs");
}
