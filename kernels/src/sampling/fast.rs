//! What is needed of every logit of a row, in vector registers.

use crate::lanes::{self, LANES, Lanes, by_lane, exp_f64};

/// Below this the exponential counts as nothing.
const NEGLIGIBLE: f32 = -700.0;

/// The largest logit; NaN if there is one.
pub(super) fn largest(logits: &[f32]) -> f32 {
    lanes::run(Largest(logits))
}

/// Sums over the exponentials of the logits, each relative to `max`, the largest.
pub(super) fn sums(logits: &[f32], max: f32) -> Sums {
    lanes::run(Exponentials { logits, max })
}

/// See [`sums`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// How many logits are as large as the largest.
    pub(super) at_max: f64,
    /// The sum over the others.
    pub(super) below: f64,
    /// The same, each multiplied by its distance from the largest.
    pub(super) weighted: f64,
}

struct Largest<'a>(&'a [f32]);

impl lanes::Job for Largest<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self) -> f32 {
        let (sixteens, rest) = self.0.as_chunks::<LANES>();
        let mut max = [f32::NEG_INFINITY; LANES];
        // NaN stays: it is not less than anything.
        for logits in sixteens {
            for (max, &logit) in max.iter_mut().zip(logits) {
                *max = if logit <= *max || max.is_nan() {
                    *max
                } else {
                    logit
                };
            }
        }
        max.iter()
            .chain(rest)
            .copied()
            .fold(f32::NEG_INFINITY, |max, logit| {
                if logit <= max || max.is_nan() {
                    max
                } else {
                    logit
                }
            })
    }
}

struct Exponentials<'a> {
    logits: &'a [f32],
    max: f32,
}

impl lanes::Job for Exponentials<'_> {
    type Output = Sums;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Sums {
        let (sixteens, rest) = self.logits.as_chunks::<LANES>();
        let mut lanes = ByLane::default();
        for logits in sixteens {
            lanes.add(by_lane(0.0, |lane| logits[lane] - self.max));
        }
        let mut last = [f32::NEG_INFINITY; LANES];
        for (last, logit) in last.iter_mut().zip(rest) {
            *last = logit - self.max;
        }
        lanes.add(last);
        lanes.sums()
    }
}

#[derive(Default)]
struct ByLane {
    at_max: [u32; LANES],
    below: [f64; LANES],
    weighted: [f64; LANES],
}

impl ByLane {
    #[inline(always)]
    fn add(&mut self, shifted: [f32; LANES]) {
        let weights = exp_f64(shifted);
        for lane in 0..LANES {
            let at_max = shifted[lane] == 0.0;
            let weight = if at_max { 0.0 } else { weights[lane] };
            // Minus infinity times nothing would be NaN.
            let distance = shifted[lane].max(NEGLIGIBLE);
            self.at_max[lane] += u32::from(at_max);
            self.below[lane] += weight;
            self.weighted[lane] += weight * f64::from(distance);
        }
    }

    #[inline(always)]
    fn sums(&self) -> Sums {
        Sums {
            at_max: f64::from(self.at_max.iter().sum::<u32>()),
            below: self.below.iter().sum(),
            weighted: self.weighted.iter().sum(),
        }
    }
}
