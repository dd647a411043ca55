//! `/v1/embeddings`, by a model that a test holds by the hand.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_engine::{Embedder, EmbeddingError, EmbeddingLimits, EmbeddingThread};
use portcullis_ledger::{ModelDigests, Salt};
use portcullis_server::{ServedEmbedder, ServerConfig, router};
use portcullis_store::{BindingTarget, KeyLimits, Role};
use portcullis_text::EncoderTokenizer;
use portcullis_types::TokenId;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::common::{Answer, MODEL, NOW, Recording, Server, Setup, post, ruleset, say, with};
use crate::limits::{NO_LIMITS, header_of, limit, refused};
use crate::records::{Auditor, named};

const EMBEDDER: &str = "encoder";
/// Tokens of one text.
const MAX_TOKENS: usize = 12;
/// `the cat`, with the control tokens around it.
const THE_CAT: [TokenId; 6] = [2, 63, 7, 31, 50, 3];
/// A text with this token breaks the model: `z`.
const DEADLY: TokenId = 30;

/// The vector of a text is its length and what stands first behind `[CLS]`.
struct Scripted(Option<Receiver<()>>);

impl Embedder for Scripted {
    fn embed(&mut self, texts: &[&[TokenId]]) -> Result<Vec<Vec<f32>>, EmbeddingError> {
        if let Some(permits) = &self.0 {
            // A test that has ended gives no more, and asks for nothing.
            permits.recv().unwrap_or_default();
        }
        assert!(!texts.iter().any(|text| text.contains(&DEADLY)), "scripted");
        let vector = |text: &&[TokenId]| {
            let first = text.get(1).copied().unwrap_or_default();
            vec![text.len() as f32, first as f32 / 10.0]
        };
        Ok(texts.iter().map(vector).collect())
    }
}

fn embedder(permits: Option<Receiver<()>>) -> ServedEmbedder {
    let limits = EmbeddingLimits {
        max_batched_tokens: 64,
        max_waiting: 2,
        max_waiting_tokens: 1000,
    };
    let (handle, _) = EmbeddingThread::start(limits, Scripted(permits)).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../text/tests/fixtures/word_piece");
    ServedEmbedder {
        deployment: EMBEDDER.parse().unwrap(),
        root: "tests/encoder".into(),
        max_tokens: MAX_TOKENS,
        dimensions: 2,
        vocab_size: 64,
        digests: ModelDigests {
            model_digest: "the encoder's".into(),
            ..ModelDigests::default()
        },
        created_unix: NOW - 2,
        tokenizer: EncoderTokenizer::load(&fixture).unwrap(),
        handle,
    }
}

fn setup(permits: Option<Receiver<()>>) -> Setup {
    Setup {
        config: ServerConfig {
            max_embedding_texts: 4,
            max_embedding_tokens: 40,
            ..Setup::default().config
        },
        records: Some(Recording::default()),
        embedder: Some(embedder(permits)),
        ..Setup::default()
    }
}

async fn start() -> Server {
    Server::with(setup(None)).await
}

/// A server whose model computes a batch for each permit.
async fn start_held() -> (Server, SyncSender<()>) {
    let (permit, permits) = sync_channel(100);
    (Server::with(setup(Some(permits))).await, permit)
}

fn asking(input: &Value) -> Value {
    json!({"model": EMBEDDER, "input": input})
}

async fn embed(server: &Server, body: &Value) -> Answer {
    server.post("/v1/embeddings", body).await
}

#[tokio::test]
async fn an_answer_is_as_openai_has_it() {
    let server = start().await;
    let answer = embed(&server, &asking(&json!("the cat"))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let mut body = answer.json();
    let admissibility = body.as_object_mut().unwrap().remove("admissibility");
    let vector = json!({"object": "embedding", "index": 0, "embedding": [6.0, 6.3]});
    let expect = json!({"object": "list", "data": [vector], "model": EMBEDDER,
                        "usage": {"prompt_tokens": 6, "total_tokens": 6}});
    assert_eq!(body, expect);
    assert_eq!(admissibility.unwrap()["status"], "ungated");
}

#[tokio::test]
async fn texts_come_in_four_forms_and_vectors_in_their_order() {
    let server = start().await;
    let cases = [
        (json!("the cat"), vec![(6.0, 6.3)]),
        (
            json!(["a", "the cat", "b"]),
            vec![(3.0, 0.5), (6.0, 6.3), (3.0, 0.6)],
        ),
        // Tokens are taken as they are.
        (json!([63, 7, 31, 50]), vec![(4.0, 0.7)]),
        (json!([THE_CAT, [2, 3]]), vec![(6.0, 6.3), (2.0, 0.3)]),
    ];
    for (input, expect) in cases {
        let answer = embed(&server, &asking(&input)).await.json();
        let data = answer["data"].as_array().unwrap();
        assert_eq!(data.len(), expect.len());
        for (index, (entry, (len, first))) in data.iter().zip(expect).enumerate() {
            assert_eq!(entry["index"], index);
            let vector: Vec<f32> = serde_json::from_value(entry["embedding"].clone()).unwrap();
            assert_eq!(vector, [len, first], "{input}");
        }
    }
}

#[tokio::test]
async fn base64_holds_the_same_numbers() {
    let server = start().await;
    let body = with(
        asking(&json!("the cat")),
        json!({"encoding_format": "base64"}),
    );
    let answer = embed(&server, &body).await.json();
    let bytes = STANDARD
        .decode(answer["data"][0]["embedding"].as_str().unwrap())
        .unwrap();
    let (numbers, rest) = bytes.as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|n| f32::from_le_bytes(*n)).collect();
    assert_eq!((numbers.as_slice(), rest.len()), (&[6.0, 6.3f32][..], 0));
}

#[tokio::test]
async fn a_control_token_in_a_text_is_text() {
    let server = start().await;
    let answer = embed(&server, &asking(&json!("[SEP]"))).await.json();
    // `[`, `s`, `##e`, `##p`, `]` and two around them.
    assert_eq!(answer["data"][0]["embedding"][0], 7.0);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let server = start().await;
    let check = async |more: Value, param: &str, code: &str| {
        let body = with(asking(&json!("a")), more);
        let answer = embed(&server, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let error = answer.error();
        assert_eq!(
            (&error["param"], &error["code"]),
            (&json!(param), &json!(code)),
            "{error}"
        );
        assert_eq!(error["type"], "invalid_request_error");
    };
    let invalid = "invalid_value";
    let missing = "missing_required_parameter";
    check(json!({"model": null}), "model", missing).await;
    check(json!({"input": null}), "input", missing).await;
    check(json!({"input": 1.5}), "input", invalid).await;
    check(json!({"input": ""}), "input", invalid).await;
    check(json!({"input": []}), "input", invalid).await;
    check(json!({"input": ["a", ""]}), "input.[1]", invalid).await;
    check(json!({"input": [[5], []]}), "input.[1]", invalid).await;
    check(json!({"input": [5, 64]}), "input", invalid).await;
    check(json!({"input": [[5], [64]]}), "input.[1]", invalid).await;
    check(json!({"input": [5, -1]}), "input", invalid).await;
    check(
        json!({"input": ["a", "a", "a", "a", "a"]}),
        "input",
        invalid,
    )
    .await;
    // 4 times 11 tokens: each may be, together they may not.
    check(
        json!({"input": ["abcdefghi", "abcdefghi", "abcdefghi", "abcdefghi"]}),
        "input",
        invalid,
    )
    .await;
    let overflow = "context_length_exceeded";
    check(json!({"input": "abcdefghijk"}), "input", overflow).await;
    check(
        json!({"input": ["a", "abcdefghijk"]}),
        "input.[1]",
        overflow,
    )
    .await;
    check(json!({"input": vec![5; MAX_TOKENS + 1]}), "input", overflow).await;
    check(
        json!({"encoding_format": "int8"}),
        "encoding_format",
        invalid,
    )
    .await;
    check(json!({"dimensions": 1}), "dimensions", invalid).await;
    check(json!({"dimensions": "2"}), "dimensions", invalid).await;
    check(json!({"user": 1}), "user", invalid).await;
    check(json!({"model": MODEL}), "model", invalid).await;
    let whole = json!({"dimensions": 2, "user": "ada", "encoding_format": "float"});
    let fine = embed(&server, &with(asking(&json!("abcdefghij")), whole)).await;
    assert_eq!(fine.status, StatusCode::OK, "{}", fine.text);
}

#[tokio::test]
async fn models_are_told_apart() {
    let server = start().await;
    let list = server.get("/v1/models").await.json();
    let ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["id"])
        .collect();
    assert_eq!(ids, [MODEL, EMBEDDER]);
    let shown = server.get(&format!("/v1/models/{EMBEDDER}")).await.json();
    assert_eq!(shown["max_model_len"], MAX_TOKENS);
    let unknown = embed(&server, &json!({"model": "ada", "input": "a"})).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let chat = server
        .chat(&with(say("x"), json!({"model": EMBEDDER})))
        .await;
    assert_eq!(chat.status, StatusCode::NOT_FOUND);
    let without = Server::start().await;
    let answer = embed(&without, &json!({"model": MODEL, "input": "a"})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let said = answer.error()["message"].to_string();
    assert!(said.contains("--embedding-model"), "{said}");
}

/// A rule on prompts, bound to the embedding model.
async fn bind_input_rule(server: &Server, action: &str) {
    let source = ruleset("enforce", action).replace("phrases:", "on: input, phrases:");
    let name = server.activate(&source).await;
    let target = BindingTarget::Deployment(EMBEDDER.parse().unwrap());
    server.bind_to(&name, None, target).await;
}

#[tokio::test]
async fn a_rule_on_prompts_refuses_a_text_and_that_is_on_record() {
    let server = start().await;
    bind_input_rule(&server, "reject").await;
    let (_, key) = server.key(Role::Inference).await;
    let auditor = Auditor::of(&server).await;
    let words = json!("forbidden");
    // The same in tokens: they are read as the text that they are.
    let tokens = json!([10, 45, 48, 32, 39, 34, 34, 35, 44]);
    for input in [words, json!(["fine", "forbidden"]), tokens] {
        let body = asking(&input).to_string();
        let answer = server
            .with_key(&key, Method::POST, "/v1/embeddings", body)
            .await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{input}: {}",
            answer.text
        );
        assert_eq!(answer.error()["type"], "admissibility_error");
        assert_eq!(answer.error()["code"], "test-rules@1/no-word");
        let (_, opened, closed) = auditor.record(&named(&answer)).await;
        assert_eq!(opened["endpoint"], "/v1/embeddings");
        assert_eq!(opened["prompt_commitments"], json!([]));
        assert_eq!(
            (&closed["outcome"], &closed["refused_by"]["rule"]),
            (&json!("refused"), &json!("no-word"))
        );
    }
    let body = asking(&json!("fine")).to_string();
    let fine = server
        .with_key(&key, Method::POST, "/v1/embeddings", body)
        .await;
    assert_eq!(fine.json()["admissibility"]["status"], "admitted");
}

#[tokio::test]
async fn a_redacted_text_is_embedded_as_it_was_left() {
    let server = start().await;
    let before = embed(&server, &asking(&json!("forbidden"))).await.json();
    bind_input_rule(&server, "redact").await;
    let after = embed(&server, &asking(&json!("forbidden"))).await.json();
    let len = |answer: &Value| answer["data"][0]["embedding"][0].as_f64().unwrap();
    assert_eq!(len(&before), 11.0);
    // `[redacted]`
    assert_eq!(len(&after), 12.0, "{after}");
    let finding = &after["admissibility"]["findings"][0];
    assert_eq!(
        (&finding["action"], &finding["on"]),
        (&json!("redact"), &json!("input"))
    );
}

#[tokio::test]
async fn a_call_is_on_record_with_the_model_that_it_was_for() {
    let server = start().await;
    let (_, key) = server.key(Role::Inference).await;
    let auditor = Auditor::of(&server).await;
    let body = asking(&json!(["the cat", "a"])).to_string();
    let path = "/v1/embeddings";
    let answer = server
        .with_key(&key, Method::POST, path, body.clone())
        .await;
    let (record, opened, closed) = auditor.record(&named(&answer)).await;
    assert_eq!(opened["endpoint"], path);
    assert_eq!(opened["deployment"], EMBEDDER);
    assert_eq!(opened["model_digest"], "the encoder's");
    assert_eq!(opened["choices"], 0);
    let salt: Salt = serde_json::from_value(record["proof"]["salt"].clone()).unwrap();
    let request = salt.of("request").commit(body.as_bytes());
    assert_eq!(opened["request_commitment"], request);
    let tokens: Vec<u8> = THE_CAT.iter().flat_map(|id| id.to_le_bytes()).collect();
    let prompt = salt.of("prompt/0").commit(&tokens);
    assert_eq!(opened["prompt_commitments"][0], prompt);
    assert_eq!(closed["outcome"], "finished");
    assert_eq!(closed["choices"], json!([]));
    assert_eq!(
        (&closed["usage"]["prompt"], &closed["usage"]["released"]),
        (&json!(9), &json!(0))
    );
    let usage = auditor.get("/v1/usage?by=model").await.json();
    assert_eq!(usage["data"][0]["model"], EMBEDDER);
    assert_eq!(usage["data"][0]["tokens"]["prompt"], 9);
}

/// The outcomes of all calls, once so many have ended.
async fn outcomes(auditor: &Auditor<'_>, ended: usize) -> Vec<String> {
    for _ in 0..500 {
        let list = auditor.get("/v1/admissibility/records").await.json();
        let outcomes: Vec<_> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["outcome"].as_str().unwrap().to_owned())
            .collect();
        if outcomes.iter().filter(|it| *it != "open").count() == ended {
            return outcomes;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the calls have not ended")
}

#[tokio::test]
async fn a_text_that_breaks_the_model_fails_alone() {
    let server = start().await;
    let failed = embed(&server, &asking(&json!("z"))).await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(failed.headers.contains_key("x-admissibility-record"));
    let fine = embed(&server, &asking(&json!("a"))).await;
    assert_eq!(fine.status, StatusCode::OK);
    let auditor = Auditor::of(&server).await;
    let mut outcomes = outcomes(&auditor, 2).await;
    outcomes.sort();
    assert_eq!(outcomes, ["engine_error", "finished"]);
}

fn send(server: &Server, input: &Value) -> tokio::task::JoinHandle<StatusCode> {
    let request = post("/v1/embeddings", asking(input).to_string());
    let answer = router(server.state.clone()).oneshot(request);
    tokio::spawn(async { answer.await.unwrap().status() })
}

/// Waits until so many calls are under way.
async fn until_running(server: &Server, calls: usize) {
    let expect = format!("portcullis_embedding_running{{model_name=\"{EMBEDDER}\"}} {calls}\n");
    for _ in 0..3000 {
        if server.get("/metrics").await.text.contains(&expect) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{expect} is not reached")
}

#[tokio::test]
async fn a_full_queue_is_a_429_and_the_model_that_answers_goes_on() {
    let (server, permit) = start_held().await;
    let waiting = [json!("a"), json!("b")].map(|input| send(&server, &input));
    until_running(&server, 2).await;
    let full = embed(&server, &asking(&json!("c"))).await;
    assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(full.headers["retry-after"], "1");
    assert_eq!(full.error()["code"], "queue_full");
    let chat = server.chat(&say("good day")).await;
    assert_eq!(chat.status, StatusCode::OK, "{}", chat.text);
    (0..10).for_each(|_| permit.send(()).unwrap());
    for call in waiting {
        assert_eq!(call.await.unwrap(), StatusCode::OK);
    }
    let metrics = server.get("/metrics").await.text;
    let finished = format!("portcullis_embedding_finished_total{{model_name=\"{EMBEDDER}\"}} 2\n");
    assert!(metrics.contains(&finished), "{metrics}");
}

#[tokio::test]
async fn a_reader_who_goes_away_cancels_and_that_is_on_record() {
    let (server, permit) = start_held().await;
    let auditor = Auditor::of(&server).await;
    let (_, key) = server.key(Role::Inference).await;
    let body = asking(&json!(["a", "b"])).to_string();
    let call = server.with_key(&key, Method::POST, "/v1/embeddings", body);
    tokio::select! {
        answer = call => panic!("the model is held: {}", answer.text),
        () = until_running(&server, 1) => {}
    }
    assert_eq!(outcomes(&auditor, 1).await, ["client_gone"]);
    (0..10).for_each(|_| permit.send(()).unwrap());
    until_running(&server, 0).await;
}

#[tokio::test]
async fn it_takes_a_key_for_inference() {
    let server = start().await;
    let (_, inference) = server.key(Role::Inference).await;
    let (_, auditor) = server.key(Role::Auditor).await;
    let of = async |key| {
        let body = asking(&json!("a")).to_string();
        let answer = server.with_key(key, Method::POST, "/v1/embeddings", body);
        answer.await.status
    };
    assert_eq!(of(&inference).await, StatusCode::OK);
    assert_eq!(of(&auditor).await, StatusCode::FORBIDDEN);
    assert_eq!(of("no key").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_is_held_to_its_limits() {
    let (server, permit) = start_held().await;
    (0..10).for_each(|_| permit.send(()).unwrap());
    let (_, key) = server
        .key_within(KeyLimits {
            tokens_per_minute: limit(10),
            max_concurrent_requests: limit(1),
            ..NO_LIMITS
        })
        .await;
    let ask = async |input: Value| {
        let body = asking(&input).to_string();
        let path = "/v1/embeddings";
        server.with_key(&key, Method::POST, path, body).await
    };
    let too_many = ask(json!(["the cat", "the cat"])).await;
    refused(&too_many);
    for remaining in ["4", "1"] {
        let input = if remaining == "4" { "the cat" } else { "a" };
        let answer = ask(json!(input)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(header_of(&answer, "remaining-tokens"), Some(remaining));
    }
    refused(&ask(json!("a")).await);
}
