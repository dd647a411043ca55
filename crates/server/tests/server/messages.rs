//! `/v1/messages` and `/v1/messages/count_tokens`.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use portcullis_store::Role;
use portcullis_text::ToolFormat;
use serde_json::{Value, json};

use crate::common::{Answer, MODEL, Server, ruleset, with};

const CALL: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";

fn body(text: &str, more: Value) -> Value {
    let base = json!({
        "model": MODEL,
        "max_tokens": 100_000,
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
    });
    with(base, more)
}

async fn ask(server: &Server, text: &str, more: Value) -> Answer {
    server
        .post("/v1/messages?beta=true", &body(text, more))
        .await
}

/// More tokens than the context leaves are cut down to it: the field is required, and clients send
/// the most that any model takes.
#[tokio::test]
async fn a_message_is_answered() {
    let server = Server::start().await;
    let system =
        json!([{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}]);
    let answer = ask(&server, "hello", json!({"system": system})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let message = answer.json();
    assert_eq!(
        (&message["type"], &message["role"]),
        (&json!("message"), &json!("assistant"))
    );
    assert_eq!(
        message["content"],
        json!([{"type": "text", "text": "hello"}])
    );
    assert_eq!(message["stop_reason"], "end_turn");
    assert_eq!(message["usage"]["output_tokens"], 6);
}

#[tokio::test]
async fn a_stream_is_a_story_in_order() {
    let server = Server::with_tools(ToolFormat::Hermes).await;
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}, {"type": "bash_20250124", "name": "bash"}]);
    let text = format!("Yes. {CALL}");
    let answer = ask(&server, &text, json!({"stream": true, "tools": tools})).await;
    let events = answer.named_events();
    let mut names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    let block = [
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
    ];
    let story = [
        &["message_start"][..],
        &block,
        &block,
        &["message_delta", "message_stop"],
    ];
    assert_eq!(names, story.concat());
    let of = |kind: &str, field: &str| -> String {
        let deltas = events
            .iter()
            .filter(|(_, data)| data["delta"]["type"] == kind);
        deltas
            .map(|(_, data)| data["delta"][field].as_str().unwrap())
            .collect()
    };
    assert_eq!(of("text_delta", "text"), "Yes. ");
    assert_eq!(of("input_json_delta", "partial_json"), "{\"a\": 1}");
    let (_, stop) = &events[events.len() - 2];
    assert_eq!(stop["delta"]["stop_reason"], "tool_use");
    assert!(events.iter().all(|(name, data)| data["type"] == **name));
}

#[tokio::test]
async fn calls_go_out_and_their_results_come_back() {
    let server = Server::with_tools(ToolFormat::Hermes).await;
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    let choice = json!({"type": "tool", "name": "f"});
    let answer = ask(
        &server,
        CALL,
        json!({"tools": tools, "tool_choice": choice}),
    )
    .await;
    let call = answer.json()["content"][0].clone();
    assert_eq!(answer.json()["stop_reason"], "tool_use", "{}", answer.text);
    assert_eq!(
        (&call["type"], &call["input"]),
        (&json!("tool_use"), &json!({"a": 1}))
    );
    let result = json!({"type": "tool_result", "tool_use_id": call["id"], "content": "done"});
    let messages = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "…"}, call]},
        {"role": "user", "content": [result, {"type": "text", "text": "and?"}]},
        {"role": "system", "content": "Be short."},
    ]);
    let answer = ask(&server, "", json!({"tools": tools, "messages": messages})).await;
    assert_eq!(
        answer.json()["content"][0]["text"],
        "and?",
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn lengths_and_stop_sequences_end_an_answer() {
    let server = Server::start().await;
    let short = ask(&server, "hello", json!({"max_tokens": 2})).await;
    assert_eq!(short.json()["stop_reason"], "max_tokens");
    let stopped = ask(&server, "hello", json!({"stop_sequences": ["l"]})).await;
    let stopped = stopped.json();
    assert_eq!(stopped["content"][0]["text"], "he");
    assert_eq!(stopped["stop_reason"], "stop_sequence");
    assert_eq!(stopped["stop_sequence"], "l");
    let long = ask(&server, &"x".repeat(600), json!({})).await;
    let said = long.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        said.starts_with("prompt is too long: ") && said.ends_with(" > 512 maximum"),
        "{said}"
    );
}

#[tokio::test]
async fn errors_have_the_form_that_its_clients_read() {
    let server = Server::start().await;
    for (more, status, kind, param) in [
        (
            json!({"model": "no"}),
            404,
            "not_found_error",
            json!("model"),
        ),
        (
            json!({"messages": []}),
            400,
            "invalid_request_error",
            json!("messages"),
        ),
        (
            json!({"max_tokens": null}),
            400,
            "invalid_request_error",
            json!("max_tokens"),
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image"}]}]}),
            400,
            "invalid_request_error",
            json!("messages.[0].content.[0].type"),
        ),
    ] {
        let answer = ask(&server, "x", more).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
        let body = answer.json();
        assert_eq!(
            (&body["type"], &body["error"]["type"]),
            (&json!("error"), &json!(kind))
        );
        assert_eq!(body["error"]["param"], param, "{}", answer.text);
    }
    server.bind(&ruleset("enforce", "reject")).await;
    let refused = ask(&server, "forbidden", json!({})).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.json()["error"]["type"], "admissibility_error");
}

#[tokio::test]
async fn a_key_may_come_as_its_clients_send_it() {
    let server = Server::start().await;
    let (_, key) = server.key(Role::Inference).await;
    let send = |header: &'static str, value: String, path: &'static str| {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header, value)
            .body(Body::from(body("x", json!({})).to_string()));
        server.send(request.unwrap())
    };
    let own = send("x-api-key", key.clone(), "/v1/messages").await;
    assert_eq!(own.status, StatusCode::OK, "{}", own.text);
    let bearer = send("authorization", format!("Bearer {key}"), "/v1/messages").await;
    assert_eq!(bearer.status, StatusCode::OK);
    let wrong = send("x-api-key", "pc-wrong".into(), "/v1/messages").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.json()["error"]["type"], "authentication_error");
    let elsewhere = send("x-api-key", key, "/v1/chat/completions").await;
    assert_eq!(elsewhere.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn tokens_are_counted_as_a_call_would_have_them() {
    let server = Server::start().await;
    let asked = body("hello", json!({"max_tokens": null}));
    let counted = server.post("/v1/messages/count_tokens", &asked).await;
    assert_eq!(counted.status, StatusCode::OK, "{}", counted.text);
    let answer = ask(&server, "hello", json!({})).await;
    assert_eq!(
        counted.json()["input_tokens"],
        answer.json()["usage"]["input_tokens"]
    );
}
