//! `/metrics`: our own names (`portcullis_…`), and the `vllm:` names that routers and dashboards
//! read already. Never a label from a key, a rule's text or anything else that callers choose.

mod embedding;

use std::fmt;
use std::time::Duration;

use portcullis_engine::{EngineHandle, EngineStatus, Timings};
use portcullis_gate::GateReport;
use portcullis_ledger::Recorder;
use portcullis_types::Usage;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::config::{ServedEmbedder, ServedModel};

/// What Prometheus must be told to read the answer as OpenMetrics.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a millisecond to five minutes.
const LATENCY_SECONDS: [f64; 16] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// Everything that is measured.
pub(crate) struct Metrics {
    registry: Registry,
    latency: Latency,
    held: Histogram,
    findings: Family<FindingLabels, Counter>,
    answers: Family<AnswerLabels, Counter>,
    limit_refusals: Family<LimitLabels, Counter>,
}

/// Under vLLM's names, with vLLM's meaning.
struct Latency {
    first_token: Histogram,
    inter_token: Histogram,
    per_output_token: Histogram,
    total: Histogram,
    queued: Histogram,
    prefill: Histogram,
    decode: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

impl Metrics {
    pub(crate) fn new(
        model: &ServedModel,
        engine: EngineHandle,
        embedder: Option<&ServedEmbedder>,
        recorder: Option<Recorder>,
    ) -> Self {
        let mut registry = Registry::default();
        if let Some(embedder) = embedder {
            embedding::register(&mut registry, embedder);
        }
        if let Some(recorder) = recorder {
            registry.register_collector(Box::new(LedgerCollector(recorder)));
        }
        let (findings, answers) = (Family::default(), Family::default());
        let limit_refusals = Family::default();
        registry.register(
            "portcullis_limit_refusals",
            "Calls that were refused for a limit of their key, by limit",
            Family::clone(&limit_refusals),
        );
        registry.register(
            "portcullis_http_answers",
            "Answers, by route and status",
            Family::clone(&answers),
        );
        let labels = ("model_name".into(), model.deployment.to_string().into());
        let labelled = registry.sub_registry_with_label(labels);
        labelled.register_collector(Box::new(EngineCollector(engine)));
        labelled.register(
            "portcullis_gate_findings",
            "Matches of rules, by what was done about them",
            Family::clone(&findings),
        );
        let held = seconds(
            labelled,
            "portcullis_gate_held",
            "How long the gate held text back",
        );
        let latency = Latency::register(labelled);
        Self {
            registry,
            latency,
            held,
            findings,
            answers,
            limit_refusals,
        }
    }

    /// All metrics in the text format of OpenMetrics.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// An answer has begun; `route` is a pattern of the router, never a path that a caller made up.
    pub(crate) fn count_answer(&self, route: &str, status: u16) {
        let labels = AnswerLabels {
            route: route.to_owned(),
            status,
        };
        self.answers.get_or_create(&labels).inc();
    }

    /// A key has reached one of its limits.
    pub(crate) fn count_limit_refusal(&self, limit: &'static str) {
        self.limit_refusals
            .get_or_create(&LimitLabels { limit })
            .inc();
    }

    /// `tokens` were released `elapsed` after those before them.
    pub(crate) fn observe_release(&self, tokens: usize, elapsed: Duration) {
        let each = elapsed.as_secs_f64() / tokens.max(1) as f64;
        for _ in 0..tokens {
            self.latency.inter_token.observe(each);
        }
    }

    /// A choice ended.
    pub(crate) fn observe_end(&self, timings: &Timings, usage: &Usage, report: &GateReport) {
        self.latency.observe(timings, usage.completion_tokens);
        if let Some(held) = timings.first_held() {
            self.held.observe(held.as_secs_f64());
        }
        for finding in &report.findings {
            let labels = FindingLabels {
                action: finding.action.as_str(),
            };
            self.findings.get_or_create(&labels).inc();
        }
    }
}

impl Latency {
    fn register(registry: &mut Registry) -> Self {
        let mut vllm = |name: &str, help: &str| seconds(registry, &format!("vllm:{name}"), help);
        Self {
            first_token: vllm("time_to_first_token", "Until the first token was released"),
            inter_token: vllm("inter_token_latency", "Between released tokens"),
            per_output_token: vllm("request_time_per_output_token", "Decode time per token"),
            total: vllm(
                "e2e_request_latency",
                "From submission to the end of a choice",
            ),
            queued: vllm("request_queue_time", "Until the first step"),
            prefill: vllm(
                "request_prefill_time",
                "From the first step to the first token",
            ),
            decode: vllm("request_decode_time", "From the first token to the end"),
        }
    }

    fn observe(&self, timings: &Timings, completion_tokens: u64) {
        self.total.observe(timings.total.as_secs_f64());
        self.queued.observe(timings.queued.as_secs_f64());
        if let Some(released) = timings.first_release {
            self.first_token.observe(released.as_secs_f64());
        }
        let Some(first) = timings.first_token else {
            return;
        };
        let decode = timings.total.saturating_sub(first).as_secs_f64();
        self.prefill
            .observe(first.saturating_sub(timings.queued).as_secs_f64());
        self.decode.observe(decode);
        if completion_tokens > 1 {
            self.per_output_token
                .observe(decode / (completion_tokens - 1) as f64);
        }
    }
}

fn seconds(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(LATENCY_SECONDS);
    registry.register(format!("{name}_seconds"), help, histogram.clone());
    histogram
}

/// Reads the engine's counters at each scrape.
struct EngineCollector(EngineHandle);

impl fmt::Debug for EngineCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineCollector")
    }
}

/// Names without `_total`, which the format appends.
type CounterRow = (&'static str, &'static str, fn(&EngineStatus) -> u64);

const COUNTERS: [CounterRow; 17] = [
    (
        "vllm:prompt_tokens",
        "Prompt tokens of calls that have begun",
        |s| s.prompt_tokens_total,
    ),
    ("vllm:generation_tokens", "Tokens generated and kept", |s| {
        s.generation_tokens_total
    }),
    (
        "vllm:prefix_cache_queries",
        "Prompt tokens looked up",
        |s| s.cache_queries_total,
    ),
    (
        "vllm:prefix_cache_hits",
        "Prompt tokens found cached",
        |s| s.cache_hits_total,
    ),
    (
        "vllm:num_preemptions",
        "Sequences set back to make room",
        |s| s.preemptions_total,
    ),
    (
        "portcullis_prompt_tokens",
        "Prompt tokens of calls begun",
        |s| s.prompt_tokens_total,
    ),
    (
        "portcullis_generation_tokens",
        "Tokens generated and kept",
        |s| s.generation_tokens_total,
    ),
    (
        "portcullis_discarded_tokens",
        "Tokens the gate threw away",
        |s| s.discarded_tokens_total,
    ),
    (
        "portcullis_computed_tokens",
        "Tokens computed by the model",
        |s| s.computed_tokens_total,
    ),
    ("portcullis_steps", "Steps of the engine's loop", |s| {
        s.steps_total
    }),
    (
        "portcullis_gate_evaluations",
        "Looks of the gate at a choice",
        |s| s.gate_evaluations_total,
    ),
    ("portcullis_gate_attempts", "Roll-backs", |s| {
        s.gate_attempts_total
    }),
    (
        "portcullis_gate_refusals",
        "Choices that the gate ended",
        |s| s.gate_refusals_total,
    ),
    (
        "portcullis_gate_time_microseconds",
        "Time spent in the gate",
        |s| s.gate_us_total,
    ),
    (
        "portcullis_preemptions",
        "Sequences set back to make room",
        |s| s.preemptions_total,
    ),
    (
        "portcullis_cancelled",
        "Choices that were cut off: their reader went away, or the server stopped",
        |s| s.cancelled_total,
    ),
    (
        "portcullis_failed",
        "Choices that could not be computed",
        |s| s.failed_total,
    ),
];

const GAUGES: [CounterRow; 6] = [
    (
        "vllm:num_requests_running",
        "Sequences that hold blocks",
        |s| s.running,
    ),
    (
        "vllm:num_requests_waiting",
        "Calls that wait for their first step",
        |s| s.waiting,
    ),
    ("portcullis_running", "Sequences that hold blocks", |s| {
        s.running
    }),
    (
        "portcullis_waiting",
        "Calls that wait for their first step",
        |s| s.waiting,
    ),
    (
        "portcullis_kv_blocks_used",
        "Blocks that sequences hold",
        |s| s.blocks_used,
    ),
    ("portcullis_kv_blocks", "Blocks of the KV cache", |s| {
        s.blocks_total
    }),
];

impl Collector for EngineCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let status = self.0.status();
        for (name, help, read) in COUNTERS {
            encode(&mut encoder, name, help, &ConstCounter::new(read(&status)))?;
        }
        for (name, help, read) in GAUGES {
            encode(&mut encoder, name, help, &ConstGauge::new(read(&status)))?;
        }
        encode_cache(&mut encoder, &status)?;
        encode_successes(&mut encoder, &status)
    }
}

/// Reads the ledger when it is asked for.
#[derive(Debug)]
struct LedgerCollector(Recorder);

impl Collector for LedgerCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Self(recorder) = self;
        let gauges = [
            (
                "portcullis_ledger_entries",
                "Entries of the log of records",
                recorder.checkpoint().size,
            ),
            (
                "portcullis_ledger_open",
                "Records whose end is not written yet",
                recorder.num_open() as u64,
            ),
            (
                "portcullis_ledger_failing",
                "1 while records cannot be written, so that calls are refused",
                recorder.trouble().is_some().into(),
            ),
        ];
        for (name, help, number) in gauges {
            encode(&mut encoder, name, help, &ConstGauge::new(number))?;
        }
        Ok(())
    }
}

fn encode(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn encode_cache(encoder: &mut DescriptorEncoder, status: &EngineStatus) -> fmt::Result {
    let usage = status.blocks_used as f64 / status.blocks_total.max(1) as f64;
    let help = "Part of the KV cache in use, from 0 to 1";
    encode(
        encoder,
        "vllm:kv_cache_usage_perc",
        help,
        &ConstGauge::new(usage),
    )?;
    let labels = [
        ("block_size", portcullis_scheduler::BLOCK_TOKENS.to_string()),
        ("num_gpu_blocks", status.blocks_total.to_string()),
    ];
    let help = "Shape of the KV cache";
    let one = ConstGauge::new(1u64);
    let mut metric =
        encoder.encode_descriptor("vllm:cache_config_info", help, None, one.metric_type())?;
    one.encode(metric.encode_family(&labels)?)
}

fn encode_successes(encoder: &mut DescriptorEncoder, status: &EngineStatus) -> fmt::Result {
    let reasons = [
        ("stop", status.finished_stop_total),
        ("length", status.finished_length_total),
        ("content_filter", status.finished_content_filter_total),
        ("abort", status.cancelled_total),
    ];
    let help = "Choices that ended, by reason";
    let kind = ConstCounter::new(0u64).metric_type();
    let mut metric = encoder.encode_descriptor("vllm:request_success", help, None, kind)?;
    for (reason, count) in reasons {
        let labels = [("finished_reason", reason)];
        ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
