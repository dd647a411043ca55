//! Health, metrics, models.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use portcullis_engine::EngineStatus;
use serde_json::json;

use crate::common::{MAX_MODEL_LEN, MODEL, NOW, Server, Setup, ruleset, say, with};

#[tokio::test]
async fn models_are_listed_and_shown() {
    let server = Server::start().await;
    let model = json!({"id": MODEL, "object": "model", "created": NOW - 1,
                       "owned_by": "portcullis", "root": "tests/parrot",
                       "max_model_len": MAX_MODEL_LEN});
    let list = server.get("/v1/models").await.json();
    assert_eq!(list, json!({"object": "list", "data": [model]}));
    assert_eq!(
        server.get(&format!("/v1/models/{MODEL}")).await.json(),
        model
    );
    let unknown = server.get("/v1/models/gpt-5").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(unknown.error()["code"], "model_not_found");
}

#[tokio::test]
async fn the_root_answers_get_and_head() {
    let server = Server::start().await;
    for method in [Method::GET, Method::HEAD] {
        let request = Request::builder()
            .method(method)
            .uri("/")
            .body(Body::empty())
            .unwrap();
        assert_eq!(server.send(request).await.status, StatusCode::OK);
    }
    assert_eq!(
        server.get("/version").await.json()["version"],
        env!("CARGO_PKG_VERSION")
    );
}

#[tokio::test]
async fn health_fails_while_draining_and_liveness_does_not() {
    let server = Server::start().await;
    assert_eq!(server.get("/health").await.status, StatusCode::OK);
    server.engine.drain();
    let health = server.get("/health").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health.error()["code"], "draining");
    assert_eq!(server.get("/live").await.status, StatusCode::OK);
    let call = server.chat(&say("x")).await;
    assert_eq!(call.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(call.error()["code"], "draining");
}

#[tokio::test]
async fn health_fails_once_the_engine_is_gone() {
    let server = Server::start().await;
    let dead = server.chat(&say("die")).await;
    assert_eq!(dead.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(dead.error()["code"], "engine_stopped");
    let health = server.get("/health").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health.error()["code"], "engine_stopped");
}

#[tokio::test]
async fn health_fails_while_a_step_does_not_end() {
    let mut setup = Setup {
        step_time: Duration::from_millis(600),
        ..Setup::default()
    };
    setup.config.stall_timeout = Duration::from_millis(100);
    let server = Server::with(setup).await;
    let body = with(say("xy"), json!({"max_tokens": 2}));
    let call = server.chat(&body);
    let watch = async {
        let mut codes = Vec::new();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            codes.push(server.get("/health").await.status);
        }
        codes
    };
    let (answer, codes) = tokio::join!(call, watch);
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        codes.contains(&StatusCode::SERVICE_UNAVAILABLE),
        "{codes:?}"
    );
    assert_eq!(server.get("/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn metrics_count_what_was_done() {
    let server = Server::start().await;
    server.bind(&ruleset("enforce", "resample")).await;
    server
        .chat(&with(say("say forbidden now"), json!({"temperature": 0})))
        .await;
    server
        .chat(&with(
            say("Hello"),
            json!({"temperature": 0, "stream": true}),
        ))
        .await;
    server.get("/somewhere/else").await;
    // The engine publishes once a step; the last step may still be on its way.
    let is_idle = |status: EngineStatus| (status.running, status.blocks_used) == (0, 0);
    for _ in 0..3000 {
        if is_idle(server.engine.status()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let metrics = server.get("/metrics").await.text;
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{metrics}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    let parrot = "{model_name=\"parrot\"}";
    assert_eq!(
        value(&format!("vllm:prompt_tokens_total{parrot}")),
        (26 + 14) as f64
    );
    assert!(value(&format!("vllm:generation_tokens_total{parrot}")) > 6.0);
    assert_eq!(value(&format!("vllm:num_requests_running{parrot}")), 0.0);
    assert_eq!(value(&format!("vllm:num_requests_waiting{parrot}")), 0.0);
    assert_eq!(value(&format!("vllm:kv_cache_usage_perc{parrot}")), 0.0);
    assert_eq!(
        value(&format!("vllm:e2e_request_latency_seconds_count{parrot}")),
        2.0
    );
    assert_eq!(
        value(&format!("vllm:time_to_first_token_seconds_count{parrot}")),
        2.0
    );
    assert!(value(&format!("vllm:inter_token_latency_seconds_count{parrot}")) > 0.0);
    assert_eq!(
        value("vllm:request_success_total{model_name=\"parrot\",finished_reason=\"stop\"}"),
        2.0
    );
    assert!(metrics.contains("block_size=\"32\",num_gpu_blocks=\"256\"} 1"));
    assert!(value(&format!("portcullis_gate_attempts_total{parrot}")) > 0.0);
    assert!(value(&format!("portcullis_discarded_tokens_total{parrot}")) > 0.0);
    assert!(metrics.contains("portcullis_gate_findings_total{"));
    assert_eq!(
        value("portcullis_http_answers_total{route=\"/v1/chat/completions\",status=\"200\"}"),
        2.0
    );
    // What callers make up is no label.
    assert!(metrics.contains("route=\"none\",status=\"404\"") && !metrics.contains("somewhere"));
    assert!(!metrics.contains("no-word"), "a rule must not be a label");
    assert!(metrics.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_full_queue_is_a_429_with_the_time_to_wait() {
    let setup = Setup {
        max_waiting: 1,
        max_num_seqs: 1,
        step_time: Duration::from_millis(20),
        ..Setup::default()
    };
    let server = Server::with(setup).await;
    let forever = with(say("forever"), json!({"max_tokens": 100}));
    let busy = async || server.chat(&forever).await;
    let (a, b, c, d) = tokio::join!(busy(), busy(), busy(), busy());
    let refused: Vec<_> = [&a, &b, &c, &d]
        .into_iter()
        .filter(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS)
        .collect();
    assert!(
        !refused.is_empty(),
        "{:?}",
        [a.status, b.status, c.status, d.status]
    );
    for answer in refused {
        assert_eq!(answer.headers["retry-after"], "1");
        assert_eq!(answer.error()["code"], "queue_full");
    }
    assert!(
        [&a, &b, &c, &d]
            .iter()
            .any(|answer| answer.status == StatusCode::OK)
    );
}
