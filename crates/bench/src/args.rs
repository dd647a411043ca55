//! The command line of `portcullis bench`, as people type it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::page::PlotArgs;
use crate::preset::Preset;

/// What `portcullis bench` can do.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Load a running server, any that speaks the OpenAI protocol, and measure it
    Serve(ServeArgs),
    /// Load a running server more and more, up to the knee: where more load buys no throughput
    Sweep(SweepArgs),
    /// Tell how two reports differ, and whether that is more than noise
    Compare(CompareArgs),
    /// Draw reports as one page that stands alone
    Plot(PlotArgs),
}

/// `portcullis bench serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) measure: MeasureArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `portcullis bench sweep`.
#[derive(Clone, Debug, Args)]
pub struct SweepArgs {
    /// Requests under way, a measurement each [default: 1,2,4,… until the knee is passed, or
    /// --max-concurrency]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N,…",
        conflicts_with = "rates"
    )]
    pub(crate) concurrencies: Vec<usize>,
    /// Requests a second, a measurement each
    #[arg(long, value_delimiter = ',', value_name = "RATE,…", value_parser = rate)]
    pub(crate) rates: Vec<f64>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// `portcullis bench compare`.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// Report to compare with, of `serve` or `sweep`
    #[arg(value_name = "A.json")]
    pub(crate) a: PathBuf,
    /// Report to compare
    #[arg(value_name = "B.json")]
    pub(crate) b: PathBuf,
}

/// Which server, and how to ask it.
#[derive(Clone, Debug, Args)]
pub struct TargetArgs {
    /// Server to load, with or without /v1
    #[arg(
        long,
        env = "PORTCULLIS_URL",
        default_value = "http://127.0.0.1:8000",
        value_name = "URL"
    )]
    pub(crate) url: String,
    /// Key to ask with; better in the environment, where no process list shows it
    #[arg(
        long,
        env = "PORTCULLIS_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub(crate) api_key: Option<String>,
    /// Model to ask [default: the first that /v1/models lists]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Endpoint to ask
    #[arg(long, value_enum, default_value_t = Endpoint::Chat)]
    pub(crate) endpoint: Endpoint,
    /// Sampling temperature
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    pub(crate) temperature: f64,
    /// Let the model go on past its own end, so that answers have --output-len [default: true for
    /// made-up prompts, false for real ones]
    #[arg(long, value_name = "BOOL")]
    pub(crate) ignore_eos: Option<bool>,
    /// More fields for the body of every request, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub(crate) extra_body: Option<Map<String, Value>>,
    /// Longest silence of a stream before its request counts as failed
    #[arg(long, default_value = "300", value_name = "SECONDS", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// Which of the two endpoints that stream text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
}

/// What is asked.
#[derive(Clone, Debug, Default, Args)]
pub struct WorkloadArgs {
    /// Where prompts come from [default: random]
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) dataset: Option<Dataset>,
    /// File of the dataset: ShareGPT JSON, lines of text for sonnet, JSONL or CSV for trace
    #[arg(long, value_name = "FILE")]
    pub(crate) dataset_path: Option<PathBuf>,
    /// Tokens of a prompt [default: 256]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) input_len: Option<usize>,
    /// Tokens of an answer [default: 128, or what the dataset says]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) output_len: Option<usize>,
    /// Lengths are drawn from L × (1 − R) to L × (1 + R) [default: 0]
    #[arg(long, value_name = "R")]
    pub(crate) range_ratio: Option<f64>,
    /// Tokens that prompts of a group share, for prefix-repetition [default: half of --input-len]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) prefix_len: Option<usize>,
    /// Groups that share a prefix, for prefix-repetition [default: 10]
    #[arg(long, value_name = "N")]
    pub(crate) num_prefixes: Option<usize>,
    /// Requests of a repeat [default: 200, or all of a trace]
    #[arg(long, value_name = "N")]
    pub(crate) num_prompts: Option<usize>,
    /// The same seed gives the same prompts, lengths and arrivals
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    /// Limits and sizes of a known benchmark; flags are stronger
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) preset: Option<Preset>,
}

/// Where prompts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dataset {
    /// Random common words, of --input-len tokens
    Random,
    /// Conversations of a ShareGPT file: the first question, as long an answer as there
    Sharegpt,
    /// Lines of a text file, shuffled, until --input-len is reached
    Sonnet,
    /// Groups of random prompts that begin alike
    PrefixRepetition,
    /// Arrivals and lengths of a recorded trace: Mooncake JSONL or Azure CSV
    Trace,
    /// A handful of questions, as long as they are; needs nothing
    Demo,
}

/// How it is asked.
#[derive(Clone, Debug, Default, Args)]
pub struct LoadArgs {
    /// Requests a second, or `inf` for all at once [default: inf]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) request_rate: Option<f64>,
    /// Shape of the gaps between requests: 1 is Poisson, below is burstier, above is more even
    /// [default: 1]
    #[arg(long, value_name = "SHAPE")]
    pub(crate) burstiness: Option<f64>,
    /// Requests under way at most; the next waits for one to end
    #[arg(long, value_name = "N")]
    pub(crate) max_concurrency: Option<usize>,
    /// Send no more after this; what is under way is waited for. Prompts begin anew when they run
    /// out
    #[arg(long, value_name = "SECONDS", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Requests before the measurement, which do not count
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) warmup: usize,
    /// Measure so many times, each with a seed of its own, and tell 95 % intervals
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) repeats: usize,
}

/// What is told of it.
#[derive(Clone, Debug, Default, Args)]
pub struct MeasureArgs {
    /// What makes a request a good one, in ms: any of ttft:2000 tpot:200 e2el:10000
    #[arg(long, num_args = 1.., value_name = "METRIC:MS")]
    pub(crate) goodput: Vec<String>,
    /// Percentiles to tell
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "50,90,95,99",
        value_name = "P,…"
    )]
    pub(crate) percentiles: Vec<f64>,
}

/// Where results go, besides the table.
#[derive(Clone, Debug, Default, Args)]
pub struct OutputArgs {
    /// Write summary, environment and every request as JSON
    #[arg(long, value_name = "FILE.json")]
    pub(crate) output: Option<PathBuf>,
    /// Write every request of every repeat, a line of JSON each
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) requests: Option<PathBuf>,
    /// Write every request of every repeat as CSV
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) csv: Option<PathBuf>,
}

fn json_object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("{error}; write a JSON object: '{{\"top_k\": 1}}'"))
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 => Ok(rate),
        _ => Err("must be above 0, or `inf` for all at once".into()),
    }
}

/// `60`, in seconds, or `5m`.
fn duration(text: &str) -> Result<Duration, String> {
    let plain = text.parse().map(Duration::try_from_secs_f64);
    match plain {
        Ok(Ok(duration)) => Ok(duration),
        _ => humantime::parse_duration(text).map_err(|_| "write seconds, or 5m, or 1h".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(subcommand)]
        command: BenchCommand,
    }

    fn serve(line: &str) -> Result<ServeArgs, clap::Error> {
        use clap::Parser;
        match Cli::try_parse_from(line.split_whitespace())?.command {
            BenchCommand::Serve(args) => Ok(args),
            other => panic!("{other:?} is not serve"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn rates_and_durations_are_read_in_every_spelling() {
        let args = serve("bench serve --request-rate inf --duration 5m").unwrap();
        assert_eq!(args.load.request_rate, Some(f64::INFINITY));
        assert_eq!(args.load.duration, Some(Duration::from_secs(300)));
        let args = serve("bench serve --request-rate 2.5 --duration 0.5").unwrap();
        assert_eq!(args.load.request_rate, Some(2.5));
        assert_eq!(args.load.duration, Some(Duration::from_millis(500)));
        for wrong in ["--request-rate 0", "--request-rate NaN", "--duration never"] {
            let error = serve(&format!("bench serve {wrong}")).unwrap_err();
            assert_eq!(
                error.kind(),
                clap::error::ErrorKind::ValueValidation,
                "{wrong}"
            );
        }
    }

    #[test]
    fn goodput_takes_several_and_flags_may_follow() {
        let args = serve("bench serve --goodput ttft:2000 tpot:200 --seed 7").unwrap();
        assert_eq!(args.measure.goodput, ["ttft:2000", "tpot:200"]);
        assert_eq!(args.workload.seed, 7);
    }
}
