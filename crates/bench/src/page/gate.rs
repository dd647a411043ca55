//! What the gate cost: attempts, and tokens drawn for nothing.

use crate::outcome::{GateCost, Outcome};

use super::axes::{self, Axis};
use super::distribution::{self, ACROSS, FIRST_HELD, HEIGHT, HELD, UP, WIDTH};
use super::element::{Element, drawing, rectangle};
use super::figure::{Figure, Table};
use super::number;
use super::run::Run;
use super::scale::{Scale, Tick};

const HEADING: &str = "Attempts";
const CAPTION: &str = "How often a request was begun or taken up again: 1 where the gate refused \
    nothing. What was refused was drawn for nothing.";
/// The last group holds this many attempts and more.
const ATTEMPTS_MAX: usize = 5;

/// What the gate did to the requests of a run.
struct Cost<'a> {
    run: &'a Run,
    requests: usize,
    /// Requests by attempts: 1, 2, …
    by_attempts: [usize; ATTEMPTS_MAX],
    attempts: f64,
    discarded: f64,
    /// Tokens that these requests answered with.
    kept: f64,
}

/// Nothing where no server told what its gate did.
pub(super) fn figures(runs: &[Run]) -> Vec<Figure> {
    let costs: Vec<Cost<'_>> = runs.iter().filter_map(Cost::of).collect();
    if costs.is_empty() {
        return Vec::new();
    }
    let attempts = Figure::new(HEADING, CAPTION);
    vec![
        distribution::figure(&FIRST_HELD, runs),
        distribution::figure(&HELD, runs),
        attempts
            .drawn(&plot(&costs))
            .with_table(table(&costs))
            .with_table(rule_table(runs)),
    ]
}

impl<'a> Cost<'a> {
    fn of(run: &'a Run) -> Option<Self> {
        let told = run
            .answered()
            .filter_map(|outcome| Some((outcome, outcome.gate.as_ref()?)));
        let mut cost = Self {
            run,
            requests: 0,
            by_attempts: [0; ATTEMPTS_MAX],
            attempts: 0.0,
            discarded: 0.0,
            kept: 0.0,
        };
        told.for_each(|(outcome, gate)| cost.add(outcome, gate));
        (cost.requests > 0).then_some(cost)
    }

    fn add(&mut self, outcome: &Outcome, gate: &GateCost) {
        let group = usize::try_from(gate.attempts).unwrap_or(ATTEMPTS_MAX);
        self.by_attempts[group.clamp(1, ATTEMPTS_MAX) - 1] += 1;
        self.requests += 1;
        self.attempts += gate.attempts as f64;
        self.discarded += gate.discarded_tokens as f64;
        self.kept += outcome.output_tokens as f64;
    }
}

fn plot(costs: &[Cost<'_>]) -> Element {
    let y = Scale::with_ticks(1.0, percentages(), UP);
    let x = Scale::with_ticks(ATTEMPTS_MAX as f64, group_names(), ACROSS);
    let nothing = Scale::with_ticks(1.0, Vec::new(), ACROSS);
    let titles = (
        Axis {
            scale: &nothing,
            title: "attempts",
        },
        Axis {
            scale: &y,
            title: "share of requests",
        },
    );
    drawing(WIDTH, HEIGHT, HEADING)
        .child(axes::draw(&titles.0, &titles.1))
        .children(axes::columns(&x, UP.0, UP.0))
        .children(
            costs
                .iter()
                .enumerate()
                .map(|(nth, cost)| bars(cost, (nth, costs.len()), &x, &y)),
        )
}

fn percentages() -> Vec<Tick> {
    let ticks = [0.0, 0.25, 0.5, 0.75, 1.0].map(|value| Tick {
        value,
        label: format!("{} %", value * 100.0),
    });
    ticks.into()
}

fn group_names() -> Vec<Tick> {
    let names = (1..=ATTEMPTS_MAX).map(|attempts| Tick {
        value: attempts as f64 - 0.5,
        label: format!(
            "{attempts}{}",
            if attempts == ATTEMPTS_MAX { "+" } else { "" }
        ),
    });
    names.collect()
}

/// The bars of the `nth` of so many runs, one in each group.
fn bars(cost: &Cost<'_>, (nth, runs): (usize, usize), x: &Scale, y: &Scale) -> Element {
    const FILLED: f64 = 0.7;
    let width = FILLED / runs as f64;
    let bar = |(group, &requests): (usize, &usize)| {
        let from = group as f64 + 0.5 - FILLED / 2.0 + nth as f64 * width;
        let (left, right) = (x.place(from), x.place(from + width * 0.92));
        let top = y.place(requests as f64 / cost.requests as f64);
        rectangle("bar", (left, top), right - left, UP.0 - top).hint(format!(
            "{}, {} attempts: {} requests, {}",
            cost.run.label,
            group + 1,
            number::count(requests),
            number::percent(requests as f64, cost.requests as f64),
        ))
    };
    let bars = cost.by_attempts.iter().enumerate();
    let bars = bars.filter(|(_, requests)| **requests > 0).map(bar);
    cost.run.tone.group("columns").children(bars)
}

fn table(costs: &[Cost<'_>]) -> Table {
    let head = [
        "Run",
        "Requests",
        "Attempts, mean",
        "Refused at least once",
        "Tokens discarded",
        "Share of tokens drawn",
    ];
    let mut table = Table::new("What the gate cost, last repeat", head);
    table.rows = costs.iter().map(row).collect();
    table
}

fn row(cost: &Cost<'_>) -> Vec<String> {
    let refused = cost.requests - cost.by_attempts[0];
    vec![
        cost.run.label.clone(),
        number::count(cost.requests),
        number::short(cost.attempts / cost.requests as f64),
        number::percent(refused as f64, cost.requests as f64),
        number::short(cost.discarded),
        number::percent(cost.discarded, cost.discarded + cost.kept),
    ]
}

/// What each rule took, dearest first. Empty where the server does not tell.
fn rule_table(runs: &[Run]) -> Table {
    let caption = "Time in the gate for each completion token, by rule";
    let mut rules: Vec<(&Run, &str, f64)> = runs
        .iter()
        .filter_map(|run| Some((run, run.summary().gate.as_ref()?)))
        .flat_map(|(run, gate)| {
            let rules = gate.rule_us_per_token.iter();
            rules.map(move |(rule, &us)| (run, rule.as_str(), us))
        })
        .collect();
    rules.sort_by(|a, b| b.2.total_cmp(&a.2));
    let mut table = Table::new(caption, ["Rule", "Run", "Time a token"]);
    let rows = rules.into_iter().map(|(run, rule, us)| {
        vec![
            rule.to_owned(),
            run.label.clone(),
            number::duration(us / 1000.0),
        ]
    });
    table.rows = rows.collect();
    table
}
