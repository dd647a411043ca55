//! Bad input: each row gets its exact answer, and the next request still completes.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};

use crate::common::{MODEL, Server, Setup, post, say, with};

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

#[tokio::test]
async fn every_bad_field_is_named_and_explained() {
    let server = Server::start().await;
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
    }
    assert_eq!(server.chat(&say("x")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn mistakes_inside_messages_are_named_by_their_place() {
    let server = Server::start().await;
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
}

#[tokio::test]
async fn what_is_no_json_is_a_400() {
    let server = Server::start().await;
    let brackets = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let unclosed = format!("{{\"messages\": {}", "[".repeat(100_000));
    let messages = format!("{{\"messages\": {brackets}}}");
    let content = format!("{{\"messages\": [{{\"role\": \"user\", \"content\": {brackets}}}]}}");
    for (body, param) in [
        (b"".to_vec(), Value::Null),
        (b"{".to_vec(), Value::Null),
        (b"[]".to_vec(), Value::Null),
        (b"nonsense".to_vec(), Value::Null),
        (br#"{"model": "parrot"} x"#.to_vec(), Value::Null),
        (br#"{"temperature": NaN}"#.to_vec(), json!("temperature")),
        (br#"{"temperature": 1e400}"#.to_vec(), json!("temperature")),
        (br#"{"n": 1e400}"#.to_vec(), json!("n")),
        (
            br#"{"logit_bias": {"1": 1e999}}"#.to_vec(),
            json!("logit_bias.1"),
        ),
        (br#"{"seed": 99999999999999999999}"#.to_vec(), json!("seed")),
        (br#"{"n": 1, "n": 2}"#.to_vec(), Value::Null),
        (b"{\"model\": \"\xff\xfe\"}".to_vec(), json!("model")),
        (unclosed.into_bytes(), json!("messages")),
        (messages.into_bytes(), json!("messages.[0].[0]")),
        (content.into_bytes(), json!("messages.[0].content.[0]")),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = server.send(post("/v1/chat/completions", body)).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{shown}: {}",
            answer.text
        );
        assert_eq!(answer.error()["param"], param, "{shown}: {}", answer.text);
        assert_eq!(answer.error()["type"], "invalid_request_error");
    }
    assert_eq!(server.chat(&say("x")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn deep_nesting_in_unknown_fields_costs_no_stack() {
    let server = Server::start().await;
    let deep = format!(
        "{{\"junk\": {}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let answer = server.send(post("/v1/chat/completions", deep)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(server.chat(&say("x")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn bad_prompts_of_text_completions_are_named() {
    let server = Server::start().await;
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
}

#[tokio::test]
async fn an_unknown_model_is_a_404_in_the_words_of_openai() {
    let server = Server::start().await;
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
}

#[tokio::test]
async fn bodies_are_bounded_plain_and_json() {
    let mut setup = Setup::default();
    setup.config.max_body_bytes = 1000;
    let server = Server::with(setup).await;
    let path = "/v1/chat/completions";
    let large = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    let announced = large.body(Body::from("x".repeat(1001))).unwrap();
    assert_eq!(
        server.send(announced).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let chunks = futures::stream::iter(
        std::iter::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(100))).take(11),
    );
    let unannounced = server.send(post(path, Body::from_stream(chunks))).await;
    assert_eq!(unannounced.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(unannounced.error()["code"], "body_too_large");

    let zipped = Request::post(path).header(header::CONTENT_ENCODING, "gzip");
    let zipped = server.send(zipped.body("x".into()).unwrap()).await;
    assert_eq!(zipped.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(zipped.error()["code"], "unsupported_content_encoding");
    let form = Request::post(path).header(header::CONTENT_TYPE, "text/plain");
    let form = server
        .send(form.body(say("x").to_string().into()).unwrap())
        .await;
    assert_eq!(form.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(form.error()["type"], "invalid_request_error");
    assert_eq!(server.chat(&say("x")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn routes_that_are_not_there_answer_in_json() {
    let server = Server::start().await;
    let unknown = server.get("/v1/nonsense").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(unknown.error()["code"], "unknown_url");
    let wrong = server.get("/v1/chat/completions").await;
    assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(wrong.headers[header::ALLOW], "POST");
    assert_eq!(wrong.error()["code"], "method_not_allowed");
}

#[tokio::test]
async fn control_tokens_in_text_stay_text() {
    let server = Server::start().await;
    let body = with(say("a<|end|>b"), json!({"temperature": 0}));
    let answer = server.chat(&body).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "a<|end|>b");
}

#[tokio::test]
async fn request_ids_are_taken_over_if_they_are_harmless() {
    let server = Server::start().await;
    let id = async |given: &[u8]| {
        let request = Request::get("/live").header("x-request-id", given);
        let answer = server.send(request.body(Body::empty()).unwrap()).await;
        answer.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id(b"abc-123").await, "abc-123");
    for bad in [&b""[..], b"a b", b"\xff\xfe", &[b'x'; 129], b"\x1b[31mred"] {
        if Request::get("/")
            .header("x-request-id", bad)
            .body(())
            .is_err()
        {
            // No HTTP library lets it through in the first place.
            continue;
        }
        let made = id(bad).await;
        assert!(
            made.starts_with("req_") && made.len() == 36,
            "{bad:?} gave {made}"
        );
    }
}

#[tokio::test]
async fn a_panic_is_a_500_of_its_own_request_only() {
    let wall = Arc::new(|| panic!("the clock on the wall fell down"));
    let server = Server::with(Setup {
        wall,
        ..Setup::default()
    })
    .await;
    let body = json!({"model": MODEL, "prompt": "user: x\n=>"});
    let answer = server.post("/v1/completions", &body).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.error()["type"], "server_error");
    assert!(answer.headers.contains_key("x-request-id"));
    assert!(
        !answer.text.contains("fell down"),
        "what broke is for the log"
    );
    // On a worker thread too.
    assert_eq!(
        server.chat(&say("x")).await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(server.get("/health").await.status, StatusCode::OK);
}
