//! Reports of servers that never were: seeded, so that a page is the same each time.

use std::collections::BTreeMap;

use portcullis_bench::outcome::{Chunk, GateCost, Outcome};
use portcullis_bench::report::{ClientHealth, Environment, GateSummary, Report, Summary};
use serde_json::Value;

/// What to make up.
#[derive(Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) seed: u64,
    pub(crate) server: &'static str,
    /// Requests in each repeat.
    pub(crate) requests: usize,
    pub(crate) concurrency: usize,
    pub(crate) repeats: u64,
    /// Time of a decode step with one stream, and what each further one adds, s.
    pub(crate) step: (f64, f64),
    /// One request in so many fails; none at 0.
    pub(crate) failing: usize,
    /// Whether the server tells what its gate did.
    pub(crate) gate: bool,
}

pub(crate) const SPEC: Spec = Spec {
    seed: 7,
    server: "portcullis 0.1.0",
    requests: 200,
    concurrency: 16,
    repeats: 3,
    step: (0.018, 0.0012),
    failing: 0,
    gate: false,
};

/// SplitMix64. Source: Steele, Lea, Flood, OOPSLA 2014.
struct Draws(u64);

impl Draws {
    /// Between nought and one.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About one, now and then much more.
    fn jitter(&mut self, spread: f64) -> f64 {
        let sum: f64 = (0..12).map(|_| self.uniform()).sum();
        (spread * (sum - 6.0)).exp()
    }
}

pub(crate) fn report(spec: &Spec) -> Report {
    let repeats: Vec<Vec<Outcome>> = (0..spec.repeats.max(1))
        .map(|nth| requests(spec, &mut Draws(spec.seed ^ (nth << 32))))
        .collect();
    let summaries: Vec<Summary> = repeats.iter().map(|r| summary(spec, r)).collect();
    let requests = repeats.last().cloned().unwrap_or_default();
    of(summaries[0].clone(), summaries, environment(spec), requests)
}

/// A report that says nothing else.
pub(crate) fn of(
    summary: Summary,
    repeats: Vec<Summary>,
    environment: Environment,
    requests: Vec<Outcome>,
) -> Report {
    Report {
        summary,
        backend: String::new(),
        model_id: String::new(),
        num_prompts: requests.len(),
        workload: Value::Null,
        definitions: BTreeMap::new(),
        client: ClientHealth::default(),
        notes: Vec::new(),
        repeats,
        environment,
        requests,
    }
}

fn environment(spec: &Spec) -> Environment {
    let concurrency = spec.concurrency.to_string();
    let command = [
        "portcullis",
        "bench",
        "serve",
        "--url",
        "localhost:8080",
        "--max-concurrency",
        &concurrency,
        "--goodput",
        "ttft:2000 tpot:200",
    ];
    Environment {
        date: "2026-11-21T19:40:00Z".to_owned(),
        command: command.map(str::to_owned).into(),
        cpu: "2 × Imaginary 9000".to_owned(),
        gpu: None,
        driver: None,
        commit: Some("75afb71".to_owned()),
        model: "demo".to_owned(),
        model_digest: Some("blake3:6f".to_owned() + &"0a".repeat(31)),
        server: Some(spec.server.to_owned()),
    }
}

/// As many at once as there are places; each place takes the next request when it is free.
fn requests(spec: &Spec, draws: &mut Draws) -> Vec<Outcome> {
    let mut free = vec![0.0f64; spec.concurrency];
    let requests = (0..spec.requests).map(|index| {
        let place = (0..free.len()).min_by(|&a, &b| free[a].total_cmp(&free[b]));
        let place = place.expect("there are places");
        let outcome = request(spec, index, free[place], draws);
        free[place] = outcome.ended + 0.002;
        outcome
    });
    requests.collect()
}

fn request(spec: &Spec, index: usize, sent: f64, draws: &mut Draws) -> Outcome {
    let (one, more) = spec.step;
    let step = one + more * (spec.concurrency - 1) as f64;
    let tokens = 20 + (draws.uniform() * 60.0) as usize;
    let failed = spec.failing > 0 && index % spec.failing == spec.failing - 1;
    let mut at = sent + (0.05 + step * 2.0) * draws.jitter(0.5);
    let kept = if failed { tokens / 3 } else { tokens };
    let chunks = (0..kept).map(|_| {
        let chunk = Chunk { at, tokens: 1.0 };
        at += step * draws.jitter(0.12);
        chunk
    });
    let chunks: Vec<Chunk> = chunks.collect();
    Outcome {
        index,
        due: sent,
        sent,
        ended: chunks.last().map_or(sent, |chunk| chunk.at) + 0.001,
        input_tokens: 128,
        output_tokens: kept,
        chunks,
        error: failed.then(|| "the stream broke off after a third of its tokens".to_owned()),
        gate: (spec.gate && !failed).then(|| gate(step, draws)),
        ..Outcome::default()
    }
}

fn gate(step: f64, draws: &mut Draws) -> GateCost {
    let attempts = 1 + u64::from(draws.uniform() < 0.12) + u64::from(draws.uniform() < 0.03);
    GateCost {
        first_held: step * draws.jitter(0.4),
        held: step * 4.0 * draws.jitter(0.5),
        attempts,
        discarded_tokens: (attempts - 1) * 9,
        ..GateCost::default()
    }
}

fn summary(spec: &Spec, requests: &[Outcome]) -> Summary {
    let answered: Vec<&Outcome> = requests.iter().filter(|r| r.error.is_none()).collect();
    let duration = requests.iter().map(|r| r.ended).fold(0.0, f64::max);
    let per_second = |count: usize| {
        if duration > 0.0 {
            count as f64 / duration
        } else {
            0.0
        }
    };
    let input: usize = answered.iter().map(|r| r.input_tokens).sum();
    let output: usize = answered.iter().map(|r| r.output_tokens).sum();
    Summary {
        completed: answered.len(),
        failed: requests.len() - answered.len(),
        duration,
        request_rate: None,
        burstiness: 1.0,
        max_concurrency: Some(spec.concurrency),
        total_input_tokens: input,
        total_output_tokens: output,
        request_throughput: per_second(answered.len()),
        request_goodput: Some(per_second(answered.len() * 9 / 10)),
        output_throughput: per_second(output),
        total_token_throughput: per_second(input + output),
        tokens_per_chunk: 1.0,
        gate: spec.gate.then(gate_summary),
        latencies: latencies(&answered),
        ..Summary::default()
    }
}

fn gate_summary() -> GateSummary {
    let rules = [("demo/no-cards", 1.9), ("demo/no-phones", 0.7)];
    GateSummary {
        drawn_throughput: 500.0,
        us_per_token: 3.4,
        rule_us_per_token: rules.map(|(rule, us)| (rule.to_owned(), us)).into(),
        ..GateSummary::default()
    }
}

fn latencies(answered: &[&Outcome]) -> BTreeMap<String, f64> {
    let gaps = |r: &&Outcome| {
        let pairs = r.chunks.windows(2);
        pairs
            .map(|pair| pair[1].at - pair[0].at)
            .collect::<Vec<_>>()
    };
    let metrics: [(&str, Vec<f64>); 4] = [
        ("ttft", answered.iter().filter_map(|r| r.ttft()).collect()),
        ("tpot", answered.iter().filter_map(|r| r.tpot()).collect()),
        ("itl", answered.iter().flat_map(gaps).collect()),
        ("e2el", answered.iter().map(|r| r.latency()).collect()),
    ];
    metrics
        .into_iter()
        .flat_map(|(name, values)| statistics(name, values))
        .collect()
}

fn statistics(name: &str, mut values: Vec<f64>) -> Vec<(String, f64)> {
    if values.is_empty() {
        return Vec::new();
    }
    values.sort_by(f64::total_cmp);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    let statistics = [
        ("mean", mean),
        ("median", at(0.5)),
        ("std", 1.0),
        ("p50", at(0.5)),
        ("p90", at(0.9)),
        ("p99", at(0.99)),
    ];
    let named = statistics.map(|(key, value)| (format!("{key}_{name}_ms"), value * 1000.0));
    named.into()
}
