//! Values of a distribution, in order, within what can be drawn.

use crate::measure::Interval;
use crate::measure::stats::{percentile, sorted};

/// Beyond that no duration is real, and differences would overflow.
const BOUND: f64 = 1e15;

/// At least one value, in order.
pub(super) struct Sample {
    sorted: Vec<f64>,
}

impl Sample {
    /// `None` where there is nothing to show.
    pub(super) fn new(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values = values.into_iter().map(|value| value.clamp(-BOUND, BOUND));
        let sorted = sorted(values);
        (!sorted.is_empty()).then_some(Self { sorted })
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(super) fn max(&self) -> f64 {
        self.sorted[self.sorted.len() - 1]
    }

    /// The least value above nought.
    pub(super) fn least_positive(&self) -> Option<f64> {
        self.sorted.iter().copied().find(|&value| value > 0.0)
    }

    pub(super) fn mean(&self) -> f64 {
        self.sorted.iter().sum::<f64>() / self.sorted.len() as f64
    }

    /// The value that a share of the sample does not exceed, 0 to 1.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        percentile(&self.sorted, share * 100.0).expect("a sample has a value")
    }
}

/// Half of the 95 % interval of the mean over repeats; `None` of fewer than two.
pub(super) fn half_interval(repeats: &[f64]) -> Option<f64> {
    let half = Interval::of(repeats)?.half_width();
    half.is_finite().then_some(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_absurd_values_lie_values_that_can_be_drawn() {
        let sample = Sample::new([-1e308, 1e308, f64::NAN]).expect("two values");
        assert_eq!(sample.len(), 2);
        assert!(sample.quantile(0.25).is_finite());
        assert!(Sample::new([f64::NAN]).is_none());
    }
}
