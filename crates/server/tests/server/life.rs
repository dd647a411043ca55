//! Versions come and go while calls run, and several sets hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::http::{Method, StatusCode};
use portcullis_server::KeyQuota;
use portcullis_store::{BindingTarget, NewBinding, Role, Store};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::common::{ACT, Answer, MODEL, NOW, Server, Setup, ruleset, say, with};

/// Version `version` of a set that writes `v<version>.` where the model says "forbidden".
fn version(version: u32) -> String {
    ruleset("enforce", &format!("redact, with: \"v{version}.\""))
        .replace("version: 1", &format!("version: {version}"))
}

/// Calls under way at a time.
const READERS: usize = 12;
const CHANGES: u32 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_changes_under_load_drop_no_stream_and_mix_no_versions() {
    let server = Arc::new(Server::with(patient()).await);
    let (_, author) = server.key(Role::Author).await;
    let (_, approver) = server.key(Role::Approver).await;
    let (user, caller) = server.key(Role::Inference).await;
    publish(&server, &author, &approver, 1).await;
    // Twice, so that a change between the two would show.
    for target in [
        BindingTarget::Deployment(MODEL.parse().unwrap()),
        BindingTarget::Key(user.id),
    ] {
        let name = "test-rules".parse().unwrap();
        server.bind_to(&name, None, target).await;
    }

    let over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let (server, caller, over) = (Arc::clone(&server), caller.clone(), Arc::clone(&over));
            let answered = Arc::clone(&answered);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    seen.push(ask(&server, &caller, reader % 2 == 0).await);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                seen
            })
        })
        .collect();
    for change in 1..=CHANGES {
        let before = answered.load(Ordering::Relaxed);
        publish(&server, &author, &approver, 1 + change).await;
        // So that versions are seen, however slow calls are beside changes.
        for _ in 0..3000 {
            let is_seen = answered.load(Ordering::Relaxed) > before;
            if is_seen || readers.iter().any(JoinHandle::is_finished) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    over.store(true, Ordering::Relaxed);

    let mut versions = std::collections::BTreeSet::new();
    for reader in readers {
        let seen = reader.await.unwrap();
        assert!(seen.is_sorted(), "a reader went back in time: {seen:?}");
        versions.extend(seen);
    }
    assert!(versions.len() > 20, "the load saw only {versions:?}");
    assert_eq!(ask(&server, &caller, true).await, 1 + CHANGES);
}

/// Room for every reader, so that a call that is not answered is one that was dropped.
fn patient() -> Setup {
    Setup {
        max_waiting: 2 * READERS,
        ..Setup::default()
    }
}

async fn publish(server: &Server, author: &str, approver: &str, number: u32) {
    let path = "/v1/rulesets";
    let pushed = server
        .with_key(author, Method::POST, path, version(number))
        .await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.text);
    let path = format!("/v1/rulesets/test-rules/versions/{number}/activate");
    let activated = server
        .with_key(approver, Method::POST, &path, String::new())
        .await;
    assert_eq!(activated.status, StatusCode::OK, "{}", activated.text);
}

/// Makes a call and returns the one version that answered it.
async fn ask(server: &Server, caller: &str, stream: bool) -> u32 {
    let body = with(
        say("a forbidden word, and another forbidden word"),
        json!({"temperature": 0, "stream": stream}),
    );
    let answer = server
        .with_key(caller, Method::POST, CHAT, body.to_string())
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let (text, last) = match stream {
        true => (answer.streamed_text(0), answer.chunks().pop().unwrap()),
        false => {
            let whole = answer.json();
            let content = &whole["choices"][0]["message"]["content"];
            (content.as_str().unwrap().to_owned(), whole)
        }
    };
    let reason = &last["choices"][0]["finish_reason"];
    assert_eq!(reason, "stop", "the answer is whole");
    let rulesets = last["admissibility"]["rulesets"].as_array().unwrap();
    assert_eq!(rulesets.len(), 1, "one version, not {rulesets:?}");
    let version = rulesets[0]["version"].as_u64().unwrap();
    let expected = format!("a v{version}. word, and another v{version}. word");
    assert_eq!(text, expected);
    version as u32
}

const CHAT: &str = "/v1/chat/completions";

/// A long call begins, the version changes, and the call ends as it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_stream_finishes_under_the_version_it_began_with() {
    let setup = Setup {
        step_time: std::time::Duration::from_millis(2),
        ..Setup::default()
    };
    let server = Arc::new(Server::with(setup).await);
    server.bind(&version(1)).await;
    let text = format!("{} forbidden", "word ".repeat(40));
    let body = with(say(&text), json!({"temperature": 0, "stream": true}));
    let running = tokio::spawn({
        let (server, body) = (Arc::clone(&server), body.clone());
        async move { server.chat(&body).await }
    });
    while server.engine.status().running == 0 && !running.is_finished() {
        tokio::task::yield_now().await;
    }
    server.activate(&version(2)).await;
    let (old, new) = (running.await.unwrap(), server.chat(&body).await);
    for (answer, word) in [(old, "v1."), (new, "v2.")] {
        let said = answer.streamed_text(0);
        assert!(said.ends_with(word), "{said}");
    }
}

/// What a call says, greedily, when it names these rule sets itself.
async fn named(server: &Server, text: &str, rulesets: Value) -> Answer {
    let more = json!({"temperature": 0, "admissibility": {"rulesets": rulesets}});
    server.chat(&with(say(text), more)).await
}

#[tokio::test]
async fn a_call_may_name_stricter_sets_which_only_add() {
    let server = Server::start().await;
    server.bind(&version(2)).await;
    let strict = version(1)
        .replace("test-rules", "strict")
        .replace("forbidden", "private");
    server.activate(&strict).await;
    let text = async |rulesets| {
        let answer = named(&server, "forbidden private", rulesets).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let content = answer.json()["choices"][0]["message"]["content"].clone();
        content.as_str().unwrap().to_owned()
    };
    assert_eq!(text(json!([])).await, "v2. private");
    assert_eq!(text(json!(["strict"])).await, "v2. v1.");
    assert_eq!(text(json!(["strict@1", "strict"])).await, "v2. v1.");
    // An older version of what is bound is one more set, not another in its place.
    let older = version(1).replace("forbidden", "private");
    let (name, number) = server.register(&older).await;
    server.store.activate(&name, number, ACT).await.unwrap();
    server.store.activate(&name, 2, ACT).await.unwrap();
    assert_eq!(text(json!(["test-rules@1"])).await, "v2. v1.");
    assert_eq!(text(json!(["test-rules@2"])).await, "v2. private");
}

#[tokio::test]
async fn a_set_that_is_not_in_force_cannot_be_named() {
    let server = Server::start().await;
    server.activate(&version(1)).await;
    server.register(&version(2)).await;
    server
        .register(&version(3).replace("test-rules", "young"))
        .await;
    let retired = server.register(&version(4)).await;
    server.store.retire(&retired.0, 4, ACT).await.unwrap();
    let many = vec!["test-rules"; 9];
    let first = "admissibility.rulesets.[0]";
    for (rulesets, status, param, code) in [
        (json!(["none"]), 404, first, "ruleset_not_found"),
        (json!(["test-rules@9"]), 404, first, "ruleset_not_found"),
        (json!(["young"]), 404, first, "ruleset_not_found"),
        (json!(["test-rules@2"]), 400, first, "ruleset_not_active"),
        (json!(["test-rules@4"]), 400, first, "ruleset_not_active"),
        (
            json!(["test-rules", "No Name"]),
            400,
            "admissibility.rulesets.[1]",
            "invalid_value",
        ),
        (json!(["test-rules@x"]), 400, first, "invalid_value"),
        (json!(many), 400, "admissibility.rulesets", "invalid_value"),
    ] {
        let answer = named(&server, "word", rulesets).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
        assert_eq!(answer.error()["param"], param, "{}", answer.text);
        assert_eq!(answer.error()["code"], code, "{}", answer.text);
    }
    // Misspelt, it would hold for nothing.
    let body = with(
        say("x"),
        json!({"admissibility": {"ruleset": ["test-rules"]}}),
    );
    assert_eq!(server.chat(&body).await.status, StatusCode::BAD_REQUEST);
    let body = json!({"model": MODEL, "prompt": "user: x\n=>",
                      "admissibility": {"rulesets": ["none"]}});
    let answer = server.post("/v1/completions", &body).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_candidate_that_is_observed_changes_nothing() {
    let server = Server::start().await;
    server.bind(&version(1)).await;
    let candidate = version(2).replace("forbidden", "private");
    let (_, admin) = server.key(Role::Admin).await;
    server.register(&candidate).await;
    let path = "/v1/rulesets/test-rules/bindings";
    let call = async |method, path: &str, body: Value| {
        server
            .with_key(&admin, method, path, body.to_string())
            .await
    };
    let fields = json!({"deployment": MODEL, "version": 2, "observe": true});
    let bound = call(Method::POST, path, fields).await;
    assert_eq!(bound.status, StatusCode::CREATED, "{}", bound.text);
    assert_eq!(bound.json()["observe"], true);

    let body = with(say("forbidden private"), json!({"temperature": 0}));
    let answer = call(Method::POST, CHAT, body).await.json();
    let content = &answer["choices"][0]["message"]["content"];
    assert_eq!(content, "v1. private");
    let rulesets = &answer["admissibility"]["rulesets"];
    assert_eq!(rulesets.as_array().unwrap().len(), 1, "{rulesets}");

    let listed = call(Method::GET, path, json!(null)).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    let observed = format!("{path}?deployment={MODEL}&observe=true");
    let gone = call(Method::DELETE, &observed, json!(null)).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let listed = call(Method::GET, path, json!(null)).await.json();
    assert_eq!(listed["data"][0]["observe"], false);
}

/// What is observed in one place and holds in another holds.
#[tokio::test]
async fn observing_never_loosens() {
    let server = Server::start().await;
    let name = server.activate(&version(1)).await;
    let (user, caller) = server.key(Role::Inference).await;
    for (target, observe) in [
        (BindingTarget::Deployment(MODEL.parse().unwrap()), true),
        (BindingTarget::Key(user.id), false),
    ] {
        let new = NewBinding {
            ruleset: name.clone(),
            version: Some(1),
            target,
            observe,
        };
        server.store.bind(new, ACT).await.unwrap();
    }
    let body = with(say("forbidden"), json!({"temperature": 0})).to_string();
    let answer = server.with_key(&caller, Method::POST, CHAT, body).await;
    let content = &answer.json()["choices"][0]["message"]["content"];
    assert_eq!(content, "v1.");
}

#[tokio::test]
async fn a_version_lives_from_registered_to_retired_and_its_history_is_kept() {
    let server = Server::start().await;
    let (key, admin) = server.key(Role::Admin).await;
    let call = async |method, path: &str, body: Value| {
        server
            .with_key(&admin, method, path, body.to_string())
            .await
    };
    for number in [1, 2] {
        server.register(&version(number)).await;
    }
    let at = |number: u32, verb: &str| format!("/v1/rulesets/test-rules/versions/{number}/{verb}");
    let state = async |number, verb: &str| {
        let answer = call(Method::POST, &at(number, verb), json!(null)).await;
        (answer.status.as_u16(), answer.json()["state"].clone())
    };
    let bindings = "/v1/rulesets/test-rules/bindings";
    let early = call(Method::POST, bindings, json!({"deployment": MODEL})).await;
    assert_eq!(early.status, StatusCode::NOT_FOUND, "{}", early.text);
    assert!(early.text.contains("activate one"), "{}", early.text);
    assert_eq!(state(1, "activate").await, (200, json!("active")));
    let bound = call(Method::POST, bindings, json!({"deployment": MODEL})).await;
    assert_eq!(bound.status, StatusCode::CREATED, "{}", bound.text);
    assert_eq!(state(2, "activate").await, (200, json!("active")));
    let in_use = call(Method::POST, &at(2, "retire"), json!(null)).await;
    assert_eq!(in_use.status, StatusCode::CONFLICT);
    assert_eq!(in_use.error()["code"], "bound");
    assert_eq!(state(1, "retire").await, (200, json!("retired")));
    let gone = call(Method::POST, &at(1, "activate"), json!(null)).await;
    assert_eq!(gone.error()["code"], "retired", "{}", gone.text);
    let missing = call(Method::POST, &at(9, "activate"), json!(null)).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);

    let path = "/v1/rulesets/test-rules/history";
    let history = call(Method::GET, path, json!(null)).await.json();
    let events = history["data"].as_array().unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event["event"].as_str().unwrap(), event["version"].clone()))
        .collect();
    let expected = [
        ("registered", json!(1)),
        ("registered", json!(2)),
        ("activated", json!(1)),
        ("bound", Value::Null),
        ("superseded", json!(1)),
        ("activated", json!(2)),
        ("retired", json!(1)),
    ];
    assert_eq!(told, expected);
    let id = key.id.as_str();
    let last = json!({"object": "event", "event": "retired", "version": 1, "detail": null,
                      "actor": id, "at": NOW});
    assert_eq!(events[6], last);
}

/// A server with a rule that asks for another attempt: one that ends in "#" is always at hand.
async fn rationed(attempts_per_minute: Option<u32>, rules: &str) -> Server {
    let mut setup = Setup::default();
    setup.config.key_quota = KeyQuota {
        attempts_per_minute,
        discarded_tokens_per_minute: None,
    };
    setup.config.quota.attempts_max = 4;
    let server = Server::with(setup).await;
    server.bind(rules).await;
    server
}

/// Makes a call with `n` choices that runs into the rule; status and attempts.
async fn run_into(server: &Server, key: &str, n: u32) -> (u16, Option<u64>) {
    let body = with(say("forbidden"), json!({"temperature": 0, "n": n})).to_string();
    let answer = server.with_key(key, Method::POST, CHAT, body).await;
    let attempts = answer.json()["admissibility"]["attempts"].as_u64();
    (answer.status.as_u16(), attempts)
}

#[tokio::test]
async fn when_the_budget_of_a_key_is_used_up_its_calls_run_without_attempts() {
    let rules = ruleset("enforce", "resample");
    let server = rationed(Some(3), &rules).await;
    let (_, one) = server.key(Role::Inference).await;
    let (_, other) = server.key(Role::Inference).await;
    for _ in 0..3 {
        assert_eq!(run_into(&server, &one, 1).await, (200, Some(1)));
    }
    // The rule's `then`, at once: it refuses.
    assert_eq!(run_into(&server, &one, 1).await, (400, None));
    assert_eq!(run_into(&server, &other, 1).await.0, 200, "its own budget");

    let server = rationed(None, &rules).await;
    let (_, key) = server.key(Role::Inference).await;
    for _ in 0..8 {
        assert_eq!(run_into(&server, &key, 1).await, (200, Some(1)));
    }
}

/// Four attempts a call. One choice alone has the two that it needs; of four, each has one.
#[tokio::test]
async fn many_choices_cost_no_more_than_one() {
    let rules = ruleset("enforce", "resample").replace("[\"forbidden\"]", "[forbidden, forbidd#]");
    let server = rationed(None, &rules).await;
    let (_, key) = server.key(Role::Inference).await;
    assert_eq!(run_into(&server, &key, 1).await, (200, Some(2)));
    assert_eq!(run_into(&server, &key, 2).await, (200, Some(4)));
    assert_eq!(run_into(&server, &key, 4).await, (400, None));
}
