//! The paged KV cache of all layers.

use candle_core::{DType, Device, Tensor};
use portcullis_kernels::{BLOCK_TOKENS, block_copy};

use crate::{Config, ModelError};

/// K and V of every layer, each `[num_blocks, kv_heads, BLOCK_TOKENS, head_dim]`.
pub struct KvCache {
    layers: Vec<LayerCache>,
    num_blocks: usize,
}

/// K and V of one layer.
pub(crate) struct LayerCache {
    pub(crate) k: Tensor,
    pub(crate) v: Tensor,
}

impl KvCache {
    /// Takes the memory for `num_blocks` blocks.
    ///
    /// # Errors
    /// The device has no memory for it.
    pub fn new(
        config: &Config,
        num_blocks: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let shape = [
            num_blocks,
            config.num_kv_heads,
            BLOCK_TOKENS,
            config.head_dim,
        ];
        let zeros = || Tensor::zeros(&shape, dtype, device);
        let layer = |_| {
            Ok(LayerCache {
                k: zeros()?,
                v: zeros()?,
            })
        };
        let layers = (0..config.num_layers)
            .map(layer)
            .collect::<Result<_, ModelError>>()?;
        Ok(Self { layers, num_blocks })
    }

    /// Blocks there are.
    pub fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    /// Copies whole blocks, `(from, to)`, in every layer.
    ///
    /// # Errors
    /// A block that is not there.
    pub fn copy_blocks(&mut self, pairs: &[(u32, u32)]) -> Result<(), ModelError> {
        if pairs.is_empty() {
            return Ok(());
        }
        for layer in &self.layers {
            block_copy(&layer.k, pairs)?;
            block_copy(&layer.v, pairs)?;
        }
        Ok(())
    }

    pub(crate) fn layer(&self, index: usize) -> &LayerCache {
        &self.layers[index]
    }
}
