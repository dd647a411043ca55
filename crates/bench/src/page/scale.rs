//! Values to places on an axis, and the round values that its ticks stand at.

use super::number;

/// No more ticks than that, so that their labels keep apart.
const TICKS_MAX: usize = 7;
/// What an axis can show; reports may hold anything.
const SMALLEST: f64 = 1e-9;
const LARGEST: f64 = 1e15;
/// Leading digits of the ticks of a logarithmic axis, finest first.
const MANTISSAS: [&[f64]; 4] = [
    &[
        1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0,
    ],
    &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
    &[1.0, 2.0, 5.0],
    &[1.0],
];

/// One axis: a stretch of values on a stretch of pixels.
pub(super) struct Scale {
    values: (f64, f64),
    pixels: (f64, f64),
    logarithmic: bool,
    ticks: Vec<Tick>,
}

/// A value worth a line, and what stands at it.
pub(super) struct Tick {
    pub(super) value: f64,
    pub(super) label: String,
}

impl Scale {
    /// From nought to the first round value that is at least `max`; to one where all is nought.
    pub(super) fn from_zero(max: f64, pixels: (f64, f64)) -> Self {
        let max = if max > SMALLEST {
            max.min(LARGEST)
        } else {
            1.0
        };
        let step = round_step(max);
        let end = (max / step - 1e-9).ceil() * step;
        Self::linear(end, step, pixels)
    }

    /// From nought to `max` itself, for time that ends where a run ends.
    pub(super) fn until(max: f64, pixels: (f64, f64)) -> Self {
        let max = max.clamp(SMALLEST, LARGEST);
        Self::linear(max, round_step(max), pixels)
    }

    /// Durations in ms, each factor as wide as the other. Values outside stand at the edge.
    pub(super) fn durations(min: f64, max: f64, pixels: (f64, f64)) -> Self {
        let min = min.clamp(SMALLEST, LARGEST);
        let max = max.clamp(min, LARGEST);
        let values = enclosing_ticks(min, max);
        Self {
            values: (values[0], values[values.len() - 1]),
            pixels,
            logarithmic: true,
            ticks: values.into_iter().map(duration_tick).collect(),
        }
    }

    /// An axis with ticks where they are wanted.
    pub(super) fn with_ticks(max: f64, ticks: Vec<Tick>, pixels: (f64, f64)) -> Self {
        Self {
            values: (0.0, max),
            pixels,
            logarithmic: false,
            ticks,
        }
    }

    fn linear(end: f64, step: f64, pixels: (f64, f64)) -> Self {
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let ticks = (0..=TICKS_MAX)
            .map(|i| i as f64 * step)
            .take_while(|&value| value <= end * (1.0 + 1e-9))
            .map(|value| Tick {
                value,
                label: number::fixed(value, decimals),
            })
            .collect();
        Self::with_ticks(end, ticks, pixels)
    }

    /// Where a value stands, in pixels; always on the axis.
    pub(super) fn place(&self, value: f64) -> f64 {
        let (low, high) = self.values;
        let value = value.clamp(low, high);
        let share = if self.logarithmic {
            (value / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        };
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    pub(super) fn ticks(&self) -> &[Tick] {
        &self.ticks
    }

    /// The ends of the axis, in pixels: where the least value stands, and the greatest.
    pub(super) fn ends(&self) -> (f64, f64) {
        self.pixels
    }
}

fn duration_tick(value: f64) -> Tick {
    Tick {
        value,
        label: number::round_duration(value),
    }
}

/// 1, 2 or 5 times a power of ten, of which five or fewer reach `max`.
pub(super) fn round_step(max: f64) -> f64 {
    let rough = max.clamp(SMALLEST, LARGEST) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= rough * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// Round values from the last one at or below `min` to the first one above `max`: at least two.
fn enclosing_ticks(min: f64, max: f64) -> Vec<f64> {
    let finest = MANTISSAS
        .iter()
        .map(|mantissas| enclosing(&round_values(min, max, mantissas), min, max))
        .find(|ticks| ticks.len() <= TICKS_MAX);
    finest.unwrap_or_else(|| {
        let decades = enclosing(&round_values(min, max, &[1.0]), min, max);
        let stride = decades.len().div_ceil(TICKS_MAX);
        let last = decades[decades.len() - 1] * 10f64.powi(stride as i32 - 1);
        let kept = decades.into_iter().chain(Some(last)).step_by(stride);
        kept.collect()
    })
}

/// All mantissas in all decades that touch the stretch, and one decade to either side.
fn round_values(min: f64, max: f64, mantissas: &[f64]) -> Vec<f64> {
    let decades = min.log10().floor() as i32 - 1..=max.log10().floor() as i32 + 1;
    decades
        .flat_map(|decade| mantissas.iter().map(move |m| m * 10f64.powi(decade)))
        .collect()
}

fn enclosing(values: &[f64], min: f64, max: f64) -> Vec<f64> {
    let first = values.partition_point(|&value| value <= min).max(1) - 1;
    let last = values.partition_point(|&value| value <= max);
    values[first..=last.min(values.len() - 1)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXELS: (f64, f64) = (0.0, 100.0);

    fn labels(scale: &Scale) -> Vec<&str> {
        scale.ticks().iter().map(|tick| &*tick.label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            labels(&Scale::from_zero(0.93, PIXELS)),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(
            labels(&Scale::from_zero(4200.0, PIXELS)),
            ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]
        );
        assert_eq!(
            labels(&Scale::durations(23.0, 410.0, PIXELS)),
            ["20 ms", "50 ms", "100 ms", "200 ms", "500 ms"]
        );
        assert_eq!(
            labels(&Scale::durations(112.0, 138.0, PIXELS)),
            ["100 ms", "120 ms", "140 ms"]
        );
    }

    #[test]
    fn whatever_a_report_says_an_axis_is_short_and_in_order() {
        let values = [-1e300, 0.0, 1e-300, 1e-7, 0.3, 1.0, 9.99, 1e9, 1e300];
        for min in values {
            for max in values {
                for scale in [
                    Scale::durations(min, max, PIXELS),
                    Scale::from_zero(max, PIXELS),
                    Scale::until(max, PIXELS),
                ] {
                    let places: Vec<f64> =
                        scale.ticks().iter().map(|t| scale.place(t.value)).collect();
                    assert!((1..=TICKS_MAX + 1).contains(&places.len()), "{min} {max}");
                    assert!(places.is_sorted_by(|a, b| a < b), "{min} {max} {places:?}");
                    for value in values {
                        assert!(
                            (0.0..=100.0).contains(&scale.place(value)),
                            "{min} {max} {value}"
                        );
                    }
                }
            }
        }
    }
}
