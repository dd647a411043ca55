//! `x wᵀ + b`.

use candle_core::{Result, Tensor};
use portcullis_kernels::{LinearWeight, linears};

use crate::ModelError;
use crate::weights::Weights;

/// A projection.
pub(super) struct Linear(LinearWeight);

impl Linear {
    /// Of a weight `[out, in]`, as checkpoints have it.
    pub(super) fn new(weight: &Tensor, bias: Option<Tensor>) -> Result<Self> {
        let weight = LinearWeight::new(weight)?;
        Ok(Self(match bias {
            Some(bias) => weight.with_bias(bias)?,
            None => weight,
        }))
    }

    pub(super) fn load(
        weights: &Weights,
        name: &str,
        (size_in, size_out): (usize, usize),
        with_bias: bool,
    ) -> std::result::Result<Self, ModelError> {
        let weight = weights.get(&format!("{name}.weight"), &[size_out, size_in])?;
        let bias = match with_bias {
            true => Some(weights.get(&format!("{name}.bias"), &[size_out])?),
            false => None,
        };
        Ok(Self::new(&weight, bias)?)
    }

    /// `[num_tokens, in]` to `[num_tokens, out]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [y] = forward_all(x, [self])?;
        Ok(y)
    }
}

/// Several projections of the same rows.
pub(super) fn forward_all<const N: usize>(x: &Tensor, all: [&Linear; N]) -> Result<[Tensor; N]> {
    linears(x, all.map(|linear| &linear.0))
}
