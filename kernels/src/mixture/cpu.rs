//! Expert by expert, all rows of one at a time, by the product of `linear`.

use candle_core::{Result, bail};

use super::{NAME, Sizes};
use crate::linear::{Fill, product};
use crate::silu_mul::silu;

/// Expert and weight of each pair of a token and one of its experts.
pub(super) struct Routed<'a> {
    pub(super) experts: &'a [u32],
    pub(super) weights: &'a [f32],
}

/// The weights of all experts, one after the other.
pub(super) struct Matrices<'a, T> {
    pub(super) gate: &'a [T],
    pub(super) up: &'a [T],
    pub(super) down: &'a [T],
}

pub(super) fn mixture<T: Fill>(
    x: &[T],
    routed: &Routed<'_>,
    matrices: &Matrices<'_, T>,
    sizes: Sizes,
) -> Result<Vec<T>> {
    let Sizes { hidden, .. } = sizes;
    let mut out = vec![0f32; x.len()];
    for (expert, pairs) in pairs_by_expert(routed.experts, sizes)?.iter().enumerate() {
        let tokens = pairs.iter().map(|pair| pair / sizes.experts_per_token);
        let rows = tokens
            .clone()
            .flat_map(|token| &x[token * hidden..][..hidden]);
        let rows: Vec<f32> = rows.map(|value| value.widen()).collect();
        let answers = matrices.answer(expert, &rows, sizes);
        let weights = pairs.iter().map(|&pair| routed.weights[pair]);
        for ((token, weight), answer) in tokens.zip(weights).zip(answers.chunks_exact(hidden)) {
            let sums = &mut out[token * hidden..][..hidden];
            sums.iter_mut()
                .zip(answer)
                .for_each(|(sum, value)| *sum += weight * value);
        }
    }
    Ok(out.into_iter().map(T::narrow).collect())
}

/// The pairs that go to each expert, in order.
fn pairs_by_expert(experts: &[u32], sizes: Sizes) -> Result<Vec<Vec<usize>>> {
    let mut pairs = vec![Vec::new(); sizes.num_experts];
    for (pair, &expert) in experts.iter().enumerate() {
        match pairs.get_mut(expert as usize) {
            Some(pairs) => pairs.push(pair),
            None => bail!("{NAME}: expert {expert} of {}", sizes.num_experts),
        }
    }
    Ok(pairs)
}

impl<T: Fill> Matrices<'_, T> {
    /// What one expert makes of `rows`, `[rows, hidden]`.
    fn answer(&self, expert: usize, rows: &[f32], Sizes { hidden, inner, .. }: Sizes) -> Vec<f32> {
        if rows.is_empty() {
            return Vec::new();
        }
        let weights = expert * hidden * inner..(expert + 1) * hidden * inner;
        let gate = product(rows, &self.gate[weights.clone()], hidden);
        let up = product(rows, &self.up[weights.clone()], hidden);
        let pairs = gate.into_iter().zip(up);
        let gated = pairs.map(|(gate, up)| round::<T>(silu(round::<T>(gate)) * round::<T>(up)));
        let gated: Vec<f32> = gated.collect();
        let down = product(&gated, &self.down[weights], inner);
        down.into_iter().map(round::<T>).collect()
    }
}

/// As an op of its own would store it.
fn round<T: Fill>(value: f32) -> f32 {
    T::narrow(value).widen()
}
