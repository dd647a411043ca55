//! `/v1/responses`.

use axum::http::StatusCode;
use portcullis_text::ToolFormat;
use serde_json::{Value, json};

use crate::common::{Answer, MODEL, Server, ruleset, with};

const CALL: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";

async fn ask(server: &Server, input: Value, more: Value) -> Answer {
    let base = json!({"model": MODEL, "input": input, "temperature": 0});
    server.post("/v1/responses", &with(base, more)).await
}

#[tokio::test]
async fn a_text_is_answered() {
    let server = Server::start().await;
    let answer = ask(
        &server,
        json!("hello"),
        json!({"instructions": "Be short."}),
    )
    .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let body = answer.json();
    assert_eq!(
        (&body["object"], &body["status"]),
        (&json!("response"), &json!("completed"))
    );
    let item = &body["output"][0];
    assert_eq!(
        (&item["type"], &item["role"]),
        (&json!("message"), &json!("assistant"))
    );
    assert_eq!(item["content"][0]["text"], "hello");
    assert_eq!(item["content"][0]["type"], "output_text");
    assert_eq!(body["usage"]["output_tokens"], 6);
    assert_eq!(body["store"], false);
}

#[tokio::test]
async fn a_stream_is_a_story_in_order() {
    let server = Server::start().await;
    let answer = ask(&server, json!("hello"), json!({"stream": true})).await;
    let events = answer.named_events();
    let mut names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (number, (name, data)) in events.iter().enumerate() {
        assert_eq!(data["sequence_number"], number);
        assert_eq!(data["type"], *name);
    }
    let deltas = events
        .iter()
        .filter(|(name, _)| name == "response.output_text.delta");
    let text: String = deltas
        .map(|(_, data)| data["delta"].as_str().unwrap())
        .collect();
    assert_eq!(text, "hello");
    let (_, last) = events.last().unwrap();
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "hello");
    assert!(!answer.text.contains("[DONE]"));
}

#[tokio::test]
async fn calls_go_out_and_their_results_come_back() {
    let server = Server::with_tools(ToolFormat::Hermes).await;
    let tools = json!([{"type": "function", "name": "f"}, {"type": "web_search"}]);
    let answer = ask(
        &server,
        json!(CALL),
        json!({"tools": tools, "stream": true}),
    )
    .await;
    let events = answer.named_events();
    let (_, done) = events.last().unwrap();
    let item = done["response"]["output"][0].clone();
    assert_eq!(
        (&item["type"], &item["name"]),
        (&json!("function_call"), &json!("f"))
    );
    assert_eq!(item["arguments"], "{\"a\": 1}");
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.contains(&"response.function_call_arguments.delta"),
        "{names:?}"
    );
    assert!(names.contains(&"response.function_call_arguments.done"));
    let output = json!({"type": "function_call_output", "call_id": item["call_id"], "output": "1"});
    let thought = json!({"type": "reasoning", "summary": []});
    let user = json!({"role": "user", "content": [{"type": "input_text", "text": "and?"}]});
    let input = json!([{"role": "user", "content": "go"}, thought, item, output, user]);
    let answer = ask(&server, input, json!({"tools": tools})).await;
    assert_eq!(
        answer.json()["output"][0]["content"][0]["text"],
        "and?",
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_incomplete() {
    let server = Server::start().await;
    let answer = ask(&server, json!("hello"), json!({"max_output_tokens": 2})).await;
    let body = answer.json();
    assert_eq!(body["status"], "incomplete");
    assert_eq!(body["incomplete_details"]["reason"], "max_output_tokens");
}

#[tokio::test]
async fn a_format_is_held() {
    let server = Server::start().await;
    let schema = json!({"type": "array", "items": {"type": "integer"}});
    let format = json!({"format": {"type": "json_schema", "name": "n", "schema": schema}});
    let answer = ask(
        &server,
        json!("[1,2]"),
        json!({"text": format, "temperature": 1}),
    )
    .await;
    assert_eq!(
        answer.json()["output"][0]["content"][0]["text"],
        "[1,2]",
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let server = Server::start().await;
    for (more, param) in [
        (
            json!({"previous_response_id": "resp_1"}),
            "previous_response_id",
        ),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"background": true}), "background"),
        (json!({"input": []}), "input"),
        (
            json!({"input": [{"type": "item_reference", "id": "x"}]}),
            "input.[0].type",
        ),
        (json!({"input": [{"role": "user"}]}), "input.[0].content"),
        (json!({"input": [{"content": "x"}]}), "input.[0].role"),
        (
            json!({"input": [{"type": "function_call", "name": "f"}]}),
            "input.[0].call_id",
        ),
        (
            json!({"text": {"format": {"type": "xml"}}}),
            "text.format.type",
        ),
        (json!({"temperature": 9}), "temperature"),
        (json!({"input": "x".repeat(600)}), "input"),
    ] {
        let answer = ask(&server, json!("x"), more).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{param}: {}",
            answer.text
        );
        assert_eq!(answer.error()["param"], param, "{}", answer.text);
    }
}

#[tokio::test]
async fn a_refusal_is_a_plain_400_and_after_a_release_final() {
    let server = Server::start().await;
    server.bind(&ruleset("enforce", "reject")).await;
    let refused = ask(&server, json!("forbidden"), json!({"stream": true})).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.error()["type"], "admissibility_error");
    let text = format!("{} forbidden", "a fine long way to go ".repeat(4));
    let late = ask(&server, json!(text), json!({"stream": true})).await;
    let (name, data) = late.named_events().pop().unwrap();
    assert_eq!(name, "response.failed", "{}", late.text);
    assert_eq!(data["response"]["error"]["code"], "invalid_prompt");
    assert_eq!(
        data["response"]["incomplete_details"]["reason"],
        "content_filter"
    );
    assert_eq!(data["response"]["admissibility"]["status"], "refused");
}
