//! Token ids that the model does not have.

use axum::http::StatusCode;
use serde_json::json;

use super::crowd::Crowd;
use crate::common::{END, MODEL, say, with};

#[tokio::test]
async fn those_out_of_the_vocabulary_are_refused_wherever_they_stand() {
    let crowd = Crowd::gather().await;
    let server = crowd.server();
    let (chat, text) = (say("x"), json!({"model": MODEL, "prompt": "user: x\n=>"}));
    for (path, base, more, param) in [
        (
            "/v1/chat/completions",
            &chat,
            json!({"logit_bias": {"257": 1}}),
            "logit_bias",
        ),
        (
            "/v1/chat/completions",
            &chat,
            json!({"logit_bias": {"4294967295": 1}}),
            "logit_bias",
        ),
        (
            "/v1/chat/completions",
            &chat,
            json!({"stop_token_ids": [97, 257]}),
            "stop_token_ids",
        ),
        ("/v1/completions", &text, json!({"prompt": [257]}), "prompt"),
        (
            "/v1/completions",
            &text,
            json!({"prompt": [97, 4294967295_u32]}),
            "prompt",
        ),
        (
            "/v1/completions",
            &text,
            json!({"prompt": [[97], [97, 257]]}),
            "prompt",
        ),
        (
            "/v1/completions",
            &text,
            json!({"prompt": [257], "echo": true, "logprobs": 1}),
            "prompt",
        ),
        (
            "/v1/completions",
            &text,
            json!({"stop_token_ids": [4294967295_u32]}),
            "stop_token_ids",
        ),
    ] {
        let answer = server.post(path, &with(base.clone(), more)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        let error = answer.error();
        assert_eq!(error["param"], param, "{error}");
        assert_eq!(error["code"], "invalid_value", "{error}");
        let said = error["message"].as_str().unwrap();
        assert!(said.contains("the vocabulary has 257"), "{said}");
    }
    crowd.see_unharmed().await;
}

/// The last id is one: a bound that is off by one would show here.
#[tokio::test]
async fn the_last_of_the_vocabulary_is_taken() {
    let crowd = Crowd::gather().await;
    let body = json!({"model": MODEL, "prompt": [97, END], "stop_token_ids": [END],
                      "logit_bias": {"256": 1}, "max_tokens": 2});
    let answer = crowd.server().post("/v1/completions", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    crowd.see_unharmed().await;
}
