//! The file that a run leaves: summary under the names of `vllm bench serve`, and every request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outcome::Outcome;

/// What `--output FILE.json` holds. `compare` and `plot` read it back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Of the whole run, all repeats together.
    #[serde(flatten)]
    pub summary: Summary,
    /// What the server was asked through: `openai-chat`, `openai`, or `in-process`.
    #[serde(default)]
    pub backend: String,
    /// What the server calls the model.
    #[serde(default)]
    pub model_id: String,
    /// Requests of a repeat.
    #[serde(default)]
    pub num_prompts: usize,
    /// What was asked for, every default written out.
    #[serde(default)]
    pub workload: Value,
    /// What the figures mean, by their names.
    #[serde(default)]
    pub definitions: BTreeMap<String, String>,
    /// Whether the client kept up.
    #[serde(default)]
    pub client: ClientHealth,
    /// What a reader should know before trusting the figures.
    #[serde(default)]
    pub notes: Vec<String>,
    /// One summary a repeat, for intervals of confidence.
    pub repeats: Vec<Summary>,
    /// What was run, on what.
    pub environment: Environment,
    /// Every request of the last repeat.
    pub requests: Vec<Outcome>,
}

/// Figures of a run, named as `vllm bench serve` names them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Requests answered whole.
    pub completed: usize,
    /// Requests that failed.
    pub failed: usize,
    /// Of the run, s.
    pub duration: f64,
    /// Requests a second that were asked for; `None` sends all at once.
    pub request_rate: Option<f64>,
    /// 1 is Poisson, below is burstier.
    pub burstiness: f64,
    /// Requests under way at most; `None` is no bound.
    pub max_concurrency: Option<usize>,
    /// Prompt tokens of completed requests.
    pub total_input_tokens: usize,
    /// Completion tokens of completed requests.
    pub total_output_tokens: usize,
    /// Completed requests, 1/s.
    pub request_throughput: f64,
    /// Requests within `--goodput`, 1/s.
    pub request_goodput: Option<f64>,
    /// Completion tokens, 1/s.
    pub output_throughput: f64,
    /// Prompt and completion tokens, 1/s.
    pub total_token_throughput: f64,
    /// Most requests that were under way at once.
    #[serde(default)]
    pub max_concurrent_requests: usize,
    /// Tokens of a piece of a stream, on average.
    #[serde(default)]
    pub tokens_per_chunk: f64,
    /// What the gate cost, if the server tells.
    #[serde(default)]
    pub gate: Option<GateSummary>,
    /// `mean_ttft_ms`, `median_ttft_ms`, `std_ttft_ms`, `p99_ttft_ms`; so for `tpot`, `itl`
    /// and `e2el`.
    #[serde(flatten)]
    pub latencies: BTreeMap<String, f64>,
}

/// What the gate cost a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GateSummary {
    /// From the first token drawn to the first one released, mean, ms.
    pub mean_first_held_ms: f64,
    /// Longest that released text waited for its verdict, mean over requests, ms.
    pub mean_held_ms: f64,
    /// Attempts a request: 1 if nothing was refused.
    pub mean_attempts: f64,
    /// Tokens drawn and thrown away.
    pub discarded_tokens: u64,
    /// Tokens drawn, thrown away or not, 1/s; `output_throughput` is net of what was discarded.
    pub drawn_throughput: f64,
    /// Time in the gate for each completion token, µs.
    pub us_per_token: f64,
    /// The same of each rule, where the server tells it, by `ruleset/rule`.
    pub rule_us_per_token: BTreeMap<String, f64>,
}

/// Whether the client itself slowed what it measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientHealth {
    /// How late requests were sent that were due and had a place, 99th percentile, ms.
    pub p99_lag_ms: f64,
    /// The worst of them, ms.
    pub max_lag_ms: f64,
    /// How late the client's own timer woke, 99th percentile, ms.
    pub p99_loop_delay_ms: f64,
    /// The worst of them, ms.
    pub max_loop_delay_ms: f64,
    /// The figures say more of the client than of the server.
    pub is_bottleneck: bool,
}

/// What `sweep` leaves: the same workload under growing load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SweepReport {
    /// What grew: `max_concurrency` or `request_rate`.
    pub axis: String,
    /// Which point is the knee: the last before throughput stops growing.
    pub knee: Option<usize>,
    /// One report each, in order of load.
    pub points: Vec<Report>,
}

/// Where and how a run was made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// RFC 3339, UTC, when the run began.
    pub date: String,
    /// The command line, without keys.
    pub command: Vec<String>,
    /// Name and number of the processors of the client's machine.
    pub cpu: String,
    /// Name of the card, if there is one.
    pub gpu: Option<String>,
    /// Its driver.
    pub driver: Option<String>,
    /// Commit that the harness was built from.
    pub commit: Option<String>,
    /// What the server calls the model.
    pub model: String,
    /// BLAKE3 of its weights, if the server tells.
    pub model_digest: Option<String>,
    /// Version of the server, if it tells.
    pub server: Option<String>,
}
