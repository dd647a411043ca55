//! Kill -9 while serving: keys, rule sets and bindings are there afterwards.

use std::sync::Arc;

use serde_json::json;

use crate::server::{Question, Server, demo_rules, new_key};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_while_serving_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Arc::new(Server::start(folder.path()));
    let (_, admin) = new_key(folder.path(), "admin", "tests");
    let (id, key) = new_key(folder.path(), "inference", "caller");
    server
        .activate(&admin, demo_rules("house-rules", "enforce"))
        .await;
    let binding = json!({"key": id, "version": 1}).to_string();
    server
        .post("/v1/rulesets/house-rules/bindings", &admin, binding)
        .await;
    let paths = [
        "/v1/keys",
        "/v1/rulesets",
        "/v1/rulesets/house-rules/bindings",
        "/v1/rulesets/house-rules/history",
        "/v1/signers",
        "/v1/rulesets/demo-bank/bindings",
    ];
    let mut before = Vec::new();
    for path in paths {
        before.push(server.get(path, &admin).await);
    }

    let calls: Vec<_> = (0..16)
        .map(|seed| {
            let (server, key) = (Arc::clone(&server), key.clone());
            tokio::spawn(async move {
                let question = Question {
                    text: "Tell me about the Growth Fund",
                    seed,
                };
                server.chat(&key, &question, true).await
            })
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    for call in calls {
        // Aborted, or done before the blow: either way it no longer holds the server.
        drop(call.await);
    }
    Arc::into_inner(server).unwrap().kill();

    let server = Server::start(folder.path());
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(server.get(path, &admin).await, before, "{path}");
    }
    let (text, _) = server
        .chat(
            &key,
            &Question {
                text: "What is my account number?",
                seed: 2,
            },
            false,
        )
        .await;
    assert!(
        text.contains("[account number]"),
        "the bound set still holds: {text}"
    );
}
