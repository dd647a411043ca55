//! Known benchmarks: which limits make a request a good one, and how much is asked.

use clap::ValueEnum;
use serde::Serialize;

use crate::args::Dataset;
use crate::plan::Goodput;

/// The server scenarios of MLPerf Inference: Poisson arrivals, and limits that 99 % of requests
/// must keep.
///
/// Limits and sample counts are those of LoadGen's `mlperf.conf` (github.com/mlcommons/inference,
/// `loadgen/mlperf.conf`: `*.Server.ttft_latency`, `*.Server.tpot_latency`,
/// `*.performance_sample_count_override`). MLPerf asks its datasets; with `--dataset-path` and
/// `--dataset sharegpt` one can be asked here too. Without, random prompts of a similar length
/// stand in for them, so the figures are no MLPerf results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// CNN/DailyMail summaries: TTFT 2 s, TPOT 100 ms
    #[value(name = "mlperf-llama3.1-8b-server")]
    #[serde(rename = "mlperf-llama3.1-8b-server")]
    Llama8bServer,
    /// The same, interactive: TTFT 500 ms, TPOT 30 ms
    #[value(name = "mlperf-llama3.1-8b-interactive")]
    #[serde(rename = "mlperf-llama3.1-8b-interactive")]
    Llama8bInteractive,
    /// OpenOrca, GSM8K and MBXP: TTFT 2 s, TPOT 200 ms
    #[value(name = "mlperf-mixtral-8x7b-server")]
    #[serde(rename = "mlperf-mixtral-8x7b-server")]
    MixtralServer,
    /// OpenOrca: TTFT 2 s, TPOT 200 ms
    #[value(name = "mlperf-llama2-70b-server")]
    #[serde(rename = "mlperf-llama2-70b-server")]
    Llama70bServer,
    /// The same, interactive: TTFT 450 ms, TPOT 40 ms
    #[value(name = "mlperf-llama2-70b-interactive")]
    #[serde(rename = "mlperf-llama2-70b-interactive")]
    Llama70bInteractive,
}

/// What a preset says where no flag does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) dataset: Dataset,
    pub(crate) input_len: usize,
    pub(crate) output_len: usize,
    pub(crate) range_ratio: f64,
    pub(crate) num_prompts: usize,
    /// Requests a second; all at once if infinite.
    pub(crate) request_rate: f64,
    pub(crate) goodput: Goodput,
}

/// Without a preset.
pub(crate) const PLAIN: Defaults = Defaults {
    dataset: Dataset::Random,
    input_len: 256,
    output_len: 128,
    range_ratio: 0.0,
    num_prompts: 200,
    request_rate: f64::INFINITY,
    goodput: Goodput::NONE,
};

impl Preset {
    pub(crate) fn defaults(self) -> Defaults {
        let (ttft_ms, tpot_ms, num_prompts) = match self {
            Self::Llama8bServer => (2000.0, 100.0, 13_368),
            Self::Llama8bInteractive => (500.0, 30.0, 13_368),
            Self::MixtralServer => (2000.0, 200.0, 15_000),
            Self::Llama70bServer => (2000.0, 200.0, 24_576),
            Self::Llama70bInteractive => (450.0, 40.0, 24_576),
        };
        let (input_len, output_len) = self.lengths();
        Defaults {
            input_len,
            output_len,
            range_ratio: 0.5,
            num_prompts,
            // `*.Server.target_qps`, for submitters to raise.
            request_rate: 1.0,
            goodput: Goodput {
                ttft_ms: Some(ttft_ms),
                tpot_ms: Some(tpot_ms),
                e2el_ms: None,
            },
            ..PLAIN
        }
    }

    /// Tokens of prompt and answer that stand in for the dataset: answers as the reference
    /// implementations count them (128 at most; 144.84 and 294.45 on average), prompts as round
    /// numbers of the size of their datasets'.
    fn lengths(self) -> (usize, usize) {
        match self {
            Self::Llama8bServer | Self::Llama8bInteractive => (800, 128),
            Self::MixtralServer => (400, 145),
            Self::Llama70bServer | Self::Llama70bInteractive => (300, 294),
        }
    }
}
