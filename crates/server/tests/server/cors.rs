//! Pages in browsers: which may call, and that keys stay what lets them.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use portcullis_store::Role;

use crate::common::{Answer, Server, Setup, say};

const APP: &str = "https://app.example";

async fn server(origins: Option<&str>) -> Server {
    let mut setup = Setup::default();
    if let Some(origins) = origins {
        setup.config.cors = origins.parse().unwrap();
    }
    Server::with(setup).await
}

/// What a browser asks before it lets a page send JSON with a key.
async fn preflight(server: &Server, origin: &str) -> Answer {
    let request = Request::builder()
        .method(Method::OPTIONS)
        .uri("/v1/chat/completions")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type,x-stainless-os",
        );
    server.send(request.body(Body::empty()).unwrap()).await
}

async fn call(server: &Server, key: &str) -> Answer {
    let request = Request::post("/v1/chat/completions")
        .header("origin", APP)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {key}"))
        .body(say("hi").to_string().into());
    server.send(request.unwrap()).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_page_that_is_named_may_call_with_a_key() {
    let server = server(Some("https://other.example,https://app.example")).await;
    let (_, key) = server.key(Role::Inference).await;
    let asked = preflight(&server, APP).await;
    assert_eq!(asked.status, StatusCode::OK);
    assert_eq!(header(&asked, "access-control-allow-origin"), Some(APP));
    let allowed = header(&asked, "access-control-allow-headers").unwrap();
    assert_eq!(allowed, "authorization,content-type,x-stainless-os");
    assert!(
        header(&asked, "access-control-allow-methods")
            .unwrap()
            .contains("POST")
    );
    let answer = call(&server, &key).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(header(&answer, "access-control-allow-origin"), Some(APP));
    let told = header(&answer, "access-control-expose-headers").unwrap();
    for name in [
        "x-request-id",
        "retry-after",
        "x-ratelimit-remaining-tokens",
    ] {
        assert!(told.contains(name), "{name} is not among {told}");
    }
    // The page may read why it was refused.
    let refused = call(&server, "no key").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(header(&refused, "access-control-allow-origin"), Some(APP));
}

#[tokio::test]
async fn other_pages_may_not() {
    for (origins, origin) in [
        (None, APP),
        (Some(APP), "https://evil.example"),
        (Some(APP), "https://app.example.evil.example"),
        (Some(APP), "http://app.example"),
        (Some(APP), "null"),
    ] {
        let server = server(origins).await;
        let asked = preflight(&server, origin).await;
        assert_eq!(
            header(&asked, "access-control-allow-origin"),
            None,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn nothing_is_ever_allowed_with_credentials() {
    for origins in [APP, "*"] {
        let server = server(Some(origins)).await;
        let (_, key) = server.key(Role::Inference).await;
        for answer in [preflight(&server, APP).await, call(&server, &key).await] {
            let expect = if origins == "*" { "*" } else { APP };
            assert_eq!(header(&answer, "access-control-allow-origin"), Some(expect));
            assert_eq!(header(&answer, "access-control-allow-credentials"), None);
        }
    }
}
