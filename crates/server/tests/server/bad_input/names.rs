//! Names that lead somewhere else.

use axum::http::{Method, StatusCode};
use portcullis_store::Role;
use serde_json::json;

use super::crowd::Crowd;
use crate::common::{Answer, Server, say, with};

const NAMES: [&str; 6] = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "/etc/passwd",
    "parrot/../parrot",
    "parrot\u{0}",
    "parrot\r\nset-cookie: a=b",
];

/// Every byte of it as its number, so that it arrives as it is.
fn spelled(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test]
async fn a_call_finds_only_what_is_registered() {
    let crowd = Crowd::gather().await;
    let server = crowd.server();
    for name in NAMES {
        let model = server.chat(&with(say("x"), json!({"model": name}))).await;
        assert_eq!(model.status, StatusCode::NOT_FOUND, "{name:?}");
        assert_eq!(model.error()["code"], "model_not_found", "{name:?}");

        let rules = json!({"admissibility": {"rulesets": [name]}});
        let rules = server.chat(&with(say("x"), rules)).await;
        assert_eq!(
            rules.status,
            StatusCode::BAD_REQUEST,
            "{name:?}: {}",
            rules.text
        );
        let param = rules.error()["param"].as_str().unwrap().to_owned();
        assert!(
            param.starts_with("admissibility.rulesets"),
            "{name:?}: {param}"
        );

        let shown = server.get(&format!("/v1/models/{}", spelled(name))).await;
        check_not_found(name, &shown);
    }
    crowd.see_unharmed().await;
}

#[tokio::test]
async fn so_does_administration() {
    let server = Server::with_records().await;
    let (_, key) = server.key(Role::Admin).await;
    for name in NAMES {
        for path in [
            "/v1/rulesets/{}",
            "/v1/rulesets/{}/versions/1",
            "/v1/rulesets/{}/history",
            "/v1/admissibility/records/{}",
            "/v1/admissibility/tile/{}",
        ] {
            let path = path.replace("{}", &spelled(name));
            let found = server
                .with_key(&key, Method::GET, &path, String::new())
                .await;
            check_not_found(&path, &found);
        }
    }
}

fn check_not_found(what: &str, answer: &Answer) {
    let status = answer.status;
    let is_refused = matches!(status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST);
    assert!(is_refused, "{what}: {status} {}", answer.text);
    assert_eq!(answer.error()["type"], "invalid_request_error", "{what}");
    assert!(!answer.headers.contains_key("set-cookie"), "{what}");
}
