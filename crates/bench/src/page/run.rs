//! Reports as the page speaks of them: named, coloured, in order.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::outcome::Outcome;
use crate::report::{Report, Summary};

use super::element::Element;
use super::number;

/// Colours of the palette, vermilion aside, which means failure.
const COLOURS: usize = 6;

/// A report and where it came from.
pub struct Named {
    /// What it is called on the page: the stem of its file.
    pub label: String,
    /// The line it belongs to, if somebody said so; else its server says.
    pub series: Option<String>,
    /// What was measured.
    pub report: Report,
}

/// One run as it is drawn.
pub(super) struct Run {
    pub(super) label: String,
    pub(super) series: String,
    pub(super) tone: Tone,
    pub(super) report: Report,
}

/// How the lines of a run look.
#[derive(Clone, Serialize)]
pub(super) struct Tone {
    /// A class of the style sheet.
    colour: String,
    /// Sets runs of one colour apart.
    dashes: &'static str,
}

/// Runs of a series side by side, by load; series in the order they came.
pub(super) fn arrange(reports: Vec<Named>) -> Vec<Run> {
    let mut series: Vec<String> = Vec::new();
    let mut runs: Vec<(usize, Named)> = Vec::with_capacity(reports.len());
    for named in reports {
        let name = series_of(&named);
        let at = series.iter().position(|known| *known == name);
        let at = at.unwrap_or_else(|| {
            series.push(name);
            series.len() - 1
        });
        runs.push((at, named));
    }
    runs.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| by_load(left, right)));
    name_and_colour(runs, &series)
}

fn series_of(named: &Named) -> String {
    let environment = &named.report.environment;
    let server = environment.server.clone();
    let told = named.series.clone().or(server);
    let model = (!environment.model.is_empty()).then(|| environment.model.clone());
    told.or(model).unwrap_or_else(|| named.label.clone())
}

fn by_load(left: &Named, right: &Named) -> std::cmp::Ordering {
    let load = |named: &Named| {
        let summary = &named.report.summary;
        let concurrency = summary.max_concurrency.unwrap_or(usize::MAX);
        (concurrency, summary.request_rate.unwrap_or(f64::INFINITY))
    };
    let (left, right) = (load(left), load(right));
    left.0.cmp(&right.0).then(left.1.total_cmp(&right.1))
}

/// One series: a colour a run. Several: a colour a series, and dashes within it.
fn name_and_colour(runs: Vec<(usize, Named)>, series: &[String]) -> Vec<Run> {
    let mut labels = BTreeSet::new();
    let mut within = vec![0; series.len()];
    let named = runs.into_iter().map(|(at, named)| {
        let nth = within[at];
        within[at] += 1;
        let tone = if series.len() == 1 {
            Tone::new(nth, nth / COLOURS)
        } else {
            Tone::new(at, nth)
        };
        Run {
            label: unlike(named.label, &mut labels),
            series: series[at].clone(),
            tone,
            report: named.report,
        }
    });
    named.collect()
}

/// The label, with a number behind it if another run has it already.
fn unlike(label: String, taken: &mut BTreeSet<String>) -> String {
    let mut unlike = label.clone();
    let mut nth = 2;
    while !taken.insert(unlike.clone()) {
        unlike = format!("{label} ({nth})");
        nth += 1;
    }
    unlike
}

impl Tone {
    fn new(colour: usize, dashes: usize) -> Self {
        const DASHES: [&str; 6] = ["", "6 3", "2 3", "8 3 2 3", "12 4", "1 5"];
        Self {
            colour: format!("c{}", colour % COLOURS),
            dashes: DASHES[dashes % DASHES.len()],
        }
    }

    /// A group whose lines and dots have this colour and these dashes.
    pub(super) fn group(&self, class: &str) -> Element {
        let group = Element::group(&format!("{class} {}", self.colour));
        match self.dashes {
            "" => group,
            dashes => group.with("stroke-dasharray", dashes),
        }
    }

    pub(super) fn colour(&self) -> &str {
        &self.colour
    }
}

impl Run {
    pub(super) fn summary(&self) -> &Summary {
        &self.report.summary
    }

    /// Nothing was asked of the server.
    pub(super) fn is_empty(&self) -> bool {
        let Summary {
            completed, failed, ..
        } = *self.summary();
        completed + failed == 0 && self.report.requests.is_empty()
    }

    /// Requests of the last repeat that were answered whole.
    pub(super) fn answered(&self) -> impl Iterator<Item = &Outcome> {
        let requests = self.report.requests.iter();
        requests.filter(|outcome| outcome.error.is_none())
    }

    /// What was asked of the server, in a word or two.
    pub(super) fn load(&self) -> String {
        let Summary {
            max_concurrency,
            request_rate,
            ..
        } = *self.summary();
        let bound = max_concurrency.map(|n| format!("{} at once", number::count(n)));
        let rate = request_rate.map(|rate| format!("{}/s", number::plain(rate)));
        match (rate, bound) {
            (Some(rate), Some(bound)) => format!("{rate}, {bound}"),
            (Some(load), None) | (None, Some(load)) => load,
            (None, None) => "all at once".to_owned(),
        }
    }
}
