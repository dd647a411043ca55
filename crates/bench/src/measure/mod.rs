//! From requests to figures.

pub mod stats;
mod summary;

use std::collections::BTreeMap;

use crate::load::Run;
use crate::report::{ClientHealth, Summary};
pub use stats::Interval;
pub use summary::summarise;

/// Share of the median TTFT, and the least ms, that the client may lag before it is the bottleneck.
const LAG_SHARE_MAX: f64 = 0.05;
const LAG_MS_MIN: f64 = 5.0;

/// What each figure means.
const DEFINITIONS: &[(&str, &str)] = &[
    (
        "ttft",
        "from sending a request, connection and all, to its first piece of text that is not empty",
    ),
    (
        "tpot",
        "(end to end − TTFT) / (n − 1), n being the completion tokens of the server's usage",
    ),
    (
        "itl",
        "between two pieces of a stream; a piece may hold several tokens (tokens_per_chunk)",
    ),
    (
        "e2el",
        "from sending a request to the last byte of its answer",
    ),
    (
        "throughput",
        "over the time from the first request sent to the last answer ended",
    ),
    (
        "goodput",
        "requests a second that keep every limit given; one without a TPOT keeps that",
    ),
    (
        "tokens",
        "counts are the server's usage; only requests answered whole count",
    ),
    (
        "percentiles",
        "linear between neighbours, as numpy's; the deviation is of all requests",
    ),
    (
        "lag",
        "from when a request was due and had a place to when the client sent it",
    ),
    (
        "first_held",
        "from the first token drawn to the first text released",
    ),
    ("held", "longest that released text waited for its verdict"),
];

/// The definitions, by the names of what they define.
pub fn definitions() -> BTreeMap<String, String> {
    let owned = |(name, means): &(&str, &str)| ((*name).to_owned(), (*means).to_owned());
    DEFINITIONS.iter().map(owned).collect()
}

/// Whether the client kept up over these runs, whose figures are `summary`.
pub fn client_health(runs: &[Run], summary: &Summary) -> ClientHealth {
    let lags = runs
        .iter()
        .flat_map(|run| &run.outcomes)
        .map(|it| it.lag * 1e3);
    let lags: Vec<f64> = stats::sorted(lags);
    let delays = runs.iter().flat_map(|run| &run.loop_delays);
    let delays = stats::sorted(delays.map(|delay| delay * 1e3));
    let median_ttft = summary
        .latencies
        .get("median_ttft_ms")
        .copied()
        .unwrap_or(0.0);
    let limit = (median_ttft * LAG_SHARE_MAX).max(LAG_MS_MIN);
    let p99 = |sorted: &[f64]| stats::percentile(sorted, 99.0).unwrap_or(0.0);
    ClientHealth {
        p99_lag_ms: p99(&lags),
        max_lag_ms: lags.last().copied().unwrap_or(0.0),
        p99_loop_delay_ms: p99(&delays),
        max_loop_delay_ms: delays.last().copied().unwrap_or(0.0),
        is_bottleneck: p99(&lags) > limit || p99(&delays) > limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    #[test]
    fn a_client_that_lags_is_called_the_bottleneck() {
        let check = |lag: f64, delay: f64, expect: bool| {
            let run = Run {
                outcomes: vec![Outcome {
                    lag,
                    ..Outcome::default()
                }],
                loop_delays: vec![delay],
                ..Run::default()
            };
            let mut summary = Summary::default();
            summary.latencies.insert("median_ttft_ms".into(), 200.0);
            let health = client_health(&[run], &summary);
            assert_eq!(health.is_bottleneck, expect, "{health:?}");
        };
        check(0.009, 0.009, false);
        check(0.011, 0.0, true);
        check(0.0, 0.011, true);
    }
}
