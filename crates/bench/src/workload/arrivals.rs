//! When requests are due: gaps from a gamma law, of which Poisson arrivals are one.

use rand::Rng;
use rand_distr::{Distribution, Gamma};

use crate::plan::Load;

/// Due times of `count` requests, the first at once.
///
/// Gaps have the mean `1 / rate` and the shape `burstiness`: 1 is exponential, a Poisson process.
pub(super) fn times(load: &Load, count: usize, rng: &mut impl Rng) -> Vec<f64> {
    let scale = 1.0 / (load.request_rate * load.burstiness);
    // An infinite rate has no gaps: a law of scale 0 is none.
    let Ok(gaps) = Gamma::new(load.burstiness, scale) else {
        return vec![0.0; count];
    };
    let mut due = 0.0;
    let mut next = || {
        let now = due;
        due += gaps.sample(rng);
        now
    };
    (0..count).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::stream;
    use super::*;

    fn load(request_rate: f64, burstiness: f64) -> Load {
        Load {
            request_rate,
            rate_given: true,
            burstiness,
            max_concurrency: None,
            duration: None,
        }
    }

    fn gaps(rate: f64, burstiness: f64, seed: u64) -> Vec<f64> {
        let due = times(&load(rate, burstiness), 20_001, &mut stream(seed, 0));
        due.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// The mean gap is 1 / rate and its coefficient of variation 1 / √shape, each within six
        /// standard errors or 5 %.
        #[test]
        fn gaps_keep_the_law(rate in 0.1..1000.0f64, shape in 0.3..8.0f64, seed in any::<u64>()) {
            let gaps = gaps(rate, shape, seed);
            let n = gaps.len() as f64;
            let mean = gaps.iter().sum::<f64>() / n;
            let spread = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / n;
            let error = 1.0 / (shape * n).sqrt();
            prop_assert!((mean * rate - 1.0).abs() < 6.0 * error, "mean {}", mean * rate);
            let variation = spread.sqrt() * rate * shape.sqrt();
            prop_assert!((variation - 1.0).abs() < 0.08, "variation {variation}");
            prop_assert!(gaps.iter().all(|gap| *gap >= 0.0));
        }
    }

    #[test]
    fn an_infinite_rate_sends_all_at_once() {
        let due = times(&load(f64::INFINITY, 1.0), 3, &mut stream(0, 0));
        assert_eq!(due, [0.0; 3]);
    }

    #[test]
    fn the_first_is_due_at_once_and_a_seed_says_the_rest() {
        let of = |seed| times(&load(2.0, 1.0), 9, &mut stream(seed, 0));
        assert_eq!(of(1)[0], 0.0);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
