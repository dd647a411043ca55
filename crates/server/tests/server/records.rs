//! Calls and their records.

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_ledger::{
    RecordProof, Salt, TrustedKeys, plain_digest, split_bundle, verify_log, verify_record,
};
use portcullis_server::{Prices, TextPolicy};
use portcullis_store::{Role, TextClass};
use serde_json::{Value, json};

use crate::common::{Answer, Recording, Server, Setup, record_keys, ruleset, say, with};

const HEADER: &str = "x-admissibility-record";

fn trusted() -> TrustedKeys {
    let keys = record_keys();
    TrustedKeys::pinned(vec![keys.record.public()], vec![keys.log.public()])
}

/// What an auditor reads.
pub(crate) struct Auditor<'s> {
    server: &'s Server,
    key: String,
}

impl<'s> Auditor<'s> {
    pub(crate) async fn of(server: &'s Server) -> Self {
        let (_, key) = server.key(Role::Auditor).await;
        Self { server, key }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let none = String::new();
        self.server
            .with_key(&self.key, Method::GET, path, none)
            .await
    }

    /// The verified record, and what its two entries say.
    pub(crate) async fn record(&self, id: &str) -> (Value, Value, Value) {
        let answer = self.get(&format!("/v1/admissibility/records/{id}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let body = answer.json();
        let proof: RecordProof = serde_json::from_value(body["proof"].clone()).unwrap();
        let report = verify_record(&proof, &trusted());
        assert!(report.is_sound(), "{:?}", report.faults);
        let opened = said(&body["proof"]["opened"]);
        let closed = said(&body["proof"]["closed"]);
        (body, opened, closed)
    }
}

/// The predicate of a signed entry.
fn said(entry: &Value) -> Value {
    let payload = STANDARD
        .decode(entry["envelope"]["payload"].as_str().unwrap())
        .unwrap();
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    statement["predicate"].clone()
}

/// The record that an answer names, in its header and in its body.
pub(crate) fn named(answer: &Answer) -> String {
    let id = answer.headers[HEADER].to_str().unwrap().to_owned();
    let in_body = match answer.text.starts_with("data: ") {
        true => answer.chunks().pop().unwrap()["admissibility"]["record_id"].clone(),
        false => answer.json()["admissibility"]["record_id"].clone(),
    };
    assert_eq!(in_body, id.as_str(), "{}", answer.text);
    id
}

async fn chat(server: &Server, key: &str, body: Value) -> Answer {
    let path = "/v1/chat/completions";
    server
        .with_key(key, Method::POST, path, body.to_string())
        .await
}

#[tokio::test]
async fn a_record_says_what_was_asked_and_what_left() {
    let server = Server::with_records().await;
    let (caller, key) = server.key(Role::Inference).await;
    let auditor = Auditor::of(&server).await;
    for (seq, stream) in [false, true].into_iter().enumerate() {
        let body = with(
            say("good day"),
            json!({"stream": stream, "temperature": 0, "seed": 7}),
        );
        let answer = chat(&server, &key, body.clone()).await;
        let (record, opened, closed) = auditor.record(&named(&answer)).await;
        assert_eq!(record["outcome"], "finished");
        assert_eq!(record["key"], caller.id.as_str());
        assert_eq!(record["seq"], seq);
        assert_eq!(
            opened["key_id_hash"],
            plain_digest(caller.id.as_str().as_bytes())
        );
        assert_eq!(opened["sampling"]["seeds"], json!(["7"]));
        assert_eq!(opened["rulesets"], json!([]));
        let salt: Salt = serde_json::from_value(record["proof"]["salt"].clone()).unwrap();
        assert_eq!(
            opened["request_commitment"],
            salt.of("request").commit(body.to_string().as_bytes())
        );
        assert_eq!(
            closed["choices"][0]["output_commitment"],
            salt.of("choice/0").commit(b"good day")
        );
        assert_eq!(closed["choices"][0]["released_bytes"], 8);
        assert_eq!(closed["choices"][0]["finish_reason"], "stop");
        assert_eq!(closed["usage"]["released"], record["usage"]["released"]);
        let status = match stream {
            true => answer.chunks().pop().unwrap()["admissibility"]["status"].clone(),
            false => answer.json()["admissibility"]["status"].clone(),
        };
        assert_eq!(status, "ungated");
    }
}

#[tokio::test]
async fn what_the_gate_did_is_on_record() {
    // Action, outcome, finish reason, attempts at least, action on record.
    let cases = [
        ("redact", "finished", "stop", 0, "redact"),
        ("flag", "finished", "stop", 0, "flag"),
        ("reject", "refused", "content_filter", 0, "reject"),
        ("resample", "finished", "stop", 1, "resample"),
    ];
    for (action, outcome, reason, attempts, acted) in cases {
        let server = Server::with_records().await;
        server.bind(&ruleset("enforce", action)).await;
        let (_, key) = server.key(Role::Inference).await;
        let auditor = Auditor::of(&server).await;
        let body = with(say("The forbidden"), json!({"temperature": 0}));
        let answer = chat(&server, &key, body).await;
        let (_, opened, closed) = auditor.record(&named(&answer)).await;
        assert_eq!(closed["outcome"], outcome, "{action}: {}", answer.text);
        assert_eq!(opened["rulesets"][0]["name"], "test-rules");
        assert_eq!(opened["rulesets"][0]["mode"], "enforce");
        assert_eq!(closed["choices"][0]["finish_reason"], reason, "{action}");
        let resampled = closed["resampling"]["attempts"].as_u64().unwrap_or(0);
        assert!(resampled >= attempts, "{action}: {closed}");
        assert_eq!(closed["findings"][0]["action"], acted);
        assert_eq!(closed["checks"][0]["fail"], json!(["no-word"]));
        assert_eq!(closed["findings"][0]["rule"], "no-word");
    }
}

#[tokio::test]
async fn refusals_are_named_and_on_record_too() {
    let server = Server::with_records().await;
    server.bind(&ruleset("enforce", "reject")).await;
    let input = ruleset("enforce", "reject")
        .replace("test-rules", "input-rules")
        .replace("action: reject", "on: input, action: reject")
        .replace("forbidden", "secret");
    server.bind(&input).await;
    let (_, key) = server.key(Role::Inference).await;
    let auditor = Auditor::of(&server).await;
    for (text, ruleset, prompt_is_known) in [
        ("forbidden fruit", "test-rules", true),
        ("a secret", "input-rules", false),
    ] {
        for stream in [false, true] {
            let body = with(say(text), json!({"stream": stream, "temperature": 0}));
            let answer = chat(&server, &key, body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
            let (_, opened, closed) = auditor.record(&named(&answer)).await;
            assert_eq!(answer.json()["admissibility"]["status"], "refused");
            assert_eq!(closed["outcome"], "refused");
            assert_eq!(closed["refused_by"]["ruleset"], ruleset);
            assert_eq!(closed["choices"][0]["released_bytes"], 0);
            let statuses = closed["checks"].as_array().unwrap().iter();
            let failed = statuses.filter(|it| it["fail"] == json!(["no-word"]));
            assert_eq!(failed.count(), 1, "{closed}");
            let passed = |on: &str| {
                let checks = closed["checks"].as_array().unwrap().iter();
                checks
                    .filter(|it| it["on"] == on && it["pass"] == json!(["no-word"]))
                    .count()
            };
            // What the model never wrote was judged by nobody.
            assert_eq!(
                (passed("input"), passed("output")),
                (prompt_is_known.into(), 0)
            );
            assert_eq!(
                !opened["prompt_commitments"].as_array().unwrap().is_empty(),
                prompt_is_known
            );
        }
    }
}

#[tokio::test]
async fn what_is_no_call_is_not_on_record() {
    let server = Server::with_records().await;
    let auditor = Auditor::of(&server).await;
    let (_, key) = server.key(Role::Inference).await;
    let answer = chat(&server, &key, with(say("hi"), json!({"temperature": 9}))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(!answer.headers.contains_key(HEADER));
    let list = auditor.get("/v1/admissibility/records").await.json();
    assert_eq!(list["data"], json!([]));
}

#[tokio::test]
async fn a_call_that_cannot_be_computed_is_on_record() {
    let server = Server::with(Setup {
        faulty: |_| true,
        records: Some(Recording::default()),
        ..Setup::default()
    })
    .await;
    let (_, key) = server.key(Role::Inference).await;
    let auditor = Auditor::of(&server).await;
    let answer = chat(&server, &key, say("hi")).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    let id = named(&answer);
    // The rest of the call is waited for behind the answer.
    for _ in 0..3000 {
        let path = format!("/v1/admissibility/records/{id}");
        if auditor.get(&path).await.json()["outcome"] == "engine_error" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (_, _, closed) = auditor.record(&id).await;
    assert_eq!(closed["outcome"], "engine_error");
}

#[tokio::test]
async fn the_log_is_served_in_tiles_and_verifies() {
    let server = Server::with_records().await;
    let (_, key) = server.key(Role::Inference).await;
    let auditor = Auditor::of(&server).await;
    for _ in 0..3 {
        chat(&server, &key, say("a word")).await;
    }
    let checkpoint = auditor.get("/v1/admissibility/checkpoint").await.text;
    let metrics = server.get("/metrics").await.text;
    assert!(
        metrics.contains("portcullis_ledger_entries 7\n"),
        "{metrics}"
    );
    assert!(metrics.contains("portcullis_ledger_failing 0\n"));
    // A start, and two entries for each call.
    assert_eq!(checkpoint.lines().nth(1), Some("7"));
    let tile = |path: &str| {
        let path = format!("/v1/admissibility/tile/{path}");
        let request = axum::http::Request::get(path)
            .header("Authorization", format!("Bearer {}", auditor.key))
            .body(axum::body::Body::empty());
        raw(&server, request.unwrap())
    };
    let (status, bundle) = tile("entries/000.p/7").await;
    assert_eq!(status, StatusCode::OK);
    let entries = split_bundle(&bundle).unwrap().into_iter();
    let entries = entries.map(|entry| Ok::<_, std::io::Error>(entry.to_vec()));
    let report = verify_log(entries, &checkpoint, &trusted());
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!(report.calls, 3);
    let (status, hashes) = tile("0/000.p/7").await;
    assert_eq!((status, hashes.len()), (StatusCode::OK, 7 * 32));
    for beyond in [
        "0/000.p/8",
        "0/000",
        "1/000.p/1",
        "entries/001.p/1",
        "63/000.p/1",
        "..",
        "x",
    ] {
        assert_eq!(tile(beyond).await.0, StatusCode::NOT_FOUND, "{beyond}");
    }
}

async fn raw(
    server: &Server,
    request: axum::http::Request<axum::body::Body>,
) -> (StatusCode, Vec<u8>) {
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    let router = portcullis_server::router(server.state.clone());
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, bytes.to_vec())
}

#[tokio::test]
async fn records_are_for_auditors() {
    let server = Server::with_records().await;
    let (_, key) = server.key(Role::Inference).await;
    let id = named(&chat(&server, &key, say("hi")).await);
    let (_, author) = server.key(Role::Author).await;
    let paths = ["records", "checkpoint", "keys", "tile/0/000.p/1"];
    let paths = paths.map(|path| format!("/v1/admissibility/{path}"));
    let more = [
        format!("/v1/admissibility/records/{id}"),
        "/v1/usage".to_owned(),
    ];
    for path in paths.iter().chain(&more) {
        for key in [&key, &author] {
            let answer = server.with_key(key, Method::GET, path, String::new()).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        }
        assert_eq!(
            server.get(path).await.status,
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
    }
    let auditor = Auditor::of(&server).await;
    let path = format!("/v1/admissibility/records/{id}/text");
    let erased = server
        .with_key(&auditor.key, Method::DELETE, &path, String::new())
        .await;
    assert_eq!(
        erased.status,
        StatusCode::FORBIDDEN,
        "an auditor changes nothing"
    );
    for none in ["rec_0", "rec_00000000000000000000000000000000"] {
        let answer = auditor
            .get(&format!("/v1/admissibility/records/{none}"))
            .await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn records_are_found_by_what_they_were() {
    let server = Server::with_records().await;
    server.bind(&ruleset("enforce", "reject")).await;
    let (caller, key) = server.key(Role::Inference).await;
    let (_, other) = server.key(Role::Inference).await;
    chat(
        &server,
        &key,
        with(say("The forbidden"), json!({"temperature": 0})),
    )
    .await;
    chat(&server, &key, say("ok")).await;
    chat(&server, &other, say("ok")).await;
    let auditor = Auditor::of(&server).await;
    let found = async |query: &str| {
        let answer = auditor
            .get(&format!("/v1/admissibility/records{query}"))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text);
        answer.json()["data"].as_array().unwrap().len()
    };
    assert_eq!(found("").await, 3);
    assert_eq!(found(&format!("?key={}", caller.id)).await, 2);
    assert_eq!(found("?outcome=refused").await, 1);
    assert_eq!(found("?outcome=open").await, 0);
    assert_eq!(found("?ruleset=test-rules@1&deployment=parrot").await, 3);
    assert_eq!(found("?ruleset=test-rules@2").await, 0);
    assert_eq!(found("?since=2023-11-14&until=2023-11-15").await, 3);
    assert_eq!(found("?since=2023-11-15").await, 0);
    let page = auditor
        .get("/v1/admissibility/records?limit=2")
        .await
        .json();
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
    assert_eq!(found(&format!("?limit=2&after={}", page["next"])).await, 1);
    for (query, param) in [
        ("outcome=fine", "outcome"),
        ("since=now", "since"),
        ("limit=0", "limit"),
        ("ruleset=a@b", "ruleset"),
    ] {
        let answer = auditor
            .get(&format!("/v1/admissibility/records?{query}"))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.error()["param"], param);
    }
}

#[tokio::test]
async fn usage_is_counted_and_priced() {
    let prices = Prices {
        prompt: 1.0,
        released: 2.0,
        ..Prices::default()
    };
    let recording = Recording {
        prices,
        ..Recording::default()
    };
    let server = Server::with(Setup {
        records: Some(recording),
        ..Setup::default()
    })
    .await;
    let (caller, key) = server.key(Role::Inference).await;
    let answer = chat(&server, &key, say("hi")).await.json();
    chat(&server, &key, say("hi")).await;
    let auditor = Auditor::of(&server).await;
    let usage = auditor.get("/v1/usage").await.json();
    let row = &usage["data"][0];
    assert_eq!(usage["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&row["calls"], &row["day"]),
        (&json!(2), &json!("2023-11-14"))
    );
    assert_eq!(row["key"], caller.id.as_str());
    assert_eq!(row["model"], "parrot");
    let released = answer["usage"]["completion_tokens"].as_u64().unwrap() * 2;
    assert_eq!(row["tokens"]["released"], released);
    let tokens = |kind: &str| row["tokens"][kind].as_u64().unwrap() as f64;
    let cost = (tokens("prompt") - tokens("cached") + 2.0 * tokens("released")) / 1e6;
    assert!((row["cost"].as_f64().unwrap() - cost).abs() < 1e-12);
    let by_model = auditor.get("/v1/usage?by=model").await.json();
    assert_eq!(by_model["data"][0].get("day"), None);
    assert_eq!(
        auditor.get("/v1/usage?by=hour").await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn texts_are_kept_where_asked_and_erased_while_the_log_stands() {
    let class = |name: &str| TextClass {
        name: name.into(),
        keep_s: 60,
    };
    let texts = TextPolicy {
        requests: true,
        outputs: true,
        classes: vec![class("short"), class("long")],
    };
    let recording = Recording {
        texts,
        ..Recording::default()
    };
    let server = Server::with(Setup {
        records: Some(recording),
        ..Setup::default()
    })
    .await;
    let (_, key) = server.key(Role::Inference).await;
    let (_, admin) = server.key(Role::Admin).await;
    let auditor = Auditor::of(&server).await;
    let body = with(
        say("my words"),
        json!({"temperature": 0, "admissibility": {"retention": "long"}}),
    );
    let id = named(&chat(&server, &key, body.clone()).await);
    let path = format!("/v1/admissibility/records/{id}");
    let text = kept(&auditor, &id).await;
    assert_eq!(text["outputs"], json!(["my words"]));
    assert_eq!(text["request"], body.to_string());
    assert_eq!(text["class"], "long");
    let as_admin =
        async |method, path: String| server.with_key(&admin, method, &path, String::new()).await;
    assert_eq!(
        as_admin(Method::PUT, format!("{path}/hold")).await.status,
        StatusCode::NO_CONTENT
    );
    let held = as_admin(Method::DELETE, format!("{path}/text")).await;
    assert_eq!(
        (held.status, held.error()["code"].as_str()),
        (StatusCode::CONFLICT, Some("legal_hold"))
    );
    assert_eq!(
        as_admin(Method::DELETE, format!("{path}/hold"))
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    let erased = as_admin(Method::DELETE, format!("{path}/text")).await;
    assert_eq!(erased.json()["records"], 1);
    assert_eq!(
        auditor.get(&format!("{path}/text")).await.status,
        StatusCode::NOT_FOUND
    );
    let (record, _, closed) = auditor.record(&id).await;
    assert_eq!(
        record["proof"]["salt"],
        Value::Null,
        "and with it every guess"
    );
    assert_eq!(closed["outcome"], "finished");
    let unknown = with(say("x"), json!({"admissibility": {"retention": "forever"}}));
    let answer = chat(&server, &key, unknown).await;
    assert_eq!(answer.error()["param"], "admissibility.retention");
}

/// Texts are written beside the answer, so they may come a moment later.
async fn kept(auditor: &Auditor<'_>, id: &str) -> Value {
    for _ in 0..3000 {
        let answer = auditor
            .get(&format!("/v1/admissibility/records/{id}/text"))
            .await;
        if answer.status == StatusCode::OK {
            return answer.json();
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the text of {id} is not kept");
}

#[tokio::test]
async fn a_server_without_records_says_so() {
    let server = Server::start().await;
    let answer = server.chat(&say("hi")).await;
    assert!(!answer.headers.contains_key(HEADER));
    assert_eq!(answer.json().get("admissibility"), None);
    let auditor = Auditor::of(&server).await;
    let answer = auditor.get("/v1/admissibility/records").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.error()["code"], "no_ledger");
}
