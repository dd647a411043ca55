//! `portcullis bench sweep`: the same workload under growing load, up to the knee.

use crate::args::SweepArgs;
use crate::bench::Stop;
use crate::environment::tell;
use crate::error::BenchError;
use crate::export::Files;
use crate::load::Run;
use crate::plan::Plan;
use crate::report::{Report, SweepReport};
use crate::serve::Session;
use crate::show::{self, number};

/// Load that doubles must buy so much throughput; a smaller step, its share of it.
const GAIN_MIN: f64 = 0.05;
/// Where an open-ended sweep ends, whatever it finds.
const CONCURRENCY_MAX: usize = 4096;
/// Requests of a point, unless `--num-prompts` says so: enough rounds that the first, when all
/// begin at once, weighs little.
const REQUESTS_MIN: usize = 32;
const ROUNDS: usize = 8;
const SECONDS: f64 = 20.0;

/// Runs the command.
///
/// # Errors
/// It cannot be measured; or nothing was answered at some load.
pub(crate) async fn run(args: &SweepArgs) -> Result<(), BenchError> {
    let serve = &args.serve;
    let plan = Plan::resolve(&serve.workload, &serve.load, &serve.measure)?;
    let axis = Axis::of(args, &plan)?;
    let files = Files::open(&serve.output)?;
    let stop = Stop::listen();
    let session = Session::open(serve, &plan).await?;
    let (points, runs) = axis.measure(&session, &plan, args, &stop).await?;
    let report = SweepReport {
        axis: axis.name().to_owned(),
        knee: knee(&axis.loads_and_throughputs(&points)),
        points,
    };
    files.write_requests(&runs)?;
    files.write_report(&report)?;
    show::print(table(&axis, &report, session.url()))
}

/// What grows, and through which values.
#[derive(Debug)]
enum Axis {
    /// Requests under way, doubled until the knee is passed or this bound.
    Open(usize),
    Concurrency(Vec<usize>),
    Rate(Vec<f64>),
}

impl Axis {
    fn of(args: &SweepArgs, plan: &Plan) -> Result<Self, BenchError> {
        let grows = |ascend: bool, flag: &str| match ascend {
            true => Ok(()),
            false => Err(BenchError::Usage(format!("{flag} must grow, from above 0"))),
        };
        if !args.rates.is_empty() {
            let finite = args.rates.iter().all(|rate| rate.is_finite());
            grows(finite && args.rates.is_sorted_by(|a, b| a < b), "--rates")?;
            return Ok(Self::Rate(args.rates.clone()));
        }
        if !args.concurrencies.is_empty() {
            let above = args.concurrencies[0] > 0;
            let ascend = args.concurrencies.is_sorted_by(|a, b| a < b);
            grows(above && ascend, "--concurrencies")?;
            return Ok(Self::Concurrency(args.concurrencies.clone()));
        }
        let most = plan.load.max_concurrency.unwrap_or(CONCURRENCY_MAX);
        Ok(Self::Open(most))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Open(_) | Self::Concurrency(_) => "max_concurrency",
            Self::Rate(_) => "request_rate",
        }
    }

    /// The plan of each point, in order of load.
    fn plans(&self, plan: &Plan, args: &SweepArgs) -> Vec<Plan> {
        let with = |num_prompts: usize| Plan {
            num_prompts: args.serve.workload.num_prompts.or(Some(num_prompts)),
            ..plan.clone()
        };
        let streams = |&most: &usize| {
            let mut plan = with(REQUESTS_MIN.max(ROUNDS * most));
            plan.load.max_concurrency = Some(most);
            plan
        };
        let paced = |&rate: &f64| {
            let mut plan = with(REQUESTS_MIN.max((rate * SECONDS).ceil() as usize));
            plan.load.request_rate = rate;
            plan.load.rate_given = true;
            plan
        };
        match self {
            Self::Open(most) => {
                let doubled = std::iter::successors(Some(1), |streams| Some(streams * 2));
                let below: Vec<usize> = doubled.take_while(|streams| streams <= most).collect();
                below.iter().map(streams).collect()
            }
            Self::Concurrency(values) => values.iter().map(streams).collect(),
            Self::Rate(values) => values.iter().map(paced).collect(),
        }
    }

    async fn measure(
        &self,
        session: &Session,
        plan: &Plan,
        args: &SweepArgs,
        stop: &Stop,
    ) -> Result<(Vec<Report>, Vec<Run>), BenchError> {
        let (mut points, mut runs) = (Vec::new(), Vec::new());
        for (index, mut plan) in self.plans(plan, args).into_iter().enumerate() {
            // Each point has prompts of its own: none may be in a cache already.
            plan.seed = plan.seed.wrapping_add((index * plan.repeats) as u64);
            let measured = match session.measure(&plan, stop).await {
                Err(BenchError::Stopped) if !points.is_empty() => break,
                measured => measured?,
            };
            runs.extend(measured.runs.iter().cloned());
            let report = session.report(measured, &plan);
            tell(progress(self, &report));
            if report.summary.completed == 0 {
                return match (stop.is_set(), points.is_empty()) {
                    (true, false) => Ok((points, runs)),
                    (true, true) => Err(BenchError::Stopped),
                    (false, _) => Err(BenchError::NothingAnswered),
                };
            }
            points.push(report);
            let is_past = knee(&self.loads_and_throughputs(&points)).is_some();
            if stop.is_set() || (is_past && matches!(self, Self::Open(_))) {
                break;
            }
        }
        Ok((points, runs))
    }

    fn load(&self, report: &Report) -> f64 {
        let summary = &report.summary;
        match self {
            Self::Rate(_) => summary.request_rate.unwrap_or(f64::INFINITY),
            Self::Open(_) | Self::Concurrency(_) => {
                summary.max_concurrency.unwrap_or_default() as f64
            }
        }
    }

    fn loads_and_throughputs(&self, points: &[Report]) -> Vec<(f64, f64)> {
        let pair = |report| (self.load(report), report.summary.output_throughput);
        points.iter().map(pair).collect()
    }
}

/// The last point before more load buys too little: load that doubles must buy 5 % throughput.
///
/// By Little's law latency then grows nearly as fast as the load.
fn knee(points: &[(f64, f64)]) -> Option<usize> {
    points.windows(2).position(|pair| {
        let ((load, throughput), (more_load, more_throughput)) = (pair[0], pair[1]);
        let grown = (more_load / load).log2();
        more_throughput < throughput * (1.0 + GAIN_MIN).powf(grown)
    })
}

fn progress(axis: &Axis, report: &Report) -> String {
    let summary = &report.summary;
    format!(
        "{} {}: {} output tokens/s, TTFT {} ms",
        axis.name(),
        axis.load(report),
        number(summary.output_throughput),
        number(
            summary
                .latencies
                .get("median_ttft_ms")
                .copied()
                .unwrap_or(0.0)
        ),
    )
}

/// A line a point.
fn table(axis: &Axis, report: &SweepReport, url: &str) -> String {
    const HEADS: [&str; 10] = [
        "",
        "requests/s",
        "output tok/s",
        "tok/s a stream",
        "TTFT",
        "p99",
        "TPOT",
        "p99",
        "end to end",
        "failed",
    ];
    let row = |(index, point): (usize, &Report)| {
        let mark = if report.knee == Some(index) {
            "  knee"
        } else {
            ""
        };
        let mut cells = vec![axis.load(point).to_string()];
        cells.extend(figures(point));
        cells.push(format!("{}{mark}", point.summary.failed));
        cells
    };
    let mut head = HEADS.map(str::to_owned).to_vec();
    head[0] = match axis {
        Axis::Rate(_) => "rate".to_owned(),
        Axis::Open(_) | Axis::Concurrency(_) => "streams".to_owned(),
    };
    let rows = report.points.iter().enumerate().map(row);
    let table = show::columns(std::iter::once(head).chain(rows), &[9]);
    let model = report.points.first().map_or("", |point| &point.model_id);
    let found = match report.knee {
        Some(_) => "knee: after it, load that doubles buys less than 5 % throughput",
        None => "no knee: throughput still grew at the last point",
    };
    let notes: std::collections::BTreeSet<_> = report
        .points
        .iter()
        .flat_map(|point| &point.notes)
        .collect();
    let notes: String = notes.iter().map(|note| format!("\nnote: {note}")).collect();
    format!("{model} at {url}; medians and 99th percentiles in ms\n\n{table}\n\n{found}{notes}")
}

fn figures(point: &Report) -> Vec<String> {
    let summary = &point.summary;
    let figure = |name: &str| summary.latencies.get(name).copied();
    let told = |name: &str| figure(name).map_or("-".to_owned(), number);
    let a_stream = figure("median_tpot_ms").filter(|ms| *ms > 0.0);
    vec![
        number(summary.request_throughput),
        number(summary.output_throughput),
        a_stream.map_or("-".to_owned(), |ms| number(1e3 / ms)),
        told("median_ttft_ms"),
        told("p99_ttft_ms"),
        told("median_tpot_ms"),
        told("p99_tpot_ms"),
        told("median_e2el_ms"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_is_the_last_point_that_was_worth_its_load() {
        let check = |points: &[(f64, f64)], expect| assert_eq!(knee(points), expect, "{points:?}");
        check(
            &[(1.0, 100.0), (2.0, 190.0), (4.0, 300.0), (8.0, 310.0)],
            Some(2),
        );
        check(&[(1.0, 100.0), (2.0, 190.0)], None);
        check(&[(1.0, 100.0), (2.0, 90.0), (4.0, 200.0)], Some(0));
        // A step of an eighth must buy no 5 %.
        check(&[(8.0, 100.0), (9.0, 101.0)], None);
        check(&[(8.0, 100.0), (9.0, 100.5)], Some(0));
        check(&[], None);
    }
}
