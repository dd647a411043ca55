//! What the measurements in `benches/` share: the median over repeated runs.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Runs counted, after one that is not.
const RUNS: usize = 15;

/// The median time of `work`. Machines are noisy: compare two of these from one run, and quote the
/// ratio.
#[expect(
    clippy::disallowed_methods,
    reason = "measuring is what this crate is for"
)]
pub fn median_time<T>(mut work: impl FnMut() -> T) -> Duration {
    black_box(work());
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            black_box(work());
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[RUNS / 2]
}
