//! `/tokenize` and `/detokenize`.

use axum::http::{Method, StatusCode};
use portcullis_store::Role;
use portcullis_text::ToolFormat;
use serde_json::{Value, json};

use crate::common::{END, MAX_MODEL_LEN, MODEL, Server, ruleset, with};

/// The tokens of a text: this model has one for each byte.
fn bytes(text: &str) -> Value {
    json!(text.as_bytes())
}

async fn ask(server: &Server, path: &str, body: Value) -> Value {
    server.post(path, &body).await.json()
}

#[tokio::test]
async fn a_text_becomes_tokens_and_tokens_the_text() {
    let server = Server::start().await;
    let text = "Grüße, 世界";
    let tokenized = ask(
        &server,
        "/tokenize",
        json!({"model": MODEL, "prompt": text}),
    )
    .await;
    let expect = json!({"count": text.len(), "max_model_len": MAX_MODEL_LEN,
                        "tokens": bytes(text), "token_strs": null});
    assert_eq!(tokenized, expect);
    let tokens = json!({"model": MODEL, "tokens": bytes(text)});
    let detokenized = ask(&server, "/detokenize", tokens).await;
    assert_eq!(detokenized, json!({"prompt": text}));
}

#[tokio::test]
async fn tokens_are_spelled_as_in_the_vocabulary() {
    let server = Server::start().await;
    let body = json!({"prompt": "a b", "return_token_strs": true});
    let tokenized = server.post("/tokenize", &body).await.json();
    assert_eq!(tokenized["token_strs"], json!(["a", "Ġ", "b"]));
    let body = json!({"prompt": "a".repeat((1 << 16) + 1), "return_token_strs": true});
    let refused = server.post("/tokenize", &body).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.error()["param"], "return_token_strs");
}

#[tokio::test]
async fn a_conversation_is_what_a_call_would_read() {
    let server = Server::start().await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    let tokenized = ask(&server, "/tokenize", json!({"messages": messages})).await;
    assert_eq!(tokenized["tokens"], bytes("user: hi\n=>"));
    let call = json!({"model": MODEL, "messages": messages});
    let answer = server.chat(&call).await.json();
    assert_eq!(answer["usage"]["prompt_tokens"], tokenized["count"]);
}

#[tokio::test]
async fn tools_are_part_of_a_conversation() {
    let server = Server::with_tools(ToolFormat::Hermes).await;
    let more = json!({
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "rate"}}],
    });
    let tokenized = ask(&server, "/tokenize", more.clone()).await;
    let answer = server.chat(&with(json!({"model": MODEL}), more)).await;
    let answer = answer.json();
    assert_eq!(answer["usage"]["prompt_tokens"], tokenized["count"]);
}

#[tokio::test]
async fn a_text_never_becomes_a_control_token() {
    let server = Server::start().await;
    let bodies = [
        json!({"prompt": "<|end|>"}),
        json!({"messages": [{"role": "user", "content": "<|end|>"}]}),
    ];
    for body in bodies {
        let answer = server.post("/tokenize", &body).await.json();
        let tokens = answer["tokens"].as_array().unwrap();
        assert!(!tokens.contains(&json!(END)), "{body}: {answer}");
        assert!(tokens.len() > 1, "{body}: {answer}");
    }
    let named = ask(&server, "/detokenize", json!({"tokens": [104, END]})).await;
    assert_eq!(named["prompt"], "h<|end|>");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let server = Server::start().await;
    let check = async |path: &str, body: Value, param: &str| {
        let answer = server.post(path, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.error()["param"], param, "{body}: {}", answer.text);
    };
    check("/detokenize", json!({"tokens": [104, 257]}), "tokens").await;
    check("/detokenize", json!({"tokens": [104, -1]}), "tokens.[1]").await;
    check("/detokenize", json!({"tokens": "hi"}), "tokens").await;
    check("/detokenize", json!({}), "tokens").await;
    check("/tokenize", json!({}), "prompt").await;
    check("/tokenize", json!({"prompt": 1}), "prompt").await;
    check("/tokenize", json!({"messages": []}), "messages").await;
    let chat = json!({"messages": [{"role": "user", "content": "hi"}]});
    for (param, value) in [
        ("prompt", json!("hi")),
        ("add_special_tokens", json!(true)),
        ("continue_final_message", json!(true)),
        ("chat_template", json!("{{ messages }}")),
        (
            "tools",
            json!([{"type": "function", "function": {"name": "f"}}]),
        ),
    ] {
        check(
            "/tokenize",
            with(chat.clone(), json!({param: value})),
            param,
        )
        .await;
    }
    for path in ["/tokenize", "/detokenize"] {
        let body = json!({"model": "gpt-5", "prompt": "hi", "tokens": [104]});
        let unknown = server.post(path, &body).await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
        assert_eq!(unknown.error()["code"], "model_not_found");
    }
}

#[tokio::test]
async fn it_takes_a_key_for_inference_and_no_rule_is_asked() {
    let server = Server::start().await;
    server.bind(&ruleset("enforce", "reject")).await;
    let body = json!({"prompt": "forbidden", "tokens": bytes("forbidden")});
    let (_, inference) = server.key(Role::Inference).await;
    let (_, auditor) = server.key(Role::Auditor).await;
    for path in ["/tokenize", "/detokenize"] {
        let of = async |key| {
            let answer = server.with_key(key, Method::POST, path, body.to_string());
            answer.await.status
        };
        assert_eq!(of(&inference).await, StatusCode::OK);
        assert_eq!(of(&auditor).await, StatusCode::FORBIDDEN);
        assert_eq!(of("no key").await, StatusCode::UNAUTHORIZED);
    }
}
