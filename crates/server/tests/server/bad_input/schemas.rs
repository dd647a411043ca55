//! Schemas that take long to compile.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::crowd::Crowd;
use crate::common::{Server, say, with};

/// More calls than there are threads for work that takes a core.
const CALLS: usize = 600;

/// No two are the same.
fn costly(number: usize) -> Value {
    let names: Vec<String> = (0..2_000).map(|name| format!("v{number}_{name}")).collect();
    let schema = json!({"enum": names});
    let format = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": schema}});
    with(
        say("x"),
        json!({"response_format": format, "max_tokens": 1}),
    )
}

/// They wait for one another, and nobody else waits for them.
#[tokio::test]
async fn calls_without_one_are_answered_at_once() {
    let crowd = Arc::new(Crowd::gather().await);
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let crowd = Arc::clone(&crowd);
        calls.spawn(async move { crowd.server().chat(&costly(number)).await });
    }
    // Some of them are compiled by now, and hundreds wait.
    assert!(calls.join_next().await.is_some());
    let plain = timeout(Duration::from_secs(2), plain(crowd.server())).await;
    assert_eq!(plain.expect("it waits for schemas of others"), "plain");
    assert!(calls.len() > CALLS / 2, "{} schemas are left", calls.len());
    calls.shutdown().await;
    let crowd = Arc::into_inner(crowd).expect("the calls are gone");
    crowd.see_unharmed().await;
}

async fn plain(server: &Server) -> Value {
    let body = with(say("plain"), json!({"temperature": 0}));
    let answer = server.chat(&body).await.json();
    answer["choices"][0]["message"]["content"].clone()
}
