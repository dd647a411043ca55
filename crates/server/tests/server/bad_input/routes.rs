//! What is wrong before a body is read, and what is the server's own fault.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::json;

use crate::common::{MODEL, Server, Setup, say};

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
