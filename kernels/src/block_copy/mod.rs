//! Copies whole blocks within the paged cache, for a fork's tail block.

mod cpu;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod cuda;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};

use crate::{
    BLOCK_TOKENS,
    element::{Element, check_dtype, elements_mut, with_elements},
};

const NAME: &str = "block_copy";

/// Copies block `from` over block `to` for each pair, one pair after the other, in place in
/// `cache`, `[num_blocks, kv_heads, BLOCK_TOKENS, head_dim]`, f32, bf16 or f16, contiguous.
///
/// # Errors
/// A block that the cache does not have, or a tensor that is no cache; on a card, blocks that are no
/// multiple of 16 bytes.
pub fn block_copy(cache: &Tensor, pairs: &[(u32, u32)]) -> Result<()> {
    let (num_blocks, kv_heads, block_tokens, head_dim) = cache.dims4()?;
    check_dtype(NAME, "the cache", cache.dtype())?;
    if block_tokens != BLOCK_TOKENS {
        bail!(
            "{NAME}: {:?} is no cache with blocks of {BLOCK_TOKENS}",
            cache.dims()
        );
    }
    for &(from, to) in pairs {
        if from as usize >= num_blocks || to as usize >= num_blocks {
            bail!("{NAME}: block {from} to {to}, the cache has {num_blocks}");
        }
    }
    let block_len = kv_heads * block_tokens * head_dim;
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    if let Some(backend) = crate::device::backend_of(cache) {
        return cuda::block_copy(&*backend, cache, pairs, block_len);
    }
    cache.inplace_op1(&BlockCopy { pairs, block_len })
}

struct BlockCopy<'a> {
    pairs: &'a [(u32, u32)],
    /// Elements of one block.
    block_len: usize,
}

impl BlockCopy<'_> {
    fn run<T: Element>(&self, cache: &mut CpuStorage, layout: &Layout) -> Result<()> {
        cpu::copy(
            elements_mut::<T>(NAME, cache, layout)?,
            self.pairs,
            self.block_len,
        );
        Ok(())
    }
}

impl InplaceOp1 for BlockCopy<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, cache: &mut CpuStorage, layout: &Layout) -> Result<()> {
        with_elements!(cache, T => self.run::<T>(cache, layout))
    }
}
