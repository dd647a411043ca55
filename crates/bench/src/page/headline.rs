//! The figures that a run is quoted by, straight from its summary.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::report::Summary;

use super::number;
use super::run::Run;
use super::sample::half_interval;

/// One row a figure, one cell a run.
#[derive(Serialize)]
pub(super) struct Row {
    name: String,
    unit: &'static str,
    definition: String,
    /// A figure that should be nought, and is not.
    bad: bool,
    /// One that says more than the headline needs.
    further: bool,
    cells: Vec<Option<Cell>>,
}

#[derive(Serialize)]
struct Cell {
    /// As it stands in the report.
    value: f64,
    shown: String,
    /// Half of the 95 % interval over repeats.
    interval: Option<String>,
}

/// A field of the report.
struct Field {
    name: &'static str,
    unit: &'static str,
    kind: Kind,
    definition: &'static str,
    value: fn(&Summary) -> Option<f64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// By whoever ran this, or by counting: exact.
    Exact,
    /// Exact, and should be nought.
    Bad,
    /// Differs from repeat to repeat.
    Measured,
}

const FIELDS: [Field; 13] = [
    Field {
        name: "Completed",
        unit: "requests",
        kind: Kind::Exact,
        definition: "Requests that were answered whole, in all repeats.",
        value: |s| Some(s.completed as f64),
    },
    Field {
        name: "Failed",
        unit: "requests",
        kind: Kind::Bad,
        definition: "Requests that got an error or broke off. They count in no other figure.",
        value: |s| Some(s.failed as f64),
    },
    Field {
        name: "Duration",
        unit: "s",
        kind: Kind::Exact,
        definition: "From the first request sent to the last answer ended, all repeats together.",
        value: |s| Some(s.duration),
    },
    Field {
        name: "Request rate",
        unit: "requests/s",
        kind: Kind::Exact,
        definition: "Asked for by whoever ran this; without one, every request is sent as soon \
            as there is a place for it.",
        value: |s| s.request_rate,
    },
    Field {
        name: "Concurrency",
        unit: "requests",
        kind: Kind::Exact,
        definition: "Requests under way at most; without it, there is no bound.",
        value: |s| s.max_concurrency.map(|n| n as f64),
    },
    Field {
        name: "Completion tokens",
        unit: "tokens",
        kind: Kind::Exact,
        definition: "All that completed requests were answered with, as the server counts them.",
        value: |s| Some(s.total_output_tokens as f64),
    },
    Field {
        name: "Request throughput",
        unit: "requests/s",
        kind: Kind::Measured,
        definition: "Completed requests / duration.",
        value: |s| Some(s.request_throughput),
    },
    Field {
        name: "Goodput",
        unit: "requests/s",
        kind: Kind::Measured,
        definition: "Completed requests that kept every bound of --goodput / duration.",
        value: |s| s.request_goodput,
    },
    Field {
        name: "Output throughput",
        unit: "tokens/s",
        kind: Kind::Measured,
        definition: "Completion tokens of completed requests / duration: net of what a gate \
            threw away.",
        value: |s| Some(s.output_throughput),
    },
    Field {
        name: "Drawn throughput",
        unit: "tokens/s",
        kind: Kind::Measured,
        definition: "Tokens that the model drew, thrown away by the gate or not / duration.",
        value: |s| s.gate.as_ref().map(|gate| gate.drawn_throughput),
    },
    Field {
        name: "Time in the gate",
        unit: "µs/token",
        kind: Kind::Measured,
        definition: "What the gate took for each completion token, as the server tells.",
        value: |s| s.gate.as_ref().map(|gate| gate.us_per_token),
    },
    Field {
        name: "Total throughput",
        unit: "tokens/s",
        kind: Kind::Measured,
        definition: "Prompt and completion tokens of completed requests / duration.",
        value: |s| Some(s.total_token_throughput),
    },
    Field {
        name: "Tokens per chunk",
        unit: "tokens",
        kind: Kind::Measured,
        definition: "Completion tokens / pieces of the streams that held text.",
        value: |s| Some(s.tokens_per_chunk).filter(|&tokens| tokens > 0.0),
    },
];

/// Latencies as the summary abbreviates them, and what they mean if the report does not say.
const LATENCIES: [(&str, &str, &str); 4] = [
    (
        "ttft",
        "TTFT",
        "time to first token: from sending a request to its first piece of text that is not empty",
    ),
    (
        "tpot",
        "TPOT",
        "time per output token: (end to end − TTFT) / (n − 1), one value a request",
    ),
    (
        "itl",
        "ITL",
        "inter-token latency: between two pieces of a stream, whatever number of tokens they hold",
    ),
    (
        "e2el",
        "E2EL",
        "end-to-end latency: from sending a request to the last byte of its answer",
    ),
];

/// All rows for which some run has a value.
pub(super) fn rows(runs: &[Run]) -> Vec<Row> {
    let fields = FIELDS.iter().map(|field| field_row(field, runs));
    let latencies = LATENCIES
        .iter()
        .flat_map(|latency| latency_rows(latency, runs));
    let rows = fields.chain(latencies);
    rows.filter(|row| row.cells.iter().any(Option::is_some))
        .collect()
}

fn field_row(field: &Field, runs: &[Run]) -> Row {
    let cells = runs.iter().map(|run| cell(run, field.kind, field.value));
    Row {
        name: field.name.to_owned(),
        unit: field.unit,
        definition: field.definition.to_owned(),
        bad: field.kind == Kind::Bad && runs.iter().any(|run| run.summary().failed > 0),
        further: false,
        cells: cells.collect(),
    }
}

fn latency_rows(latency: &(&str, &str, &str), runs: &[Run]) -> Vec<Row> {
    let (key, name, definition) = *latency;
    let mut told = runs
        .iter()
        .filter_map(|run| run.report.definitions.get(key));
    let definition = told.next().map_or(definition, String::as_str);
    let row = |statistic: Statistic| Row {
        name: format!("{name}, {}", statistic.key()),
        unit: "ms",
        definition: definition.to_owned(),
        bad: false,
        further: !statistic.is_quoted(),
        cells: latency_cells(&format!("{}_{key}_ms", statistic.key()), runs),
    };
    statistics(key, runs).into_iter().map(row).collect()
}

fn latency_cells(key: &str, runs: &[Run]) -> Vec<Option<Cell>> {
    let value = |summary: &Summary| summary.latencies.get(key).copied();
    let cells = runs.iter().map(|run| cell(run, Kind::Measured, value));
    cells.collect()
}

fn cell(run: &Run, kind: Kind, value: impl Fn(&Summary) -> Option<f64>) -> Option<Cell> {
    let of_run = value(run.summary())?;
    if kind != Kind::Measured {
        return Some(Cell {
            value: of_run,
            shown: number::plain(of_run),
            interval: None,
        });
    }
    let repeats: Vec<f64> = run.report.repeats.iter().filter_map(value).collect();
    Some(Cell {
        value: of_run,
        shown: number::short(of_run),
        interval: half_interval(&repeats).map(number::short),
    })
}

/// A number that stands for a distribution.
#[derive(PartialEq, PartialOrd)]
enum Statistic {
    Mean,
    Median,
    Percentile(f64),
}

impl Statistic {
    /// The standard deviation is no figure to quote, and the median has a name of its own.
    fn parse(name: &str) -> Option<Self> {
        match name {
            "mean" => Some(Self::Mean),
            "median" => Some(Self::Median),
            _ => {
                let percentile = name.strip_prefix('p')?.parse().ok()?;
                (percentile != 50.0).then_some(Self::Percentile(percentile))
            }
        }
    }

    /// What people quote of a latency: the middle, and the tail that bounds are set for.
    fn is_quoted(&self) -> bool {
        matches!(self, Self::Median) || *self == Self::Percentile(99.0)
    }

    fn key(&self) -> String {
        match self {
            Self::Mean => "mean".to_owned(),
            Self::Median => "median".to_owned(),
            Self::Percentile(percentile) => format!("p{percentile}"),
        }
    }
}

/// What any of the runs tells of a latency, in order.
fn statistics(latency: &str, runs: &[Run]) -> Vec<Statistic> {
    let suffix = format!("_{latency}_ms");
    let keys: BTreeSet<&str> = runs
        .iter()
        .flat_map(|run| run.summary().latencies.keys())
        .filter_map(|key| key.strip_suffix(&suffix))
        .collect();
    let mut statistics: Vec<Statistic> = keys.into_iter().filter_map(Statistic::parse).collect();
    statistics.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    statistics
}
