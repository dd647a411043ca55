//! Fields that are not what they must be: each is named and explained.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::crowd::Crowd;
use crate::common::{MODEL, say, with};

/// Field, value, and what the answer must say.
type Row = (&'static str, Value, &'static str);

fn rows() -> Vec<Row> {
    vec![
        (
            "model",
            json!(7),
            "model: invalid type: integer `7`, expected a string",
        ),
        (
            "temperature",
            json!("hot"),
            "temperature: invalid type: string \"hot\", expected a number",
        ),
        (
            "temperature",
            json!(-0.1),
            "temperature must be from 0 to 2",
        ),
        (
            "temperature",
            json!(1e39),
            "temperature must be from 0 to 2",
        ),
        ("top_p", json!(0), "top_p must be above 0 and at most 1"),
        ("top_p", json!(1.5), "top_p must be above 0 and at most 1"),
        (
            "top_k",
            json!(-2),
            "top_k: must be at least 1, or -1 to keep every token",
        ),
        (
            "top_k",
            json!(1.5),
            "top_k: invalid type: floating point `1.5`, expected a whole number",
        ),
        ("min_p", json!(2), "min_p must be from 0 to 1"),
        (
            "presence_penalty",
            json!(-3),
            "presence_penalty must be from -2 to 2",
        ),
        (
            "frequency_penalty",
            json!(3),
            "frequency_penalty must be from -2 to 2",
        ),
        (
            "repetition_penalty",
            json!(0),
            "repetition_penalty must be above 0 and at most 10",
        ),
        ("n", json!(0), "n: must be from 1 to 8"),
        ("n", json!(1_000_000), "n: must be from 1 to 8"),
        (
            "n",
            json!(-1),
            "n: invalid value: integer `-1`, expected a whole number",
        ),
        (
            "n",
            json!(1.5),
            "n: invalid type: floating point `1.5`, expected a whole number",
        ),
        ("max_tokens", json!(0), "max_tokens must be at least 1"),
        (
            "max_tokens",
            json!(-5),
            "max_tokens: invalid value: integer `-5`",
        ),
        (
            "max_tokens",
            json!(100_000),
            "This model's maximum context length is 512 tokens.",
        ),
        ("min_tokens", json!(511), "min_tokens is above max_tokens"),
        (
            "max_tokens",
            json!(u64::MAX),
            "This model's maximum context length is 512 tokens.",
        ),
        ("seed", json!("x"), "seed: invalid type: string \"x\""),
        (
            "stop",
            json!(5),
            "stop: expected a string or an array of strings",
        ),
        (
            "stop",
            json!(""),
            "stop each string must have 1 to 256 bytes",
        ),
        (
            "stop",
            json!(vec!["x"; 17]),
            "stop holds more than 16 strings",
        ),
        (
            "stop_token_ids",
            json!([999]),
            "stop_token_ids holds token 999",
        ),
        (
            "logit_bias",
            json!({"999": 1}),
            "logit_bias holds token 999; the vocabulary has 257",
        ),
        (
            "logit_bias",
            json!({"1": 101}),
            "logit_bias must be from -100 to 100",
        ),
        (
            "logit_bias",
            json!([1]),
            "logit_bias: invalid type: sequence, expected a map",
        ),
        (
            "top_logprobs",
            json!(2),
            "top_logprobs: is only allowed when logprobs is true",
        ),
        (
            "stream",
            json!("yes"),
            "stream: invalid type: string \"yes\", expected true or false",
        ),
        (
            "stream_options",
            json!({}),
            "stream_options: is only allowed when stream is true",
        ),
        (
            "priority",
            json!("urgent"),
            "priority: unknown variant `urgent`",
        ),
        (
            "tools",
            json!([{"type": "function"}]),
            "tools.[0].function: is required",
        ),
        (
            "tools",
            json!([{"type": "function", "function": {"name": "f"}}]),
            "tools: the chat template of this model knows no tools",
        ),
        (
            "tool_choice",
            json!("required"),
            "tool_choice: asks for a call, but there are no tools",
        ),
        (
            "tool_choice",
            json!("perhaps"),
            "tool_choice: must be \"none\", \"auto\", \"required\"",
        ),
        (
            "tool_choice",
            json!(7),
            "tool_choice: expected \"none\", \"auto\", \"required\"",
        ),
        (
            "functions",
            json!([{"name": "f"}]),
            "functions: is the older name of `tools`",
        ),
        (
            "response_format",
            json!({"type": "xml"}),
            "response_format.type: must be \"text\"",
        ),
        (
            "response_format",
            json!({"type": "json_schema"}),
            "response_format.json_schema.schema: is required",
        ),
        (
            "response_format",
            json!({"type": "json_schema", "json_schema": {"schema": {"patern": "x"}}}),
            "response_format.json_schema.schema: `patern` at `/` is not enforced",
        ),
        (
            "messages",
            json!([]),
            "messages: must hold at least one message",
        ),
        (
            "messages",
            json!("hi"),
            "messages: invalid type: string \"hi\", expected a sequence",
        ),
        (
            "messages",
            json!([{"role": "user", "content": "x".repeat(600)}]),
            "This model's maximum context length is 512 tokens. However, your messages resulted in",
        ),
    ]
}

/// What a program reads instead of the message.
fn code(message: &str) -> &'static str {
    let begins = |with: &str| message.starts_with(with);
    match () {
        () if begins("This model's maximum context length") => "context_length_exceeded",
        () if begins("functions: is the older") => "unsupported_parameter",
        () if begins("tools: the chat template") => "unsupported_parameter",
        () if message.contains("is not enforced") => "invalid_schema",
        () => "invalid_value",
    }
}

#[tokio::test]
async fn every_bad_field_is_named_and_explained() {
    let crowd = Crowd::gather().await;
    let server = crowd.server();
    for (param, value, message) in rows() {
        let body = with(say("x"), json!({ param: value }));
        let answer = server.chat(&body).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{param} {value}: {}",
            answer.text
        );
        let error = answer.error();
        assert_eq!(error["type"], "invalid_request_error", "{param} {value}");
        // The field, or one below it.
        let blamed = error["param"].as_str().unwrap();
        assert!(blamed.starts_with(param), "{value}: {error}");
        let said = error["message"].as_str().unwrap();
        assert!(said.starts_with(message), "{param} {value}: {said}");
        assert_eq!(error["code"], code(message), "{param} {value}: {said}");
    }
    crowd.see_unharmed().await;
}

#[tokio::test]
async fn mistakes_inside_messages_are_named_by_their_place() {
    let crowd = Crowd::gather().await;
    let server = crowd.server();
    for (message, param) in [
        (json!({"role": "user"}), "messages.[1].content"),
        (
            json!({"role": "user", "content": null}),
            "messages.[1].content",
        ),
        (
            json!({"role": "user", "content": 7}),
            "messages.[1].content",
        ),
        (
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}),
            "messages.[1].content",
        ),
        (
            json!({"role": "user", "content": [{"type": "text"}]}),
            "messages.[1].content",
        ),
        (
            json!({"role": "wizard", "content": "x"}),
            "messages.[1].role",
        ),
        (json!({"content": "x"}), "messages.[1]"),
    ] {
        let messages = json!([{"role": "user", "content": "x"}, message]);
        let answer = server
            .chat(&json!({"model": MODEL, "messages": messages}))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.error()["param"], param, "{message}: {}", answer.text);
    }
    crowd.see_unharmed().await;
}

#[tokio::test]
async fn bad_prompts_of_text_completions_are_named() {
    let crowd = Crowd::gather().await;
    let server = crowd.server();
    for (more, param) in [
        (json!({}), "prompt"),
        (json!({"prompt": []}), "prompt"),
        (json!({"prompt": ""}), "prompt"),
        (json!({"prompt": 7}), "prompt"),
        (json!({"prompt": [1, "a"]}), "prompt"),
        (json!({"prompt": [5, 999]}), "prompt"),
        (json!({"prompt": [[5], [-1]]}), "prompt"),
        (json!({"prompt": vec!["x"; 100_000]}), "prompt"),
        (json!({"prompt": ["x", "y", "z"], "n": 3}), "prompt"),
        (json!({"prompt": "x".repeat(600)}), "prompt"),
        (json!({"prompt": "x", "echo": 7}), "echo"),
        (json!({"prompt": "x", "best_of": 2}), "best_of"),
        (json!({"prompt": "x", "suffix": "y"}), "suffix"),
        (json!({"prompt": "x", "logprobs": 21}), "top_logprobs"),
        (json!({"prompt": "x", "logprobs": true}), "logprobs"),
    ] {
        let answer = server
            .post("/v1/completions", &with(json!({"model": MODEL}), more))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        assert_eq!(answer.error()["param"], param, "{}", answer.text);
    }
    crowd.see_unharmed().await;
}

#[tokio::test]
async fn an_unknown_model_is_a_404_in_the_words_of_openai() {
    let crowd = Crowd::gather().await;
    let server = crowd.server();
    for name in ["gpt-5", "../../etc/passwd", ""] {
        let answer = server.chat(&with(say("x"), json!({"model": name}))).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        let message = format!("The model `{name}` does not exist or you do not have access to it.");
        assert_eq!(
            answer.error(),
            json!({"message": message, "type": "invalid_request_error", "param": "model",
                   "code": "model_not_found"})
        );
    }
    let missing = server.chat(&json!({"messages": []})).await;
    assert_eq!(missing.status, StatusCode::BAD_REQUEST);
    assert_eq!(missing.error()["message"], "model: is required");
    crowd.see_unharmed().await;
}
