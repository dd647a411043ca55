//! What callers see of the gate.

use std::time::Duration;

use crate::common::{ACT, MODEL, Server, Setup, ruleset, say, with};
use axum::http::StatusCode;
use portcullis_store::{BindingTarget, Store};
use serde_json::{Value, json};

#[tokio::test]
async fn a_refusal_before_any_release_is_a_400_streamed_or_not() {
    let server = Server::start().await;
    server.bind(&ruleset("enforce", "reject")).await;
    for stream in [false, true] {
        let body = with(
            say("forbidden fruit"),
            json!({"stream": stream, "temperature": 0}),
        );
        let answer = server.chat(&body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(
            answer.error(),
            json!({
                "message": "rule set `test-rules` version 1, rule `no-word`: the text is not \
                            admissible",
                "type": "admissibility_error",
                "param": null,
                "code": "test-rules@1/no-word",
            })
        );
    }
}

#[tokio::test]
async fn a_refusal_after_a_release_ends_the_answer() {
    let server = Server::start().await;
    server.bind(&ruleset("enforce", "reject")).await;
    let body = with(say("The forbidden fruit"), json!({"temperature": 0}));
    let whole = server.chat(&body).await;
    assert_eq!(whole.status, StatusCode::OK);
    let whole = whole.json();
    assert_eq!(whole["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(whole["choices"][0]["message"]["content"], "The ");
    let admissibility = json!({
        "status": "refused",
        "rulesets": [{"name": "test-rules", "version": 1, "mode": "enforce"}],
        "attempts": 0,
        "findings": [{"ruleset": "test-rules", "version": 1, "rule": "no-word",
                      "action": "reject", "on": "output"}],
    });
    assert_eq!(whole["admissibility"], admissibility);

    let streamed = server.chat(&with(body, json!({"stream": true}))).await;
    assert_eq!(streamed.streamed_text(0), "The ");
    let last = streamed.chunks().pop().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(last["admissibility"], admissibility);
    assert_eq!(streamed.events().last(), Some(&"[DONE]"));
}

#[tokio::test]
async fn one_refused_choice_does_not_fail_the_others() {
    let server = Server::start().await;
    server.bind(&ruleset("enforce", "reject")).await;
    let body = json!({"model": MODEL, "temperature": 0,
                      "prompt": ["user: forbidden\n=>", "user: fine\n=>"]});
    let choices = server.post("/v1/completions", &body).await.json()["choices"].clone();
    assert_eq!(choices[0]["text"], "");
    assert_eq!(choices[0]["finish_reason"], "content_filter");
    assert_eq!(choices[1]["text"], "fine");
    assert_eq!(choices[1]["finish_reason"], "stop");
    let streamed = server
        .post("/v1/completions", &with(body, json!({"stream": true})))
        .await;
    assert_eq!(streamed.streamed_text(0), "");
    assert_eq!(streamed.streamed_text(1), "fine");
}

/// They would name tokens that no rule has judged: alternatives, and what a stop string cut off.
#[tokio::test]
async fn an_enforced_set_leaves_no_log_probabilities() {
    let server = Server::start().await;
    let body = with(say("a forbidden b"), json!({"logprobs": true}));
    assert_eq!(server.chat(&body).await.status, 200);
    server.bind(&ruleset("enforce", "redact")).await;
    let refused = server.chat(&body).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"]["param"], "logprobs");
}

#[tokio::test]
async fn rolling_back_is_counted_in_the_usage() {
    let server = Server::start().await;
    server.bind(&ruleset("enforce", "resample")).await;
    let body = with(
        say("say forbidden now"),
        json!({"seed": 3, "temperature": 0}),
    );
    let answer = server.chat(&body).await.json();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(!text.contains("forbidden"), "{text}");
    let discarded = &answer["usage"]["completion_tokens_details"]["discarded_tokens"];
    assert!(discarded.as_u64().unwrap() > 0);
    assert!(answer["admissibility"]["attempts"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn what_the_gate_took_is_told_to_who_asks() {
    let step_time = Duration::from_millis(5);
    let server = Server::with(Setup {
        step_time,
        ..Setup::default()
    })
    .await;
    let rules = ruleset("enforce", "resample");
    let whole = rules.replace("rules:", "resample: {scope: completion}\nrules:");
    server.bind(&whole).await;
    let text = "eleven steps";
    let plain = with(say(text), json!({"seed": 3, "temperature": 0}));
    let answer = server.chat(&plain).await.json();
    assert_eq!(answer["admissibility"]["timings"], Value::Null);
    let asks = with(plain, json!({"admissibility": {"timings": true}}));
    let timings = server.chat(&asks).await.json()["admissibility"]["timings"].clone();
    // All of it waited for its end.
    let held = step_time * (text.len() as u32 - 1);
    assert!(timings["first_held_ms"].as_f64().unwrap() >= held.as_secs_f64() * 1e3);
    assert!(timings["held_ms"].as_f64().unwrap() >= held.as_secs_f64() * 1e3);
    assert!(timings["gate_ms"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn a_set_in_observe_changes_no_byte() {
    let server = Server::start().await;
    let bodies = [json!({"stream": false}), json!({"stream": true})].map(|more| {
        with(
            with(
                say("a forbidden word"),
                json!({"seed": 1, "temperature": 0}),
            ),
            more,
        )
    });
    let mut before = Vec::new();
    for body in &bodies {
        before.push(without_ids(&server.chat(body).await.text));
    }
    server.bind(&ruleset("observe", "reject")).await;
    for (body, before) in bodies.iter().zip(before) {
        assert_eq!(without_ids(&server.chat(body).await.text), before);
    }
}

/// Ids differ from call to call, and the second call finds the prompt in the prefix cache.
fn without_ids(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some((head, tail)) = rest.split_once("chatcmpl-") {
        kept.push_str(head);
        rest = &tail[32..];
    }
    kept + rest
}

#[tokio::test]
async fn bindings_hold_from_the_next_call_on() {
    let server = Server::start().await;
    let body = with(say("forbidden"), json!({"temperature": 0}));
    let status = async || server.chat(&body).await.status;
    assert_eq!(status().await, StatusCode::OK);
    server.bind(&ruleset("enforce", "reject")).await;
    assert_eq!(status().await, StatusCode::BAD_REQUEST);
    // The version that was activated last holds, without a new binding.
    server
        .bind(&ruleset("observe", "reject").replace("version: 1", "version: 2"))
        .await;
    assert_eq!(status().await, StatusCode::OK);
    let deployment = BindingTarget::Deployment(MODEL.parse().unwrap());
    let name = "test-rules".parse().unwrap();
    server.bind_to(&name, Some(1), deployment.clone()).await;
    assert_eq!(status().await, StatusCode::BAD_REQUEST);
    let unbound = server.store.unbind(&name, &deployment, false, ACT).await;
    unbound.unwrap();
    assert_eq!(status().await, StatusCode::OK);
}

#[tokio::test]
async fn sets_of_key_and_deployment_hold_together() {
    let server = Server::start().await;
    let (key, secret) = server.key(portcullis_store::Role::Inference).await;
    let (_, other) = server.key(portcullis_store::Role::Inference).await;
    server.bind(&ruleset("enforce", "reject")).await;
    let of_key = ruleset("enforce", "reject")
        .replace("test-rules", "key-rules")
        .replace("forbidden", "private");
    let name = server.activate(&of_key).await;
    server
        .bind_to(&name, None, BindingTarget::Key(key.id))
        .await;

    let code = async |secret: &str, text: &str| -> Value {
        let body = with(say(text), json!({"temperature": 0})).to_string();
        let path = "/v1/chat/completions";
        let answer = server
            .with_key(secret, axum::http::Method::POST, path, body)
            .await;
        answer.json()["error"]["code"].clone()
    };
    assert_eq!(code(&secret, "forbidden").await, "test-rules@1/no-word");
    assert_eq!(code(&secret, "private").await, "key-rules@1/no-word");
    assert_eq!(code(&other, "forbidden").await, "test-rules@1/no-word");
    assert_eq!(code(&other, "private").await, Value::Null);
}

#[tokio::test]
async fn a_bound_set_that_cannot_be_loaded_stops_the_call() {
    let server = Server::start().await;
    let new = portcullis_store::NewRuleSet {
        name: "broken".parse().unwrap(),
        version: 1,
        digest: "sha256:00".into(),
        source: b"ruleset: [".to_vec(),
        signatures: Vec::new(),
    };
    let name = new.name.clone();
    server.store.put_ruleset(new, ACT).await.unwrap();
    server.store.activate(&name, 1, ACT).await.unwrap();
    let target = BindingTarget::Deployment(MODEL.parse().unwrap());
    server.bind_to(&name, None, target).await;
    let answer = server.chat(&say("Hello")).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.error()["code"], "ruleset_unavailable");
}

/// Names and the calls of tools are texts of the prompt like any other: templates show them.
#[tokio::test]
async fn no_part_of_a_message_passes_the_rules_on_prompts() {
    let server = Server::start().await;
    let rules = ruleset("enforce", "reject").replace("phrases:", "on: input, phrases:");
    server.bind(&rules).await;
    let call = |id: &str, name: &str, arguments: &str| {
        let function = json!({"name": name, "arguments": arguments});
        json!({"role": "assistant", "tool_calls": [{"id": id, "type": "function", "function": function}]})
    };
    let result = |id: &str, name: &str| json!({"role": "tool", "content": "ok", "tool_call_id": id, "name": name});
    for (message, status) in [
        (call("a", "b", "{\"c\": \"fine\"}"), StatusCode::OK),
        (result("a", "b"), StatusCode::OK),
        (call("forbidden", "b", "{}"), StatusCode::BAD_REQUEST),
        (call("a", "forbidden", "{}"), StatusCode::BAD_REQUEST),
        (
            call("a", "b", "{\"c\": \"forb\\u0069dden\"}"),
            StatusCode::BAD_REQUEST,
        ),
        (
            call("a", "b", "{\"forbidden\": 1}"),
            StatusCode::BAD_REQUEST,
        ),
        (call("a", "b", "forbidden"), StatusCode::BAD_REQUEST),
        (result("forbidden", "b"), StatusCode::BAD_REQUEST),
        (result("a", "forbidden"), StatusCode::BAD_REQUEST),
    ] {
        let mut body = say("Hello");
        body["messages"]
            .as_array_mut()
            .unwrap()
            .insert(0, message.clone());
        assert_eq!(server.chat(&body).await.status, status, "{message}");
    }
}
