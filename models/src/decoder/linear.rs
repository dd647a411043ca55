//! `x wᵀ + b`.

use candle_core::{Result, Tensor};
use portcullis_kernels::linear;

use crate::ModelError;
use crate::weights::Weights;

/// A projection, its weight `[out, in]` as checkpoints have it.
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
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
        Ok(Self { weight, bias })
    }

    /// `[num_tokens, in]` to `[num_tokens, out]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = linear(x, &self.weight)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}
