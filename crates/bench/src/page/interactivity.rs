//! Throughput against interactivity: what the server gives all users together, and what each of
//! them sees of it. A curve further up and to the right is better at every load.

use crate::report::Summary;

use super::axes::{self, Axis};
use super::distribution::{ACROSS, HEIGHT, UP, WIDTH};
use super::element::{Element, circle, drawing, label, line, path};
use super::figure::{Figure, Table};
use super::number;
use super::run::Run;
use super::sample::half_interval;
use super::scale::Scale;

const HEADING: &str = "Throughput against interactivity";
const CAPTION: &str = "Tokens a second of all users together, against what one of them sees: \
    1000 / median time per output token in ms. Further up and to the right is better.";
/// Pixels of a letter, to keep labels apart.
const LETTER: f64 = 7.0;

/// One run in the plot.
struct Point<'a> {
    run: &'a Run,
    /// Tokens/s of one user, and half its interval over repeats.
    interactivity: (f64, Option<f64>),
    /// Tokens/s of all, and half its interval.
    throughput: (f64, Option<f64>),
}

pub(super) fn figure(runs: &[Run]) -> Figure {
    let points: Vec<Point<'_>> = runs.iter().filter_map(point).collect();
    let caption = match points.len() {
        1 => format!("{CAPTION} One report makes one point; give several for a curve."),
        _ => CAPTION.to_owned(),
    };
    let figure = Figure::new(HEADING, caption);
    if points.is_empty() {
        return figure;
    }
    figure.drawn(&plot(&points)).with_table(table(&points))
}

fn point(run: &Run) -> Option<Point<'_>> {
    let repeats = &run.report.repeats;
    let speeds: Vec<f64> = repeats.iter().filter_map(interactivity).collect();
    let outputs: Vec<f64> = repeats.iter().map(|r| r.output_throughput).collect();
    Some(Point {
        run,
        interactivity: (interactivity(run.summary())?, half_interval(&speeds)),
        throughput: (run.summary().output_throughput, half_interval(&outputs)),
    })
}

/// Tokens/s that one user sees.
fn interactivity(summary: &Summary) -> Option<f64> {
    let tpot = summary.latencies.get("median_tpot_ms")?;
    (*tpot > 0.0).then(|| 1000.0 / tpot)
}

fn plot(points: &[Point<'_>]) -> Element {
    let most = |value: fn(&Point<'_>) -> f64| points.iter().map(value).fold(0.0, f64::max);
    let x = Scale::from_zero(most(|p| p.interactivity.0) * 1.05, ACROSS);
    let y = Scale::from_zero(most(|p| p.throughput.0) * 1.05, UP);
    let titles = (
        Axis {
            scale: &x,
            title: "tokens/s per user",
        },
        Axis {
            scale: &y,
            title: "output tokens/s",
        },
    );
    drawing(WIDTH, HEIGHT, HEADING)
        .child(axes::draw(&titles.0, &titles.1))
        .children(series(points).map(|series| curve(series, &x, &y)))
        .children(points.iter().map(|point| dot(point, &x, &y)))
        .children(labels(points, &x, &y))
}

/// Points that belong to one line, in order of load.
fn series<'a, 'b>(points: &'a [Point<'b>]) -> impl Iterator<Item = &'a [Point<'b>]> {
    points.chunk_by(|a, b| a.run.series == b.run.series)
}

fn curve(series: &[Point<'_>], x: &Scale, y: &Scale) -> Element {
    let places = series.iter().map(|point| place(point, x, y));
    let colour = series[0].run.tone.colour();
    let shared = series.iter().all(|point| point.run.tone.colour() == colour);
    let class = format!("line {}", if shared { colour } else { "neutral" });
    path(&class, places).hint(&series[0].run.series)
}

fn place(point: &Point<'_>, x: &Scale, y: &Scale) -> (f64, f64) {
    (x.place(point.interactivity.0), y.place(point.throughput.0))
}

fn dot(point: &Point<'_>, x: &Scale, y: &Scale) -> Element {
    let class = format!("point {}", point.run.tone.colour());
    let (left, top) = place(point, x, y);
    let across = point.interactivity.1.map(|half| {
        let (low, high) = (point.interactivity.0 - half, point.interactivity.0 + half);
        line("whisker", (x.place(low), top), (x.place(high), top))
    });
    let upright = point.throughput.1.map(|half| {
        let (low, high) = (point.throughput.0 - half, point.throughput.0 + half);
        line("whisker", (left, y.place(low)), (left, y.place(high)))
    });
    Element::group(&class)
        .children(across)
        .children(upright)
        .child(circle("mark", (left, top), 5.0))
        .hint(hint(point))
}

fn hint(point: &Point<'_>) -> String {
    let Point {
        run,
        interactivity,
        throughput,
    } = point;
    format!(
        "{}, {}: {} tokens/s per user, {} tokens/s in all",
        run.label,
        run.load(),
        with_interval(*interactivity),
        with_interval(*throughput),
    )
}

fn with_interval((value, half): (f64, Option<f64>)) -> String {
    let half = half.map(|half| format!(" ± {}", number::short(half)));
    number::short(value) + &half.unwrap_or_default()
}

/// The load beside each point where there is room; the hint says it anyway.
fn labels(points: &[Point<'_>], x: &Scale, y: &Scale) -> Vec<Element> {
    let dots = points.iter().map(|point| place(point, x, y));
    let mut taken: Vec<Room> = dots.map(|at| Room::around(at, 6.0, 6.0)).collect();
    let mut labels = Vec::new();
    for point in points {
        let text = point.run.load();
        let at = place(point, x, y);
        let spots = spots(at, text.chars().count() as f64 * LETTER);
        let free = spots
            .into_iter()
            .find(|(_, _, room)| room.is_inside() && !taken.iter().any(|other| other.meets(room)));
        if let Some((anchor, place, room)) = free {
            taken.push(room);
            labels.push(label("value", anchor, place, text));
        }
    }
    labels
}

/// Where a label may stand: right, left, above, below.
fn spots((x, y): (f64, f64), width: f64) -> [(&'static str, (f64, f64), Room); 4] {
    let half = width / 2.0;
    [
        (
            "start",
            (x + 10.0, y + 4.0),
            Room::around((x + 10.0 + half, y), half, 7.0),
        ),
        (
            "end",
            (x - 10.0, y + 4.0),
            Room::around((x - 10.0 - half, y), half, 7.0),
        ),
        (
            "middle",
            (x, y - 11.0),
            Room::around((x, y - 15.0), half, 7.0),
        ),
        (
            "middle",
            (x, y + 20.0),
            Room::around((x, y + 16.0), half, 7.0),
        ),
    ]
}

/// A rectangle that is taken.
struct Room {
    x: (f64, f64),
    y: (f64, f64),
}

impl Room {
    fn around((x, y): (f64, f64), half_width: f64, half_height: f64) -> Self {
        Self {
            x: (x - half_width, x + half_width),
            y: (y - half_height, y + half_height),
        }
    }

    fn meets(&self, other: &Self) -> bool {
        let apart = |a: (f64, f64), b: (f64, f64)| a.1 < b.0 || b.1 < a.0;
        !apart(self.x, other.x) && !apart(self.y, other.y)
    }

    fn is_inside(&self) -> bool {
        self.x.0 >= ACROSS.0 && self.x.1 <= WIDTH && self.y.0 >= UP.1 - 16.0 && self.y.1 <= UP.0
    }
}

fn table(points: &[Point<'_>]) -> Table {
    let head = [
        "Run",
        "Series",
        "Load",
        "Tokens/s per user",
        "Output tokens/s",
    ];
    let mut table = Table::new(HEADING, head);
    let rows = points.iter().map(|point| {
        vec![
            point.run.label.clone(),
            point.run.series.clone(),
            point.run.load(),
            with_interval(point.interactivity),
            with_interval(point.throughput),
        ]
    });
    table.rows = rows.collect();
    table
}
