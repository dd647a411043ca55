//! `response_format`: a mask, so that an answer is JSON however the model draws.

use axum::http::StatusCode;
use portcullis_text::ToolFormat;
use serde_json::{Value, json};

use crate::common::{Server, say, with};

fn schema() -> Value {
    json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
           "additionalProperties": false})
}

/// This model draws `#` for one byte of four wherever it may.
#[tokio::test]
async fn an_answer_is_of_its_schema() {
    let server = Server::start().await;
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema()}});
    for seed in 0..8 {
        let more = json!({"response_format": format, "seed": seed});
        let answer = server.chat(&with(say(r#"{"a": 12}"#), more)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let said = answer.json()["choices"][0]["message"]["content"].clone();
        assert_eq!(said, r#"{"a": 12}"#);
    }
}

#[tokio::test]
async fn any_object_is_json() {
    let server = Server::start().await;
    let more = json!({"response_format": {"type": "json_object"}, "temperature": 0});
    let answer = server
        .chat(&with(say(r#"{"any": ["thing"]}"#), more.clone()))
        .await;
    let said = answer.json()["choices"][0]["message"]["content"].clone();
    assert_eq!(said, r#"{"any": ["thing"]}"#);
}

/// This model draws what it is told or `#`, and neither is JSON: the server is not at fault.
#[tokio::test]
async fn a_mask_that_leaves_no_token_is_the_callers() {
    let server = Server::start().await;
    let more = json!({"response_format": {"type": "json_object"}});
    let answer = server.chat(&with(say("no JSON"), more.clone())).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "nothing_left", "{error}");
    let streamed = server
        .chat(&with(with(say("no JSON"), more), json!({"stream": true})))
        .await;
    assert!(streamed.text.contains("nothing_left"), "{}", streamed.text);
}

/// Where tools may be called or not, the answer is a call or of the schema.
#[tokio::test]
async fn tools_and_a_format_go_together() {
    let server = Server::with_tools(ToolFormat::Hermes).await;
    let more = json!({
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema()}},
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "seed": 3,
    });
    let answer = server.chat(&with(say(r#"{"a": 1}"#), more.clone())).await;
    assert_eq!(
        answer.json()["choices"][0]["message"]["content"],
        r#"{"a": 1}"#
    );
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
    let answer = server.chat(&with(say(call), more)).await;
    let message = &answer.json()["choices"][0]["message"];
    assert_eq!(
        message["tool_calls"][0]["function"]["name"], "f",
        "{message}"
    );
}

/// More than are kept: each is compiled, and none is mistaken for another.
#[tokio::test]
async fn many_schemas_are_many_schemas() {
    let server = Server::start().await;
    for number in (0..80).chain(0..80) {
        let schema = json!({"const": number});
        let format = json!({"type": "json_schema", "json_schema": {"schema": schema}});
        let text = number.to_string();
        let answer = server
            .chat(&with(say(&text), json!({"response_format": format})))
            .await;
        assert_eq!(answer.json()["choices"][0]["message"]["content"], text);
    }
}
