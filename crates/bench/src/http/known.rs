//! Streams whose delays are known to the clock, which stands still but for them: what a run reports
//! of them is exact, however busy the machine is.

use std::sync::Arc;
use std::time::Duration;

use axum::http;
use futures::stream::{self, Stream};
use reqwest::Body;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::follow::follow;
use crate::args::WorkloadArgs;
use crate::clock::RunClock;
use crate::load;
use crate::measure::{client_health, summarise};
use crate::plan::Load;
use crate::report::Summary;
use crate::target::{Ask, Prompt, Reply, Target};
use crate::workload::Workload;
use crate::workload::tests::plan;

const TTFT: Duration = Duration::from_millis(200);
const TPOT: Duration = Duration::from_millis(20);
const PROMPTS: usize = 40;
const PLACES: usize = 8;

/// Answers with 32 tokens, so many in a piece, which leaves when its last is there.
struct Known {
    tokens_per_chunk: usize,
}

impl Known {
    fn event(&self, piece: usize, tokens: usize) -> String {
        let event = match piece * self.tokens_per_chunk < tokens {
            true => json!({"choices": [{"delta": {"content": "word "}}]}),
            false => json!({
                "choices": [{"delta": {}, "finish_reason": "length"}],
                "usage": {"prompt_tokens": 20, "completion_tokens": tokens},
            }),
        };
        format!("data: {event}\n\n")
    }

    fn stream(&self, tokens: usize) -> impl Stream<Item = Result<String, std::io::Error>> + use<> {
        let began = Instant::now();
        let pieces = tokens.div_ceil(self.tokens_per_chunk);
        let events = (0..=pieces).map(|piece| {
            let last = ((piece + 1) * self.tokens_per_chunk).min(tokens);
            let due = began + TTFT + TPOT * (last as u32 - 1);
            (due, self.event(piece, tokens))
        });
        stream::unfold(events.collect::<Vec<_>>().into_iter(), |mut events| async {
            let (due, event) = events.next()?;
            sleep_until(due).await;
            Some((Ok(event), events))
        })
    }
}

impl Target for Known {
    async fn answer(&self, ask: &Ask, clock: RunClock) -> Reply {
        let sent = clock.now();
        let mut reply = Reply {
            sent,
            ..Reply::default()
        };
        let body = Body::wrap_stream(self.stream(ask.output_tokens));
        let response = http::Response::new(body).into();
        let silence = Duration::from_secs(60);
        reply.error = follow(response, silence, clock, &mut reply).await.err();
        reply
    }
}

async fn run(tokens_per_chunk: usize) -> Summary {
    let ask = Ask {
        prompt: Prompt::Text("word".into()),
        input_tokens: 20,
        output_tokens: 32,
    };
    let workload = Workload {
        asks: vec![ask; PROMPTS],
        due: vec![0.0; PROMPTS],
        notes: Vec::new(),
    };
    let load = Load {
        request_rate: f64::INFINITY,
        rate_given: false,
        burstiness: 1.0,
        max_concurrency: Some(PLACES),
        duration: None,
    };
    let target = Arc::new(Known { tokens_per_chunk });
    let run = load::run(
        &target,
        &workload,
        &load,
        &Arc::new(()),
        std::future::pending(),
    )
    .await;
    let summary = summarise(std::slice::from_ref(&run), &plan(WorkloadArgs::default()));
    let health = client_health(&[run], &summary);
    assert!(!health.is_bottleneck, "{health:?}");
    summary
}

#[track_caller]
fn close(summary: &Summary, name: &str, expect: f64) {
    let value = summary.latencies[name];
    // A timer of the runtime goes by whole milliseconds: the first delay may be one longer.
    assert!(
        (value - expect).abs() <= 1.0,
        "{name} is {value}, not {expect}"
    );
}

#[tokio::test(start_paused = true)]
async fn delays_that_are_known_are_told_exactly() {
    let summary = run(1).await;
    close(&summary, "median_ttft_ms", 200.0);
    close(&summary, "max_ttft_ms", 200.0);
    close(&summary, "median_tpot_ms", 20.0);
    close(&summary, "max_itl_ms", 20.0);
    close(&summary, "median_e2el_ms", 820.0);
    let expect = 8.0 * 32.0 / 0.82;
    let off = summary.output_throughput / expect - 1.0;
    assert!(off.abs() < 0.005, "{off}");
    assert_eq!((summary.completed, summary.failed), (PROMPTS, 0));
    assert_eq!(summary.max_concurrent_requests, PLACES);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_leave_together_are_told_by_their_definitions() {
    let summary = run(4).await;
    // The first piece waits for its fourth token.
    close(&summary, "median_ttft_ms", 260.0);
    close(&summary, "median_tpot_ms", 560.0 / 31.0);
    close(&summary, "median_itl_ms", 80.0);
    assert_eq!(summary.tokens_per_chunk, 4.0);
}
