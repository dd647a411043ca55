//! The figures of a run, under the names of `vllm bench serve`.

use std::collections::BTreeMap;

use super::stats::{deviation, mean, percentile, sorted};
use crate::load::Run;
use crate::outcome::{GateCost, Outcome};
use crate::plan::{Goodput, Plan};
use crate::report::{GateSummary, Summary};

/// Figures of these runs, one after another: a run, or all repeats together.
pub fn summarise(runs: &[Run], plan: &Plan) -> Summary {
    let outcomes = || runs.iter().flat_map(|run| &run.outcomes);
    let whole: Vec<&Outcome> = outcomes().filter(|it| it.error.is_none()).collect();
    let duration: f64 = runs.iter().map(|run| run.duration).sum();
    let per_second = |count: usize| match duration > 0.0 {
        true => count as f64 / duration,
        false => 0.0,
    };
    let input: usize = whole.iter().map(|it| it.input_tokens).sum();
    let output: usize = whole.iter().map(|it| it.output_tokens).sum();
    let good = whole
        .iter()
        .filter(|it| plan.goodput.is_kept_by(it))
        .count();
    let pieces: usize = whole.iter().map(|it| it.chunks.len()).sum();
    Summary {
        completed: whole.len(),
        failed: outcomes().count() - whole.len(),
        duration,
        request_rate: Some(plan.load.request_rate).filter(|rate| rate.is_finite()),
        burstiness: plan.load.burstiness,
        max_concurrency: plan.load.max_concurrency,
        total_input_tokens: input,
        total_output_tokens: output,
        request_throughput: per_second(whole.len()),
        request_goodput: (plan.goodput != Goodput::NONE).then(|| per_second(good)),
        output_throughput: per_second(output),
        total_token_throughput: per_second(input + output),
        max_concurrent_requests: runs
            .iter()
            .map(|run| run.concurrency_max)
            .max()
            .unwrap_or(0),
        tokens_per_chunk: output as f64 / pieces.max(1) as f64,
        gate: gate(&whole, output, duration),
        latencies: latencies(&whole, &plan.percentiles),
    }
}

fn latencies(whole: &[&Outcome], percentiles: &[f64]) -> BTreeMap<String, f64> {
    let ms = |values: Vec<f64>| sorted(values.into_iter().map(|seconds| seconds * 1e3));
    let each = |time: fn(&Outcome) -> Option<f64>| {
        ms(whole.iter().filter_map(|outcome| time(outcome)).collect())
    };
    let metrics = [
        ("ttft", each(Outcome::ttft)),
        ("tpot", each(Outcome::tpot)),
        (
            "itl",
            ms(whole.iter().flat_map(|outcome| gaps(outcome)).collect()),
        ),
        ("e2el", each(|outcome| Some(outcome.latency()))),
    ];
    let mut figures = BTreeMap::new();
    for (metric, values) in &metrics {
        let mut tell = |name: &str, figure: Option<f64>| {
            figures.extend(figure.map(|figure| (format!("{name}_{metric}_ms"), figure)));
        };
        tell("mean", mean(values));
        tell("median", percentile(values, 50.0));
        tell("std", deviation(values));
        tell("max", values.last().copied());
        for &percent in percentiles {
            tell(&format!("p{percent}"), percentile(values, percent));
        }
    }
    figures
}

/// Times between the pieces of a stream, s.
fn gaps(outcome: &Outcome) -> impl Iterator<Item = f64> {
    outcome
        .chunks
        .windows(2)
        .map(|pair| pair[1].at - pair[0].at)
}

impl Goodput {
    /// Whether a request keeps every limit. An answer of one token has no TPOT, and keeps any.
    pub fn is_kept_by(&self, outcome: &Outcome) -> bool {
        let keeps = |limit: Option<f64>, seconds: Option<f64>| {
            limit.is_none_or(|limit| seconds.is_some_and(|seconds| seconds * 1e3 <= limit))
        };
        keeps(self.ttft_ms, outcome.ttft())
            && keeps(self.tpot_ms, outcome.tpot().or(Some(0.0)))
            && keeps(self.e2el_ms, Some(outcome.latency()))
    }
}

fn gate(whole: &[&Outcome], output: usize, duration: f64) -> Option<GateSummary> {
    let costs: Vec<&GateCost> = whole.iter().filter_map(|it| it.gate.as_ref()).collect();
    let mean_of = |figure: fn(&GateCost) -> f64| {
        let values: Vec<f64> = costs.iter().map(|cost| figure(cost)).collect();
        mean(&values)
    };
    let discarded_tokens = costs.iter().map(|cost| cost.discarded_tokens).sum();
    let mut rules = BTreeMap::new();
    for (rule, seconds) in costs.iter().flat_map(|cost| &cost.rules) {
        let us_per_token = seconds * 1e6 / output.max(1) as f64;
        *rules.entry(rule.clone()).or_insert(0.0) += us_per_token;
    }
    let judged: f64 = costs.iter().map(|cost| cost.judged).sum();
    Some(GateSummary {
        us_per_token: judged * 1e6 / output.max(1) as f64,
        mean_first_held_ms: mean_of(|cost| cost.first_held * 1e3)?,
        mean_held_ms: mean_of(|cost| cost.held * 1e3)?,
        mean_attempts: mean_of(|cost| cost.attempts as f64)?,
        discarded_tokens,
        drawn_throughput: (output as f64 + discarded_tokens as f64) / duration.max(f64::EPSILON),
        rule_us_per_token: rules,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::workload::tests::plan;
    use super::*;
    use crate::args::WorkloadArgs;
    use crate::outcome::Chunk;

    /// Sent at `sent`, with a token at each of the times, ended with the last.
    fn answered(sent: f64, at: &[f64]) -> Outcome {
        let chunk = |at: &f64| Chunk {
            at: *at,
            tokens: 1.0,
        };
        Outcome {
            sent,
            ended: at.last().copied().unwrap_or(sent),
            input_tokens: 10,
            output_tokens: at.len(),
            counted: true,
            chunks: at.iter().map(chunk).collect(),
            ..Outcome::default()
        }
    }

    fn run(outcomes: Vec<Outcome>) -> Run {
        Run {
            outcomes,
            duration: 4.0,
            concurrency_max: 2,
            ..Run::default()
        }
    }

    #[track_caller]
    fn close(value: f64, expect: f64) {
        assert!((value - expect).abs() < 1e-9, "{value}, not {expect}");
    }

    #[test]
    fn figures_are_those_computed_by_hand() {
        let failed = Outcome {
            error: Some("no".into()),
            ..answered(0.0, &[1.0])
        };
        let outcomes = vec![
            answered(0.0, &[0.1, 0.2, 0.4]),
            answered(1.0, &[1.3, 1.4]),
            failed,
        ];
        let mut plan = plan(WorkloadArgs::default());
        plan.percentiles = vec![90.0, 99.9];
        plan.goodput.ttft_ms = Some(200.0);
        let summary = summarise(&[run(outcomes)], &plan);
        assert_eq!((summary.completed, summary.failed), (2, 1));
        assert_eq!(
            (summary.total_input_tokens, summary.total_output_tokens),
            (20, 5)
        );
        close(summary.output_throughput, 1.25);
        close(summary.total_token_throughput, 6.25);
        close(summary.request_throughput, 0.5);
        close(summary.request_goodput.unwrap(), 0.25);
        close(summary.tokens_per_chunk, 1.0);
        let check = |name: &str, expect| close(summary.latencies[name], expect);
        check("mean_ttft_ms", 200.0);
        check("p90_ttft_ms", 280.0);
        // (0.4 − 0.1) / 2 and (0.4 − 0.3) / 1.
        check("mean_tpot_ms", 125.0);
        check("std_tpot_ms", 25.0);
        // 100, 200 and 100 ms.
        check("median_itl_ms", 100.0);
        check("max_itl_ms", 200.0);
        check("mean_e2el_ms", 400.0);
        assert!(summary.latencies.contains_key("p99.9_e2el_ms"));
    }

    #[test]
    fn one_token_has_no_tpot_and_keeps_any_limit_on_it() {
        let limits = Goodput {
            tpot_ms: Some(1.0),
            ..Goodput::NONE
        };
        let one = answered(0.0, &[0.5]);
        assert_eq!(one.tpot(), None);
        assert!(limits.is_kept_by(&one));
        assert!(!limits.is_kept_by(&answered(0.0, &[0.5, 0.6])));
    }

    #[test]
    fn nothing_answered_makes_no_figures_and_no_division_by_nothing() {
        let empty = Run::default();
        let summary = summarise(&[empty], &plan(WorkloadArgs::default()));
        assert_eq!((summary.completed, summary.output_throughput), (0, 0.0));
        assert!(summary.latencies.is_empty() && summary.gate.is_none());
    }

    #[test]
    fn repeats_add_up() {
        let once = run(vec![answered(0.0, &[0.1, 0.2])]);
        let both = summarise(&[once.clone(), once], &plan(WorkloadArgs::default()));
        assert_eq!((both.completed, both.duration), (2, 8.0));
        close(both.output_throughput, 0.5);
    }

    #[test]
    fn the_gate_is_told_where_the_server_tells_it() {
        let mut outcome = answered(0.0, &[0.1, 0.2]);
        outcome.gate = Some(GateCost {
            first_held: 0.01,
            judged: 0.000_008,
            attempts: 2,
            discarded_tokens: 2,
            rules: [("set/rule".to_owned(), 0.000_004)].into(),
            ..GateCost::default()
        });
        let summary = summarise(&[run(vec![outcome])], &plan(WorkloadArgs::default()));
        let gate = summary.gate.unwrap();
        close(gate.mean_first_held_ms, 10.0);
        close(gate.drawn_throughput, 1.0);
        close(gate.us_per_token, 4.0);
        close(gate.rule_us_per_token["set/rule"], 2.0);
    }
}
