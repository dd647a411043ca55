//! A schema that holds makes every answer JSON of its kind, whatever the model would have written.

use serde_json::{Value, json};

use crate::server::{Question, Server, new_key};

const RULES: &str = r#"
ruleset: shape
version: 1
mode: enforce
rules:
  - id: reply
    why: "the next program reads it"
    json_schema:
      type: object
      additionalProperties: false
      required: [kind, amount]
      properties:
        kind: {enum: [fund, account]}
        amount: {type: integer, minimum: 0, maximum: 9999}
    action: reject
tests:
  - {rule: reply, should_pass: '{"kind": "fund", "amount": 12}'}
  - {rule: reply, should_fail: '{"kind": "card", "amount": 12}'}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_makes_every_answer_json_of_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (_, admin) = new_key(folder.path(), "admin", "tests");
    let (id, key) = new_key(folder.path(), "inference", "shaped");
    server.activate(&admin, RULES.to_owned()).await;
    let binding = json!({"key": id}).to_string();
    server
        .post("/v1/rulesets/shape/bindings", &admin, binding)
        .await;
    for seed in 0..40 {
        let text = "What is my balance?";
        let question = Question { text, seed };
        let (answer, finish) = server.chat(&key, &question, seed % 2 == 0).await;
        assert_eq!(finish, "stop", "{answer}");
        let value: Value =
            serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer}"));
        assert!(
            ["fund", "account"].contains(&value["kind"].as_str().unwrap()),
            "{answer}"
        );
        assert!(value["amount"].as_u64().unwrap() <= 9999, "{answer}");
        assert_eq!(value.as_object().unwrap().len(), 2, "{answer}");
    }
}
