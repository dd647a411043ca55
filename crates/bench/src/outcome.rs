//! What came of one request, as the client saw it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One request of a run. Times are seconds since the run began, on one clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// Which request of the workload.
    pub index: usize,
    /// When it was to be sent, s.
    pub due: f64,
    /// When it was sent, s. Later than `due`, it waited for a place or the client lagged.
    pub sent: f64,
    /// How much of that is the client's own fault, s: from when it was due and had a place.
    pub lag: f64,
    /// When its last byte came, s.
    pub ended: f64,
    /// Tokens of the prompt, from the server's usage.
    pub input_tokens: usize,
    /// Tokens of the completion, from the server's usage.
    pub output_tokens: usize,
    /// Whether the server told these counts. If not, the prompt's is what was asked for, and each
    /// piece counts as one token.
    pub counted: bool,
    /// The pieces that held text, in order.
    pub chunks: Vec<Chunk>,
    /// Why it failed; `None` if it was answered whole.
    pub error: Option<String>,
    /// Why the server says that the answer ended: `stop`, `length`, `content_filter`.
    pub finish_reason: Option<String>,
    /// What the gate did, if the server tells.
    pub gate: Option<GateCost>,
}

/// A piece of the stream that was not empty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// When it came, s since the run began.
    pub at: f64,
    /// Tokens in it, where the server tells; else their share of the usage.
    pub tokens: f64,
}

/// What the gate cost one request, summed over its choices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GateCost {
    /// From the first token drawn to the first one released, s.
    pub first_held: f64,
    /// Longest that released text waited for its verdict, s.
    pub held: f64,
    /// Attempts: 1 if nothing was refused.
    pub attempts: u64,
    /// Tokens drawn and thrown away.
    pub discarded_tokens: u64,
    /// Time in the gate, s; 0 where the server does not tell.
    pub judged: f64,
    /// The same for each rule, by `ruleset/rule`.
    pub rules: BTreeMap<String, f64>,
}

impl Outcome {
    /// Time to the first text, s: from sending to the first piece that was not empty.
    pub fn ttft(&self) -> Option<f64> {
        self.chunks.first().map(|chunk| chunk.at - self.sent)
    }

    /// End to end, s.
    pub fn latency(&self) -> f64 {
        self.ended - self.sent
    }

    /// Time per output token after the first, s: `(latency − TTFT) / (n − 1)`.
    pub fn tpot(&self) -> Option<f64> {
        let rest = self.output_tokens.checked_sub(1).filter(|&n| n > 0)?;
        Some((self.latency() - self.ttft()?) / rest as f64)
    }
}
