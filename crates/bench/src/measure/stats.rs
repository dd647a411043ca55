//! Means, percentiles and intervals of confidence.

/// Values in order. What is not a number is left out.
pub fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// Percentile of sorted values, linear between neighbours: numpy's default.
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = last as f64 * percent / 100.0;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(low + (high - low) * at.fract())
}

/// Arithmetic mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.iter().sum::<f64>() / count as f64)
}

/// Standard deviation of values that are all there is (divided by n): numpy's default.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    Some((squares.sum::<f64>() / values.len() as f64).sqrt())
}

/// Where a mean lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Mean of the repeats.
    pub mean: f64,
    /// Where the interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

impl Interval {
    /// By Student's t over repeats; `None` of fewer than two.
    pub fn of(repeats: &[f64]) -> Option<Self> {
        let degrees = repeats.len().checked_sub(1).filter(|&n| n > 0)? as f64;
        let mean = mean(repeats)?;
        let half = t_95(degrees) * standard_error(repeats)?;
        Some(Self {
            mean,
            low: mean - half,
            high: mean + half,
        })
    }

    /// Of `b / a`, by Welch's t over the logarithms; `None` of fewer than two repeats on a side,
    /// or of what is not above 0.
    pub fn of_ratio(a: &[f64], b: &[f64]) -> Option<Self> {
        let logs = |values: &[f64]| -> Option<Vec<f64>> {
            let log = |value: &f64| (*value > 0.0).then(|| value.ln());
            values.iter().map(log).collect()
        };
        let (a, b) = (logs(a)?, logs(b)?);
        let (var_a, var_b) = (standard_error(&a)?.powi(2), standard_error(&b)?.powi(2));
        let weight = |var: f64, n: usize| var * var / (n as f64 - 1.0);
        let spread = weight(var_a, a.len()) + weight(var_b, b.len());
        let degrees = match spread > 0.0 {
            true => (var_a + var_b).powi(2) / spread,
            false => f64::INFINITY,
        };
        let ratio = (mean(&b)? - mean(&a)?).exp();
        let half = t_95(degrees) * (var_a + var_b).sqrt();
        Some(Self {
            mean: ratio,
            low: ratio * (-half).exp(),
            high: ratio * half.exp(),
        })
    }

    /// How far it reaches to each side of a mean.
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// Whether it holds `value`.
    pub fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// Of a mean, from a sample (divided by n − 1).
fn standard_error(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    (n > 1.0).then_some(())?;
    deviation(values).map(|deviation| deviation / (n - 1.0).sqrt())
}

/// Student's t at 97.5 %. Exact for up to ten degrees of freedom, then the Cornish-Fisher
/// expansion, which is within 0.1 % there. Source: Abramowitz and Stegun, 26.7.5.
fn t_95(degrees: f64) -> f64 {
    const EXACT: [f64; 10] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    ];
    if degrees <= EXACT.len() as f64 {
        // Welch's degrees are no whole numbers: the fewer, the wider.
        return EXACT[(degrees.floor().max(1.0) as usize) - 1];
    }
    const Z: f64 = 1.959_964;
    let first = (Z.powi(3) + Z) / 4.0;
    let second = (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0;
    Z + first / degrees + second / degrees.powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(value: f64, expect: f64) {
        assert!(
            (value - expect).abs() < 1e-3 * expect.abs().max(1.0),
            "{value}, not {expect}"
        );
    }

    #[test]
    fn percentiles_are_numpys() {
        // numpy.percentile([1, 2, 3, 10], [0, 50, 90, 99, 100])
        let values = sorted([10.0, 1.0, 3.0, f64::NAN, 2.0].into_iter());
        let check = |percent, expect| close(percentile(&values, percent).unwrap(), expect);
        check(0.0, 1.0);
        check(50.0, 2.5);
        check(90.0, 7.9);
        check(99.0, 9.79);
        check(100.0, 10.0);
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(percentile(&[4.0], 99.0), Some(4.0));
    }

    #[test]
    fn means_and_deviations_are_numpys() {
        // numpy.std([2, 4, 4, 4, 5, 5, 7, 9]) == 2.0
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        close(mean(&values).unwrap(), 5.0);
        close(deviation(&values).unwrap(), 2.0);
        assert_eq!((mean(&[]), deviation(&[])), (None, None));
    }

    #[test]
    fn intervals_are_students() {
        // Mean 3, s² = 2.5, s/√5 = 0.7071, t(4) = 2.776: 1.963.
        let interval = Interval::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        close(interval.mean, 3.0);
        close(interval.half_width(), 1.963);
        assert!(interval.holds(4.9) && !interval.holds(5.0));
        assert_eq!(Interval::of(&[1.0]), None);
    }

    #[test]
    fn t_is_that_of_the_tables() {
        for (degrees, expect) in [(1.0, 12.706), (11.0, 2.201), (30.0, 2.042), (120.0, 1.980)] {
            close(t_95(degrees), expect);
        }
        close(t_95(f64::INFINITY), 1.960);
    }

    #[test]
    fn a_ratio_beyond_noise_does_not_hold_one() {
        let a = [100.0, 101.0, 99.0];
        let faster = Interval::of_ratio(&a, &[110.0, 111.0, 109.0]).unwrap();
        close(faster.mean, 1.1);
        close(faster.low * faster.high, faster.mean * faster.mean);
        assert!(!faster.holds(1.0), "{faster:?}");
        let same = Interval::of_ratio(&a, &[101.0, 99.5, 100.5]).unwrap();
        assert!(same.holds(1.0), "{same:?}");
        assert_eq!(Interval::of_ratio(&a, &[1.0]), None);
        assert_eq!(Interval::of_ratio(&a, &[0.0, 1.0]), None);
    }
}
