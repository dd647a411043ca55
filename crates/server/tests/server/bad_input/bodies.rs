//! Bodies that are no JSON, too large, too deep or packed.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::crowd::Crowd;
use crate::common::{MODEL, Setup, post, say, with};
use crate::listener::read_until;

#[tokio::test]
async fn what_is_no_json_is_a_400() {
    let crowd = Crowd::gather().await;
    let server = crowd.server();
    let brackets = brackets();
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
    crowd.see_unharmed().await;
}

/// What is not read is skipped, however deep it is.
#[tokio::test]
async fn deep_nesting_in_unknown_fields_costs_no_stack() {
    let crowd = Crowd::gather().await;
    let known = with(say("x"), json!({"temperature": 0})).to_string();
    let body = format!("{{\"junk\": {}, {}", brackets(), &known[1..]);
    let answer = crowd
        .server()
        .send(post("/v1/chat/completions", body))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "x");
    crowd.see_unharmed().await;
}

fn brackets() -> String {
    format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))
}

#[tokio::test]
async fn bodies_are_bounded_plain_and_json() {
    let mut setup = Setup::default();
    setup.config.max_body_bytes = 1000;
    let crowd = Crowd::with(setup).await;
    let server = crowd.server();
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
    crowd.see_unharmed().await;
}

/// Every route, and every field that takes any JSON.
#[tokio::test]
async fn a_hundred_thousand_brackets_are_refused_everywhere() {
    let crowd = Crowd::with_tools().await;
    let deep = brackets();
    let message = r#"{"role": "user", "content": "x"}"#;
    for (path, field) in [
        (
            "chat/completions",
            "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": DEEP}}]",
        ),
        (
            "chat/completions",
            "\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"schema\": DEEP}}",
        ),
        ("chat/completions", "\"stop\": DEEP"),
        ("completions", "\"prompt\": DEEP"),
        ("responses", "\"input\": DEEP"),
        ("responses", "\"metadata\": {\"a\": DEEP}"),
        ("responses", "\"tool_choice\": DEEP"),
        ("messages", "\"system\": DEEP"),
        (
            "messages",
            "\"tools\": [{\"name\": \"f\", \"input_schema\": DEEP}]",
        ),
        (
            "messages/count_tokens",
            "\"tools\": [{\"name\": \"f\", \"input_schema\": DEEP}]",
        ),
    ] {
        let field = field.replace("DEEP", &deep);
        let body = format!(
            "{{\"model\": \"{MODEL}\", \"max_tokens\": 3, {field}, \"messages\": [{message}]}}"
        );
        let answer = crowd
            .server()
            .send(post(&format!("/v1/{path}"), body))
            .await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{path}: {}",
            answer.text
        );
        assert_eq!(answer.error()["type"], "invalid_request_error", "{path}");
        let said = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(said.len() < 300, "{path}: {said}");
    }
    crowd.see_unharmed().await;
}

#[tokio::test]
async fn a_body_of_a_hundred_megabytes_is_refused_before_it_comes() {
    let crowd = Crowd::gather().await;
    for path in ["chat/completions", "completions", "responses", "messages"] {
        let mut stream = TcpStream::connect(crowd.live().address).await.unwrap();
        let head = format!(
            "POST /v1/{path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             content-length: 104857600\r\nconnection: close\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\"body_too_large\"").await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
    }
    crowd.see_unharmed().await;
}

/// A megabyte of zeros is a thousand bytes so.
#[tokio::test]
async fn packed_bodies_are_not_unpacked() {
    let crowd = Crowd::gather().await;
    for path in ["chat/completions", "completions", "responses", "messages"] {
        for encoding in ["gzip", "deflate", "br", "zstd", "gzip, gzip", "GZIP"] {
            let packed = Request::post(format!("/v1/{path}"))
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::CONTENT_ENCODING, encoding)
                .body(Body::from(&b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..]));
            let answer = crowd.server().send(packed.unwrap()).await;
            assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path}");
            let error = answer.error();
            assert_eq!(error["type"], "invalid_request_error", "{path}");
            assert_eq!(error["code"], "unsupported_content_encoding", "{path}");
        }
    }
    crowd.see_unharmed().await;
}

#[tokio::test]
async fn text_that_is_no_unicode_is_refused() {
    let crowd = Crowd::gather().await;
    for bad in [
        &b"\xff\xfe"[..],
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\\ud800",
        b"\\udc00\\ud800",
        b"a\nb",
        b"a\0b",
    ] {
        for (path, field) in [
            ("/v1/chat/completions", "messages"),
            ("/v1/completions", "prompt"),
            ("/v1/responses", "input"),
            ("/v1/messages", "system"),
        ] {
            let before = format!("{{\"model\": \"{MODEL}\", \"max_tokens\": 3, \"{field}\": \"");
            let body = [before.as_bytes(), bad, b"\"}"].concat();
            let answer = crowd.server().send(post(path, body)).await;
            let shown = String::from_utf8_lossy(bad);
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {shown:?}");
            assert_eq!(answer.error()["type"], "invalid_request_error", "{path}");
            assert_eq!(
                answer.error()["param"],
                field,
                "{path} {shown:?}: {}",
                answer.text
            );
        }
    }
    crowd.see_unharmed().await;
}
