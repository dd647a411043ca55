//! A run as it went: every request as a bar, and below it what the server gave and carried.

mod bars;
mod load;

use crate::outcome::Outcome;

use super::axes;
use super::element::{Element, drawing, label};
use super::figure::{Figure, Table};
use super::number;
use super::run::Run;
use super::scale::Scale;
use bars::Bars;
use load::Load;

/// Requests drawn on the whole page; more could be neither seen nor loaded with ease.
const REQUESTS_MAX: usize = 2000;
/// The least a run gets of them, however many share the page.
const REQUESTS_MIN: usize = 100;
const WIDTH: f64 = 1100.0;
const ACROSS: (f64, f64) = (64.0, WIDTH - 24.0);
/// Where the bars begin, under their key.
const TOP: f64 = 34.0;

/// The timeline of a run that shares the page with `runs - 1` others.
pub(super) fn figure(run: &Run, runs: usize) -> Figure {
    let requests = &run.report.requests;
    let drawn = choose(requests, (REQUESTS_MAX / runs.max(1)).max(REQUESTS_MIN));
    let heading = format!("{}: {}", run.label, run.load());
    let figure = Figure::new(heading, caption(requests, drawn.len()));
    if drawn.is_empty() {
        return figure;
    }
    let load = Load::of(requests);
    figure
        .drawn(&plot(run, &drawn, &load))
        .with_table(load.table())
        .with_table(slowest_table(requests))
}

fn plot(run: &Run, drawn: &[&Outcome], load: &Load) -> Element {
    let bars = Bars::of(drawn);
    let tokens_end = TOP + bars.height() + load::HEIGHT;
    let end = tokens_end + load::HEIGHT;
    let time = Scale::until(load.end(), ACROSS);
    let (tokens, running) = load.charts(&time, (tokens_end, end));
    let name = format!("Timeline of {}", run.label);
    drawing(WIDTH, end + 48.0, &name)
        .child(bars::key())
        .children(axes::columns(&time, end, TOP))
        .child(run.tone.group("bars").children(bars.draw(&time)))
        .child(run.tone.group("chart").children(tokens))
        .child(run.tone.group("chart").children(running))
        .child(label(
            "name",
            "end",
            (ACROSS.1, end + 38.0),
            "seconds since the run began",
        ))
}

fn caption(requests: &[Outcome], drawn: usize) -> String {
    let failed = requests.iter().filter(|outcome| outcome.error.is_some());
    let counts = format!(
        "Requests of the last repeat: {}; failed: {}.",
        number::count(requests.len()),
        number::count(failed.count()),
    );
    if drawn == requests.len() {
        return counts;
    }
    format!(
        "{counts} Drawn: {}, those that failed first and others evenly spread. The charts below \
         count all.",
        number::count(drawn)
    )
}

/// At most `limit` requests in the order they were sent: failed ones first, then every so-manyth.
fn choose(requests: &[Outcome], limit: usize) -> Vec<&Outcome> {
    let (failed, answered): (Vec<_>, Vec<_>) = requests
        .iter()
        .partition::<Vec<&Outcome>, _>(|outcome| outcome.error.is_some());
    let mut chosen = spread(&failed, limit);
    chosen.extend(spread(&answered, limit - chosen.len()));
    chosen.sort_by(|a, b| a.sent.total_cmp(&b.sent));
    chosen
}

fn spread<'a>(requests: &[&'a Outcome], limit: usize) -> Vec<&'a Outcome> {
    let kept = requests.len().min(limit);
    let chosen = (0..kept).map(|i| requests[i * requests.len() / kept]);
    chosen.collect()
}

/// Who looks for what went wrong looks here first.
fn slowest_table(requests: &[Outcome]) -> Table {
    const ROWS: usize = 20;
    let mut slowest: Vec<&Outcome> = requests.iter().collect();
    slowest.sort_by(|a, b| b.latency().total_cmp(&a.latency()));
    let head = [
        "Request",
        "Due",
        "Sent",
        "First token after",
        "Took",
        "Tokens in",
        "Tokens out",
    ];
    let mut table = Table::new(format!("The {ROWS} requests that took longest"), head);
    table.rows = slowest.into_iter().take(ROWS).map(request_row).collect();
    table
}

fn request_row(outcome: &Outcome) -> Vec<String> {
    let ms = |seconds: f64| number::duration(seconds * 1000.0);
    vec![
        outcome.index.to_string(),
        ms(outcome.due),
        ms(outcome.sent),
        outcome.ttft().map_or_else(|| "–".to_owned(), ms),
        ms(outcome.latency()),
        number::count(outcome.input_tokens),
        number::count(outcome.output_tokens),
    ]
}

/// The beginning of a text that may be long.
pub(super) fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request of a run, for the tests of every part of a timeline.
    pub(super) fn request(sent: f64, ended: f64) -> Outcome {
        Outcome {
            sent,
            ended,
            ..Outcome::default()
        }
    }

    #[test]
    fn what_is_drawn_is_bounded_and_keeps_failures() {
        let mut requests: Vec<Outcome> = (0..10_000).map(|i| request(f64::from(i), 1e5)).collect();
        for at in [17, 4_001, 9_999] {
            requests[at].error = Some("500".to_owned());
        }
        let drawn = choose(&requests, 200);
        assert_eq!(drawn.len(), 200);
        assert_eq!(
            drawn
                .iter()
                .filter(|outcome| outcome.error.is_some())
                .count(),
            3
        );
        assert!(drawn.is_sorted_by(|a, b| a.sent < b.sent));
    }
}
