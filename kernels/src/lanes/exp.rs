//! The exponential of sixteen at once.

use super::{LANES, by_lane};

/// `exp` of each, to two units in the last place; 0 below -87 and for minus infinity.
///
/// What is above 88 counts as 88, so that the result is finite.
/// Source: the polynomial of Cephes' `expf`, on what is left after powers of two.
#[inline(always)]
pub(crate) fn exp(x: [f32; LANES]) -> [f32; LANES] {
    by_lane(0.0, |lane| exp_of_one(x[lane]))
}

/// Without a branch, so that the compiler makes vectors of it.
#[inline(always)]
fn exp_of_one(x: f32) -> f32 {
    const LOWEST: f32 = -87.0;
    const HIGHEST: f32 = 88.0;
    /// Adding it leaves no bits behind the point.
    const ROUND: f32 = 12_582_912.0;
    // The logarithm of 2 in two parts, the first with few digits.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const POLYNOMIAL: [f32; 6] = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    let clamped = if x > LOWEST { x } else { LOWEST };
    let clamped = if clamped < HIGHEST { clamped } else { HIGHEST };
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let rest = clamped - power * LN_2_HIGH - power * LN_2_LOW;
    let mut sum = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        sum = sum * rest + coefficient;
    }
    let value = sum * rest * rest + rest + 1.0;
    // `rounded` holds the power in its lowest bits.
    let scale = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    if x > LOWEST { value * scale } else { 0.0 }
}

/// `exp` of each in double precision, to about 1e-11 of it; 0 below -700 and for minus infinity.
///
/// For values of at most 0. Source: the Taylor series, on what is left after powers of two.
#[inline(always)]
pub(crate) fn exp_f64(x: [f32; LANES]) -> [f64; LANES] {
    const LOWEST: f64 = -700.0;
    /// Adding it leaves no bits behind the point.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // Step by step for all lanes, as the compiler makes vectors of that.
    let x = by_lane(0.0, |lane| f64::from(x[lane]));
    let clamped = by_lane(0.0, |lane| if x[lane] > LOWEST { x[lane] } else { LOWEST });
    let rounded = by_lane(0.0, |lane| clamped[lane] * std::f64::consts::LOG2_E + ROUND);
    let power = by_lane(0.0, |lane| (rounded[lane] - ROUND) * std::f64::consts::LN_2);
    let rest = by_lane(0.0, |lane| clamped[lane] - power[lane]);
    let mut sum = [0.0; LANES];
    for coefficient in TAYLOR {
        sum = by_lane(0.0, |lane| sum[lane] * rest[lane] + coefficient);
    }
    by_lane(0.0, |lane| {
        // `rounded` holds the power in its lowest bits.
        let scale = f64::from_bits(rounded[lane].to_bits().wrapping_add(1023) << 52);
        if x[lane] > LOWEST {
            sum[lane] * scale
        } else {
            0.0
        }
    })
}

/// Of the exponential, the highest power first.
const TAYLOR: [f64; 11] = [
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_as_near_as_promised() {
        for step in -8_700..8_800 {
            let x = step as f32 * 0.01 + 0.003;
            let [found, ..] = exp([x; LANES]);
            let expected = f64::from(x).exp();
            let off = (f64::from(found) - expected).abs() / expected;
            assert!(
                off < 2.4e-7 || x < -86.9,
                "exp({x}) is {found}, not {expected}"
            );
        }
        assert_eq!(exp([f32::NEG_INFINITY; LANES]), [0.0; LANES]);
        assert_eq!(exp([-1e30; LANES]), [0.0; LANES]);
        assert_eq!(exp([0.0; LANES]), [1.0; LANES]);
        assert_eq!(exp([f32::INFINITY; LANES]), exp([88.0; LANES]));
    }

    #[test]
    fn is_nearer_in_double_precision() {
        for step in 0..6_900 {
            let x = step as f32 * -0.1;
            let [found, ..] = exp_f64([x; LANES]);
            let expected = f64::from(x).exp();
            let off = (found - expected).abs() / expected;
            assert!(off < 2e-11, "exp({x}) is {found}, not {expected}");
        }
        assert_eq!(exp_f64([f32::NEG_INFINITY; LANES]), [0.0; LANES]);
        assert_eq!(exp_f64([0.0; LANES]), [1.0; LANES]);
    }
}
