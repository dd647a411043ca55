//! The residual stream, and the norms that read it.

use candle_core::{Result, Tensor};
use portcullis_kernels::{add_rms_norm, rms_norm};

use crate::weights::Weights;
use crate::{Config, ModelError};

/// A root-mean-square norm with its weight.
pub(super) struct Norm {
    weight: Tensor,
    eps: f64,
}

impl Norm {
    pub(super) fn load(
        weights: &Weights,
        name: &str,
        size: usize,
        config: &Config,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            weight: weights.get(name, &[size])?,
            eps: config.rms_norm_eps,
        })
    }

    /// `[num_rows, size]` to the same.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        rms_norm(x, &self.weight, self.eps)
    }
}

/// What flows through the layers, `[num_tokens, hidden]`: each part reads it through a norm and
/// adds its result. The addition waits for the next norm, which does both in one pass.
pub(super) struct Stream {
    sum: Tensor,
    /// The last part's result, not added yet.
    addend: Option<Tensor>,
}

impl Stream {
    pub(super) fn new(embedded: Tensor) -> Self {
        Self {
            sum: embedded,
            addend: None,
        }
    }

    /// Adds a part's result. There is one norm between two additions.
    pub(super) fn add(&mut self, result: Tensor) {
        debug_assert!(self.addend.is_none(), "each result is read before the next");
        self.addend = Some(result);
    }

    /// What the next part reads.
    pub(super) fn norm(&mut self, norm: &Norm) -> Result<Tensor> {
        let Some(addend) = self.addend.take() else {
            return norm.forward(&self.sum);
        };
        let (sum, normed) = add_rms_norm(&addend, &self.sum, &norm.weight, norm.eps)?;
        self.sum = sum;
        Ok(normed)
    }

    /// The stream of some of the rows.
    pub(super) fn select(&self, rows: &Tensor) -> Result<Self> {
        let select = |x: &Tensor| x.index_select(rows, 0);
        Ok(Self {
            sum: select(&self.sum)?,
            addend: self.addend.as_ref().map(select).transpose()?,
        })
    }
}
