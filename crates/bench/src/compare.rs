//! `portcullis bench compare`: how two reports differ, and whether that is more than noise.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::args::CompareArgs;
use crate::error::BenchError;
use crate::measure::Interval;
use crate::report::{Report, Summary, SweepReport};
use crate::show::{self, number};

/// Figures told of each latency.
const LATENCIES: [&str; 4] = ["ttft", "tpot", "itl", "e2el"];
const STATISTICS: [&str; 3] = ["mean", "median", "p99"];

/// Runs the command.
///
/// # Errors
/// A file is no report, or the two have no load in common.
pub(crate) fn run(args: &CompareArgs) -> Result<(), BenchError> {
    let (a, b) = (Points::read(&args.a)?, Points::read(&args.b)?);
    let pairs = a.pairs(&b);
    if pairs.is_empty() {
        return Err(BenchError::Usage(
            "the two sweeps have no load in common; sweep both through the same values".into(),
        ));
    }
    let texts = pairs.iter().map(|(a, b)| compare(a, b));
    show::print(texts.collect::<Vec<_>>().join("\n\n"))
}

/// What a file of results holds.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Points {
    Many(SweepReport),
    One(Box<Report>),
}

impl Points {
    fn read(path: &Path) -> Result<Self, BenchError> {
        let text = std::fs::read_to_string(path).map_err(|source| BenchError::File {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|_| BenchError::Content {
            path: path.to_owned(),
            why: "is no report of `bench serve --output` or `bench sweep --output`".into(),
        })
    }

    fn all(&self) -> &[Report] {
        match self {
            Self::Many(sweep) => &sweep.points,
            Self::One(report) => std::slice::from_ref(report),
        }
    }

    /// Reports of the same load; two single ones are a pair whatever their load.
    fn pairs<'a>(&'a self, other: &'a Self) -> Vec<(&'a Report, &'a Report)> {
        if let (Self::One(a), Self::One(b)) = (self, other) {
            return vec![(a, b)];
        }
        let load = |it: &Report| (it.summary.max_concurrency, it.summary.request_rate);
        let partner = |a: &'a Report| other.all().iter().find(|b| load(a) == load(b));
        let pairs = self.all().iter();
        pairs.filter_map(|a| Some((a, partner(a)?))).collect()
    }
}

/// A table of the figures of two reports.
fn compare(a: &Report, b: &Report) -> String {
    let head = ["", "A", "B", "B / A", "95 %", ""]
        .map(str::to_owned)
        .to_vec();
    let rows = figures(a).into_iter().filter_map(|figure| figure.row(a, b));
    let table = show::columns(std::iter::once(head).chain(rows), &[0, 5]);
    let mut text = format!("A  {}\nB  {}\n\n{table}", title(a), title(b));
    for difference in differences(a, b) {
        text += &format!("\nnote: {difference}");
    }
    if a.repeats.len() < 2 || b.repeats.len() < 2 {
        text += "\nnote: without repeats on both sides nothing can be told from noise; measure \
                 with --repeats 5";
    }
    text
}

fn title(report: &Report) -> String {
    let environment = &report.environment;
    let load = match (report.summary.max_concurrency, report.summary.request_rate) {
        (Some(most), _) => format!("{most} under way"),
        (None, Some(rate)) => format!("{rate} requests/s"),
        (None, None) => "all at once".to_owned(),
    };
    format!(
        "{}, {load}, {} repeats, {}",
        report.model_id,
        report.repeats.len(),
        environment.date
    )
}

/// One figure of a summary.
struct Figure {
    name: String,
    /// Whether more of it is better.
    more_is_better: bool,
}

fn figures(report: &Report) -> Vec<Figure> {
    let throughputs = [
        "request_throughput",
        "request_goodput",
        "output_throughput",
        "total_token_throughput",
    ];
    let throughputs = throughputs.iter().map(|name| ((*name).to_owned(), true));
    let latencies = LATENCIES.iter().flat_map(|metric| {
        let name = move |statistic: &&str| (format!("{statistic}_{metric}_ms"), false);
        STATISTICS.iter().map(name)
    });
    let told = |(name, more_is_better)| Figure {
        name,
        more_is_better,
    };
    let all = throughputs.chain(latencies).map(told);
    all.filter(|figure| figure.of(&report.summary).is_some())
        .collect()
}

impl Figure {
    fn of(&self, summary: &Summary) -> Option<f64> {
        match self.name.as_str() {
            "request_throughput" => Some(summary.request_throughput),
            "request_goodput" => summary.request_goodput,
            "output_throughput" => Some(summary.output_throughput),
            "total_token_throughput" => Some(summary.total_token_throughput),
            latency => summary.latencies.get(latency).copied(),
        }
    }

    fn row(&self, a: &Report, b: &Report) -> Option<Vec<String>> {
        let (in_a, in_b) = (self.of(&a.summary)?, self.of(&b.summary)?);
        let of_repeats = |report: &Report| -> Vec<f64> {
            report
                .repeats
                .iter()
                .filter_map(|repeat| self.of(repeat))
                .collect()
        };
        let interval = Interval::of_ratio(&of_repeats(a), &of_repeats(b));
        let ratio = interval.map_or(in_b / in_a, |interval| interval.mean);
        Some(vec![
            self.name.clone(),
            number(in_a),
            number(in_b),
            format!("{ratio:.3}"),
            interval.map_or(String::new(), |it| {
                format!("{:.3} to {:.3}", it.low, it.high)
            }),
            interval.map_or("", |it| self.verdict(&it)).to_owned(),
        ])
    }

    fn verdict(&self, ratio: &Interval) -> &'static str {
        match (ratio.holds(1.0), (ratio.mean > 1.0) == self.more_is_better) {
            (true, _) => "within noise",
            (false, true) => "better",
            (false, false) => "worse",
        }
    }
}

/// What else differs: a reader would take it for the server's doing.
fn differences(a: &Report, b: &Report) -> Vec<String> {
    let empty = serde_json::Map::new();
    let (of_a, of_b) = (
        a.workload.as_object().unwrap_or(&empty),
        b.workload.as_object().unwrap_or(&empty),
    );
    let names: BTreeSet<&String> = of_a.keys().chain(of_b.keys()).collect();
    let mut all: Vec<(&str, String, String)> = Vec::new();
    let text = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    for name in names.into_iter().filter(|name| *name != "repeats") {
        all.push((name, text(of_a.get(name)), text(of_b.get(name))));
    }
    let (in_a, in_b) = (&a.environment, &b.environment);
    let gpu = |gpu: &Option<String>| gpu.clone().unwrap_or("none".to_owned());
    all.push(("backend", a.backend.clone(), b.backend.clone()));
    all.push(("model", a.model_id.clone(), b.model_id.clone()));
    all.push(("cpu", in_a.cpu.clone(), in_b.cpu.clone()));
    all.push(("gpu", gpu(&in_a.gpu), gpu(&in_b.gpu)));
    all.retain(|(_, a, b)| a != b);
    let told = all.into_iter();
    told.map(|(name, a, b)| format!("{name} differs: {a} in A, {b} in B"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(throughputs: &[f64]) -> Report {
        let summary = |throughput: &f64| Summary {
            output_throughput: *throughput,
            latencies: [("mean_ttft_ms".to_owned(), 1e4 / throughput)].into(),
            ..Summary::default()
        };
        Report {
            summary: summary(&throughputs[0]),
            backend: String::new(),
            model_id: "m".into(),
            num_prompts: 1,
            workload: serde_json::json!({"seed": 0, "repeats": throughputs.len()}),
            definitions: Default::default(),
            client: Default::default(),
            notes: Vec::new(),
            repeats: throughputs.iter().map(summary).collect(),
            environment: Default::default(),
            requests: Vec::new(),
        }
    }

    fn line(text: &str, name: &str) -> String {
        let found = text.lines().find(|line| line.starts_with(name));
        found
            .unwrap_or_else(|| panic!("{name} in {text}"))
            .to_owned()
    }

    #[test]
    fn what_is_beyond_noise_is_called_better_or_worse() {
        let (slow, fast) = (
            report(&[100.0, 101.0, 99.0]),
            report(&[110.0, 111.0, 109.0]),
        );
        let text = compare(&slow, &fast);
        let throughput = line(&text, "output_throughput");
        assert!(
            throughput.contains("1.100") && throughput.ends_with("better"),
            "{text}"
        );
        assert!(line(&text, "mean_ttft_ms").ends_with("better"), "{text}");
        assert!(line(&compare(&fast, &slow), "mean_ttft_ms").ends_with("worse"));
        let same = compare(&slow, &report(&[101.0, 99.0, 100.5]));
        assert!(
            line(&same, "output_throughput").ends_with("within noise"),
            "{same}"
        );
        assert!(!same.contains("note:"), "{same}");
    }

    #[test]
    fn single_runs_get_a_ratio_and_no_verdict() {
        let text = compare(&report(&[100.0]), &report(&[150.0]));
        assert!(
            line(&text, "output_throughput").ends_with("1.500"),
            "{text}"
        );
        assert!(text.contains("--repeats"), "{text}");
    }

    #[test]
    fn what_was_asked_differently_is_said() {
        let mut other = report(&[100.0]);
        other.workload["seed"] = serde_json::json!(1);
        other.environment.gpu = Some("H100".into());
        let said = differences(&report(&[100.0]), &other);
        assert_eq!(
            said,
            [
                "seed differs: 0 in A, 1 in B",
                "gpu differs: none in A, H100 in B"
            ]
        );
    }

    #[test]
    fn reports_of_a_sweep_are_paired_by_their_load() {
        let sweep = |loads: &[usize]| {
            let at = |load: &usize| {
                let mut report = report(&[1.0]);
                report.summary.max_concurrency = Some(*load);
                report
            };
            let points = loads.iter().map(at).collect();
            let sweep = SweepReport {
                axis: "max_concurrency".into(),
                knee: None,
                points,
            };
            let text = serde_json::to_string(&sweep).unwrap();
            serde_json::from_str::<Points>(&text).unwrap()
        };
        assert_eq!(sweep(&[1, 2, 4]).pairs(&sweep(&[2, 4, 8])).len(), 2);
        assert!(sweep(&[1]).pairs(&sweep(&[2])).is_empty());
    }
}
