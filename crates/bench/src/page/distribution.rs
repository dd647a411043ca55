//! How a latency is spread over requests: the share of them that waited no longer than so.

use crate::outcome::Outcome;

use super::axes::{self, Axis};
use super::element::{Element, circle, drawing, label, path};
use super::figure::{Figure, Table};
use super::number;
use super::run::{Run, Tone};
use super::sample::Sample;
use super::scale::{Scale, Tick};

pub(super) const WIDTH: f64 = 540.0;
pub(super) const HEIGHT: f64 = 340.0;
/// Where plots of this size have their data: left to right, bottom to top.
pub(super) const ACROSS: (f64, f64) = (56.0, WIDTH - 24.0);
pub(super) const UP: (f64, f64) = (HEIGHT - 48.0, 46.0);

/// Points of a curve; more could not be told apart.
const POINTS_MAX: usize = 300;
/// Shares that are marked, and so named everywhere.
const MARKED: [(f64, &str); 3] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99")];

/// Something that is measured in ms, and how it is read from a request.
pub(super) struct Metric {
    heading: &'static str,
    caption: &'static str,
    axis: &'static str,
    /// Values of one request, ms.
    values: fn(&Outcome) -> Vec<f64>,
}

pub(super) const TTFT: Metric = Metric {
    heading: "Time to first token",
    caption: "From sending a request to the first piece of its answer that held text.",
    axis: "time to first token",
    values: |outcome| outcome.ttft().map(in_ms).into_iter().collect(),
};

pub(super) const TPOT: Metric = Metric {
    heading: "Time per output token",
    caption: "(End to end − time to first token) / (tokens − 1), one value a request.",
    axis: "time per output token",
    values: |outcome| outcome.tpot().map(in_ms).into_iter().collect(),
};

pub(super) const ITL: Metric = Metric {
    heading: "Inter-token latency",
    caption: "Between a piece of the stream and the next, whatever number of tokens it holds.",
    axis: "inter-token latency",
    values: |outcome| {
        let pairs = outcome.chunks.windows(2);
        pairs.map(|pair| in_ms(pair[1].at - pair[0].at)).collect()
    },
};

pub(super) const FIRST_HELD: Metric = Metric {
    heading: "Held before the first release",
    caption: "From the first token drawn to the first one released.",
    axis: "held before the first release",
    values: |outcome| outcome.gate.iter().map(|g| in_ms(g.first_held)).collect(),
};

pub(super) const HELD: Metric = Metric {
    heading: "Longest hold",
    caption: "The longest that released text of a request waited for its verdict.",
    axis: "longest hold",
    values: |outcome| outcome.gate.iter().map(|g| in_ms(g.held)).collect(),
};

fn in_ms(seconds: f64) -> f64 {
    seconds * 1000.0
}

/// A run's values, and how they are drawn.
struct Curve<'a> {
    label: &'a str,
    tone: &'a Tone,
    sample: Sample,
}

pub(super) fn figure(metric: &Metric, runs: &[Run]) -> Figure {
    let curves: Vec<Curve<'_>> = runs.iter().filter_map(|run| curve(metric, run)).collect();
    let figure = Figure::new(metric.heading, metric.caption);
    if curves.is_empty() {
        return figure;
    }
    if curves.iter().all(|curve| curve.sample.max() <= 0.0) {
        return figure.instead("No time at all, in every request.");
    }
    figure
        .drawn(&plot(metric, &curves))
        .with_table(table(metric, &curves))
}

fn curve<'a>(metric: &Metric, run: &'a Run) -> Option<Curve<'a>> {
    Some(Curve {
        label: &run.label,
        tone: &run.tone,
        sample: Sample::new(run.answered().flat_map(metric.values))?,
    })
}

fn plot(metric: &Metric, curves: &[Curve<'_>]) -> Element {
    let x = durations(curves);
    let y = shares();
    let titles = (
        Axis {
            scale: &x,
            title: metric.axis,
        },
        Axis {
            scale: &y,
            title: "share of values at or below",
        },
    );
    drawing(WIDTH, HEIGHT, metric.heading)
        .child(axes::draw(&titles.0, &titles.1))
        .children(curves.iter().map(|curve| line_of(curve, &x, &y)))
        .children(curves.iter().map(|curve| hints(curve, &x, &y)))
        .children(
            curves
                .iter()
                .map(|curve| marks(curve, &x, &y, curves.len() == 1)),
        )
}

fn durations(curves: &[Curve<'_>]) -> Scale {
    let least = curves
        .iter()
        .filter_map(|curve| curve.sample.least_positive());
    let least = least.fold(f64::INFINITY, f64::min);
    let most = curves.iter().map(|curve| curve.sample.max());
    let most = most.fold(0.0, f64::max);
    // A value next to nothing would take the plot away from all others.
    Scale::durations(least.max(most * 1e-6), most, ACROSS)
}

fn shares() -> Scale {
    let ticks = [0.0, 0.25, 0.5, 0.75, 0.9, 0.99].map(|value| Tick {
        value,
        label: format!("{} %", value * 100.0),
    });
    Scale::with_ticks(1.0, ticks.into(), UP)
}

fn line_of(curve: &Curve<'_>, x: &Scale, y: &Scale) -> Element {
    let steps = curve.sample.len().clamp(2, POINTS_MAX) - 1;
    let points = (0..=steps).map(|i| {
        let share = i as f64 / steps as f64;
        (x.place(curve.sample.quantile(share)), y.place(share))
    });
    let line = path("line", points).hint(curve.label);
    curve.tone.group("curve").child(line)
}

/// Places along the curve that tell their value when pointed at.
fn hints(curve: &Curve<'_>, x: &Scale, y: &Scale) -> Element {
    let spots = (0..=20).map(|i| {
        let share = f64::from(i) / 20.0;
        spot("spot", curve, (share, &format!("p{}", i * 5)), x, y)
    });
    curve.tone.group("spots").children(spots)
}

fn marks(curve: &Curve<'_>, x: &Scale, y: &Scale, alone: bool) -> Element {
    let marks = MARKED.map(|(share, name)| spot("mark", curve, (share, name), x, y));
    let group = curve.tone.group("marks").children(marks);
    if !alone {
        return group;
    }
    group.children(MARKED.map(|named| mark_label(curve, named, x, y)))
}

/// On the side with more room; the last one above the curve, which is level there.
fn mark_label(curve: &Curve<'_>, (share, name): (f64, &str), x: &Scale, y: &Scale) -> Element {
    let value = curve.sample.quantile(share);
    let place = x.place(value);
    let (anchor, aside) = if place < f64::midpoint(ACROSS.0, ACROSS.1) {
        ("start", 10.0)
    } else {
        ("end", -10.0)
    };
    let below = if share > 0.9 { -6.0 } else { 5.0 };
    let text = format!("{name} {}", number::duration(value));
    label(
        "value",
        anchor,
        (place + aside, y.place(share) + below),
        text,
    )
}

fn spot(class: &str, curve: &Curve<'_>, named: (f64, &str), x: &Scale, y: &Scale) -> Element {
    let (share, name) = named;
    let value = curve.sample.quantile(share);
    let centre = (x.place(value), y.place(share));
    let radius = if class == "mark" { 4.0 } else { 6.0 };
    let hint = format!("{}, {name}: {}", curve.label, number::duration(value));
    circle(class, centre, radius).hint(hint)
}

fn table(metric: &Metric, curves: &[Curve<'_>]) -> Table {
    let head = ["Run", "Values", "Mean", "p50", "p90", "p95", "p99", "Max"];
    let mut table = Table::new(format!("{}, last repeat", metric.heading), head);
    table.rows = curves.iter().map(row).collect();
    table
}

fn row(curve: &Curve<'_>) -> Vec<String> {
    let sample = &curve.sample;
    let quantiles = [0.5, 0.9, 0.95, 0.99].map(|share| sample.quantile(share));
    let durations = [sample.mean()]
        .into_iter()
        .chain(quantiles)
        .chain([sample.max()]);
    let named = [curve.label.to_owned(), number::count(sample.len())];
    named
        .into_iter()
        .chain(durations.map(number::duration))
        .collect()
}
