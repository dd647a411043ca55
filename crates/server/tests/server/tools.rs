//! Tools: what the model writes is told as calls, and forced calls are what their schemas say.

use axum::http::StatusCode;
use portcullis_text::ToolFormat;
use serde_json::{Value, json};

use crate::common::{Answer, MODEL, Server, with};

const CALL: &str =
    "<tool_call>\n{\"name\": \"rate\", \"arguments\": {\"account\": \"plus\"}}\n</tool_call>";

fn rate() -> Value {
    json!({"type": "function", "function": {
        "name": "rate",
        "description": "The rate of an account",
        "parameters": {
            "type": "object",
            "properties": {"account": {"enum": ["basic", "plus"]}},
            "required": ["account"],
            "additionalProperties": false,
        },
    }})
}

/// What makes the model write `text` to the letter.
fn ask(text: &str, more: Value) -> Value {
    let base = json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "tools": [rate()],
        "temperature": 0,
    });
    with(base, more)
}

fn message(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()["choices"][0]["message"].clone()
}

#[tokio::test]
async fn a_call_is_told_as_one() {
    let server = Server::with_tools(ToolFormat::Hermes).await;
    let answer = server.chat(&ask(&format!("Sure. {CALL}"), json!({}))).await;
    let said = message(&answer);
    assert_eq!(said["content"], "Sure. ");
    let call = &said["tool_calls"][0];
    assert_eq!(call["type"], "function");
    assert_eq!(
        call["function"],
        json!({"name": "rate", "arguments": "{\"account\": \"plus\"}"})
    );
    assert!(call["id"].as_str().unwrap().starts_with("call_"));
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "tool_calls");
    let alone = server.chat(&ask(CALL, json!({}))).await;
    assert_eq!(message(&alone)["content"], Value::Null);
}

#[tokio::test]
async fn a_stream_tells_a_call_in_deltas() {
    let server = Server::with_tools(ToolFormat::Hermes).await;
    let answer = server.chat(&ask(CALL, json!({"stream": true}))).await;
    let chunks = answer.chunks();
    let calls: Vec<&Value> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0])
        .filter(|call| !call.is_null())
        .collect();
    assert_eq!(
        calls[0]["function"],
        json!({"name": "rate", "arguments": ""})
    );
    assert!(calls[0]["id"].is_string() && calls[1]["id"].is_null());
    assert!(calls.len() > 3, "arguments come as they are written");
    let arguments: String = calls
        .iter()
        .map(|call| call["function"]["arguments"].as_str().unwrap())
        .collect();
    assert_eq!(arguments, "{\"account\": \"plus\"}");
    assert_eq!(answer.streamed_text(0), "");
    let last = &chunks.last().unwrap()["choices"][0];
    assert_eq!(last["finish_reason"], "tool_calls");
}

/// At temperature 1 this model writes `#` for one byte of four wherever it may.
#[tokio::test]
async fn a_forced_call_is_what_its_schema_says() {
    for (format, text) in [
        (ToolFormat::Hermes, CALL),
        (
            ToolFormat::Llama3,
            r#"{"name": "rate", "parameters": {"account": "plus"}}"#,
        ),
    ] {
        let server = Server::with_tools(format).await;
        let named = json!({"type": "function", "function": {"name": "rate"}});
        for (choice, reason) in [(json!("required"), "tool_calls"), (named, "stop")] {
            let more = json!({"tool_choice": choice, "temperature": 1, "seed": 7});
            let answer = server.chat(&ask(text, more)).await;
            let said = message(&answer);
            let call = &said["tool_calls"][0]["function"];
            let arguments = call["arguments"].as_str().unwrap();
            assert_eq!(arguments, r#"{"account": "plus"}"#, "{format}");
            assert_eq!(answer.json()["choices"][0]["finish_reason"], reason);
        }
    }
}

#[tokio::test]
async fn strict_arguments_are_held_to_their_schema_where_the_model_calls() {
    let server = Server::with_tools(ToolFormat::Hermes).await;
    let mut tool = rate();
    tool["function"]["strict"] = json!(true);
    // What is said before is free; behind the marker nothing but a call may be drawn.
    let text = format!("ok {CALL}");
    let mut calls = 0;
    for seed in 0..24 {
        let more = json!({"tools": [tool], "temperature": 1, "seed": seed});
        let said = message(&server.chat(&ask(&text, more)).await);
        if let Some(call) = said["tool_calls"].get(0) {
            assert_eq!(call["function"]["arguments"], r#"{"account": "plus"}"#);
            calls += 1;
        }
    }
    let said = message(&server.chat(&ask(&text, json!({"tools": [tool]}))).await);
    assert!(said["tool_calls"].is_array(), "{said}");
    assert!(calls < 24, "a marker is not forced");
}

#[tokio::test]
async fn none_offers_nothing() {
    let server = Server::with_tools(ToolFormat::Hermes).await;
    let said = message(
        &server
            .chat(&ask(CALL, json!({"tool_choice": "none"})))
            .await,
    );
    assert_eq!(said["content"], CALL);
    assert!(said["tool_calls"].is_null());
}

#[tokio::test]
async fn a_call_that_is_cut_off_says_length() {
    let server = Server::with_tools(ToolFormat::Hermes).await;
    let answer = server.chat(&ask(CALL, json!({"max_tokens": 50}))).await;
    let call = &message(&answer)["tool_calls"][0]["function"];
    assert!("{\"account\": \"plus\"}".starts_with(call["arguments"].as_str().unwrap()));
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn results_of_tools_go_back_to_the_model() {
    let server = Server::with_tools(ToolFormat::Hermes).await;
    let call = json!({"id": "call_1", "type": "function",
                      "function": {"name": "rate", "arguments": "{\"account\": \"plus\"}"}});
    let messages = json!([
        {"role": "user", "content": "the rate?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "2%"},
        {"role": "user", "content": "thanks"},
    ]);
    let said = message(&server.chat(&ask("", json!({"messages": messages}))).await);
    assert_eq!(said["content"], "thanks");
}

#[tokio::test]
async fn mistakes_in_tools_are_named() {
    let server = Server::with_tools(ToolFormat::Hermes).await;
    let function = |name: &str| json!({"type": "function", "function": {"name": name}});
    let odd = json!({"type": "function", "function": {"name": "f", "strict": true,
                     "parameters": {"type": "object", "patern": 7}}});
    let other = json!({"type": "function", "function": {"name": "other"}});
    for (more, param) in [
        (json!({"tools": [function("a b")]}), "tools.[0].name"),
        (json!({"tools": [function("")]}), "tools.[0].name"),
        (
            json!({"tools": [function("f"), function("f")]}),
            "tools.[1].name",
        ),
        (json!({"tools": [{"type": "web_search"}]}), "tools.[0].type"),
        (json!({"tools": vec![function("f"); 129]}), "tools"),
        (json!({"tool_choice": other}), "tool_choice"),
        (json!({"tools": [odd]}), "tools.[0].function.parameters"),
        (json!({"tools": 7}), "tools"),
    ] {
        let answer = server.chat(&ask("x", more)).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{param}: {}",
            answer.text
        );
        assert_eq!(answer.error()["param"], param, "{}", answer.text);
    }
}

/// What a tool says of itself is shown to the model, so the rules on prompts read it.
#[tokio::test]
async fn the_rules_on_prompts_read_tools() {
    let server = Server::with_tools(ToolFormat::Hermes).await;
    let rules = "ruleset: prompts\nversion: 1\nmode: enforce\nrules:\n- {id: no-word, why: \"a \
                 test\", on: input, phrases: [\"forbidden\"], action: reject}\ntests:\n- {rule: \
                 no-word, should_fail: \"a forbidden word\"}\n- {rule: no-word, should_pass: \"a \
                 word\"}\n";
    server.bind(rules).await;
    let mut tool = rate();
    assert_eq!(
        server.chat(&ask("x", json!({}))).await.status,
        StatusCode::OK
    );
    tool["function"]["parameters"]["properties"]["account"]["description"] = json!("forbidden");
    let answer = server.chat(&ask("x", json!({"tools": [tool]}))).await;
    assert_eq!(
        answer.error()["type"],
        "admissibility_error",
        "{}",
        answer.text
    );
}
