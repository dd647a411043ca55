//! Numbers that are none, in every field of every route that is a number.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::crowd::Crowd;
use crate::common::{MODEL, post, with};

/// Stands for the number in a body.
const PLACE: &str = "the number";

/// A field with the number in it, and what may not stand there.
type Field = (&'static str, Value, &'static [&'static str]);

/// No number, or one that is not whole and of 64 bits.
const NOT_WHOLE: &[&str] = &[
    "NaN",
    "Infinity",
    "1e400",
    "-1e400",
    "1.5",
    "1e-3",
    "\"7\"",
    "true",
    "{}",
    "18446744073709551616",
    "-9223372036854775809",
];
/// Nor below zero.
const NOT_A_COUNT: &[&str] = &[
    "NaN",
    "Infinity",
    "1e400",
    "-1e400",
    "1.5",
    "1e-3",
    "\"7\"",
    "true",
    "{}",
    "18446744073709551616",
    "-1",
    "-0",
    "-9223372036854775808",
];
/// The same where a text may stand as well.
const NOT_AN_ID: &[&str] = &[
    "NaN",
    "1e400",
    "-1e400",
    "1.5",
    "true",
    "{}",
    "4294967296",
    "-1",
];
/// No number, or none of 32 bits.
const NOT_REAL: &[&str] = &[
    "NaN",
    "-Infinity",
    "1e400",
    "-1e400",
    "1e39",
    "-1e39",
    "\"0.5\"",
    "false",
    "[]",
    "-101",
    "101",
];
/// Nor below zero.
const NEGATIVE_TOO: &[&str] = &[
    "NaN",
    "-Infinity",
    "1e400",
    "-1e400",
    "1e39",
    "\"0.5\"",
    "false",
    "[]",
    "-1e-3",
    "-1",
    "11",
];

fn field(name: &'static str, bad: &'static [&'static str]) -> Field {
    (name, json!(PLACE), bad)
}

/// Fields of every route that generates.
fn common() -> Vec<Field> {
    let mut fields = vec![
        ("logit_bias", json!({"1": PLACE}), NOT_REAL),
        ("stop_token_ids", json!([PLACE]), NOT_A_COUNT),
        field("seed", NOT_WHOLE),
        field("top_k", NOT_WHOLE),
    ];
    let reals = ["presence_penalty", "frequency_penalty"];
    fields.extend(reals.map(|name| field(name, NOT_REAL)));
    let positive = ["temperature", "top_p", "min_p", "repetition_penalty"];
    fields.extend(positive.map(|name| field(name, NEGATIVE_TOO)));
    let counts = ["n", "max_tokens", "min_tokens"];
    fields.extend(counts.map(|name| field(name, NOT_A_COUNT)));
    fields
}

/// A route, a good body for it, and its fields.
type Route = (&'static str, Value, Vec<Field>);

fn routes() -> Vec<Route> {
    let messages = json!([{"role": "user", "content": "x"}]);
    let chat = json!({"messages": messages, "logprobs": true});
    let message = json!({"messages": messages, "max_tokens": 5});
    let with_common = |own: Vec<Field>| -> Vec<Field> { common().into_iter().chain(own).collect() };
    let counts = |names: &[&'static str]| -> Vec<Field> {
        names.iter().map(|name| field(name, NOT_A_COUNT)).collect()
    };
    let prompts = counts(&["logprobs", "best_of"])
        .into_iter()
        .chain(lists("prompt"));
    let texts = counts(&["dimensions"]).into_iter().chain(lists("input"));
    let tokens = ("tokens", json!([1, PLACE]), NOT_A_COUNT);
    vec![
        (
            "/v1/chat/completions",
            chat,
            with_common(counts(&["max_completion_tokens", "top_logprobs"])),
        ),
        (
            "/v1/completions",
            json!({"prompt": "x"}),
            with_common(prompts.collect()),
        ),
        (
            "/v1/responses",
            json!({"input": "x"}),
            with_common(counts(&["max_output_tokens"])),
        ),
        ("/v1/messages", message, common()),
        ("/v1/embeddings", json!({"input": "x"}), texts.collect()),
        ("/detokenize", json!({}), vec![tokens]),
    ]
}

/// Token ids of one prompt, and of several.
fn lists(name: &'static str) -> [Field; 2] {
    [
        (name, json!([PLACE]), NOT_AN_ID),
        (name, json!([[1], [2, PLACE]]), NOT_AN_ID),
    ]
}

#[tokio::test]
async fn none_of_them_is_taken_and_each_is_named() {
    let crowd = Crowd::gather().await;
    let mut rows = 0;
    for (path, base, fields) in routes() {
        for (name, value, bad) in fields {
            let body = with(base.clone(), json!({"model": MODEL, name: value}));
            for number in bad {
                check(&crowd, path, name, &body, number).await;
                rows += 1;
            }
        }
    }
    assert!(rows > 600, "{rows} rows");
    crowd.see_unharmed().await;
}

async fn check(crowd: &Crowd, path: &str, name: &str, body: &Value, number: &str) {
    let body = body.to_string().replace(&json!(PLACE).to_string(), number);
    let answer = crowd.server().send(post(path, body.clone())).await;
    let said = &answer.text;
    assert_eq!(
        answer.status,
        StatusCode::BAD_REQUEST,
        "{path} {body}: {said}"
    );
    let error = answer.error();
    assert_eq!(error["type"], "invalid_request_error", "{path} {body}");
    assert_eq!(error["code"], "invalid_value", "{path} {body}: {error}");
    let blamed = error["param"].as_str().unwrap();
    assert!(blamed.starts_with(name), "{path} {body}: {error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with(name), "{path} {body}: {error}");
}
