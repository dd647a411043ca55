//! What people read: a few lines and a table.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};

use comfy_table::{CellAlignment, Table, presets};

use crate::error::BenchError;
use crate::measure::Interval;
use crate::report::{Report, Summary};

/// Figures that are told for each metric, by the heads of their columns.
const METRICS: [(&str, &str); 4] = [
    ("ttft", "TTFT"),
    ("tpot", "TPOT"),
    ("itl", "ITL"),
    ("e2el", "end to end"),
];
/// Errors that are told apart.
const ERRORS_TOLD: usize = 5;

/// Prints on stdout. A reader that went away (`| head`) is no error: there is nobody to tell.
///
/// # Errors
/// Standard output takes no more.
pub(crate) fn print(text: impl Display) -> Result<(), BenchError> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A whole report.
pub(crate) fn report(report: &Report, url: &str) -> String {
    let mut text = format!("{} at {url}\n\n", report.model_id);
    text += &columns(facts(report), &[]);
    text += "\n\n";
    text += &latencies(&report.summary);
    text.push('\n');
    for (error, count) in errors(report).into_iter().take(ERRORS_TOLD) {
        let _ = write!(text, "\nfailed, {count} times: {error}");
    }
    for note in &report.notes {
        let _ = write!(text, "\nnote: {note}");
    }
    text += "\n\nDefinitions\n";
    let lines = report.definitions.iter();
    text += &columns(
        lines.map(|(name, means)| vec![format!("  {name}"), means.clone()]),
        &[],
    );
    text
}

fn facts(report: &Report) -> Vec<Vec<String>> {
    let summary = &report.summary;
    let mut facts = vec![
        ("workload", workload(report)),
        ("requests", requests(summary)),
        ("throughput", throughput(report)),
    ];
    if let Some(goodput) = summary.request_goodput {
        facts.push(("goodput", self::goodput(report, goodput)));
    }
    facts.push((
        "tokens",
        format!(
            "{} in, {} out, {:.2} in a piece of a stream",
            summary.total_input_tokens, summary.total_output_tokens, summary.tokens_per_chunk
        ),
    ));
    facts.extend(gate(summary).map(|told| ("gate", told)));
    facts.extend(gate_time(summary).map(|told| ("gate time", told)));
    facts.push(("client", client(report)));
    let line = |(name, text): (&str, String)| vec![name.to_owned(), text];
    facts.into_iter().map(line).collect()
}

fn workload(report: &Report) -> String {
    let plan = &report.workload;
    let field = |name: &str| plan[name].to_string().replace('"', "");
    let mut text = format!("{}, {}", report.backend, field("dataset"));
    match plan["dataset"].as_str() {
        Some("random" | "sonnet" | "prefix-repetition") => {
            let _ = write!(
                text,
                " {} + {} tokens",
                field("input_len"),
                field("output_len")
            );
        }
        Some("demo") => {
            let _ = write!(text, ", at most {} tokens", field("output_len"));
        }
        _ => {}
    }
    match report.summary.request_rate {
        Some(rate) => {
            let _ = write!(
                text,
                ", {rate} requests/s (shape {})",
                report.summary.burstiness
            );
        }
        None => text += ", all at once",
    }
    if let Some(most) = report.summary.max_concurrency {
        let _ = write!(text, ", at most {most} under way");
    }
    let _ = write!(text, ", seed {}", field("seed"));
    text
}

fn requests(summary: &Summary) -> String {
    format!(
        "{} answered, {} failed in {:.2} s; at most {} under way",
        summary.completed, summary.failed, summary.duration, summary.max_concurrent_requests
    )
}

fn throughput(report: &Report) -> String {
    let with_interval = |figure: fn(&Summary) -> f64| {
        let each: Vec<f64> = report.repeats.iter().map(figure).collect();
        let told = number(figure(&report.summary));
        match Interval::of(&each) {
            Some(interval) => format!("{told} ± {}", number(interval.half_width())),
            None => told,
        }
    };
    format!(
        "{} requests/s, {} output tokens/s, {} tokens/s",
        with_interval(|summary| summary.request_throughput),
        with_interval(|summary| summary.output_throughput),
        with_interval(|summary| summary.total_token_throughput),
    )
}

fn goodput(report: &Report, goodput: f64) -> String {
    let share = goodput / report.summary.request_throughput.max(f64::MIN_POSITIVE);
    let limits = report.workload["goodput"].as_object();
    let limits = limits.into_iter().flatten();
    let limits: Vec<_> = limits
        .map(|(name, ms)| format!("{name} {} ms", number(ms.as_f64().unwrap_or_default())))
        .collect();
    format!(
        "{} requests/s ({:.1} %) within {}",
        number(goodput),
        share * 100.0,
        limits.join(", ")
    )
}

fn gate(summary: &Summary) -> Option<String> {
    let gate = summary.gate.as_ref()?;
    Some(format!(
        "{:.2} attempts a request, {} tokens discarded; {} tokens/s with them",
        gate.mean_attempts,
        gate.discarded_tokens,
        number(gate.drawn_throughput),
    ))
}

/// Where the server tells it.
fn gate_time(summary: &Summary) -> Option<String> {
    let gate = summary
        .gate
        .as_ref()
        .filter(|gate| gate.us_per_token > 0.0)?;
    let mut text = format!(
        "{} µs a token; first text held {} ms, longest {} ms",
        number(gate.us_per_token),
        number(gate.mean_first_held_ms),
        number(gate.mean_held_ms),
    );
    for (rule, us) in &gate.rule_us_per_token {
        let _ = write!(text, "; {rule} {us:.2} µs");
    }
    Some(text)
}

fn client(report: &Report) -> String {
    let client = &report.client;
    format!(
        "99 % sent within {} ms of being due (worst {}), timers {} ms late (worst {})",
        number(client.p99_lag_ms),
        number(client.max_lag_ms),
        number(client.p99_loop_delay_ms),
        number(client.max_loop_delay_ms),
    )
}

/// A row a metric, a column a figure.
fn latencies(summary: &Summary) -> String {
    let mut names = vec!["mean".to_owned(), "std".to_owned(), "median".to_owned()];
    names.extend(percentiles(&summary.latencies));
    names.push("max".to_owned());
    let head = std::iter::once("ms".to_owned()).chain(names.iter().cloned());
    let rows = METRICS.iter().map(|(metric, label)| {
        let figure = |name: &String| {
            let key = format!("{name}_{metric}_ms");
            summary
                .latencies
                .get(&key)
                .map_or("-".to_owned(), |it| number(*it))
        };
        let figures = names.iter().map(figure);
        std::iter::once((*label).to_owned())
            .chain(figures)
            .collect()
    });
    columns(std::iter::once(head.collect()).chain(rows), &[0])
}

/// Percentiles that were asked for, but for the median, which has a name.
fn percentiles(latencies: &BTreeMap<String, f64>) -> Vec<String> {
    let of_ttft = latencies
        .keys()
        .filter_map(|key| key.strip_suffix("_e2el_ms"));
    let mut percents: Vec<&str> = of_ttft.filter_map(|name| name.strip_prefix('p')).collect();
    percents.retain(|percent| *percent != "50");
    percents.sort_by(|a, b| {
        let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
        number(a).total_cmp(&number(b))
    });
    percents
        .into_iter()
        .map(|percent| format!("p{percent}"))
        .collect()
}

/// Errors and how often, the most frequent first.
fn errors(report: &Report) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::new();
    for error in report.requests.iter().filter_map(|it| it.error.as_ref()) {
        *counts.entry(error.clone()).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

/// Columns without lines; numbers to the right where `left` names the columns that are none.
pub(crate) fn columns(rows: impl IntoIterator<Item = Vec<String>>, left: &[usize]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for row in rows {
        table.add_row(row);
    }
    if !left.is_empty() {
        for (index, column) in table.column_iter_mut().enumerate() {
            if !left.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    // The first column needs no padding to its left.
    for column in table.column_iter_mut().take(1) {
        column.set_padding((0, 1));
    }
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// Three digits that matter, and no more than two behind the point.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
