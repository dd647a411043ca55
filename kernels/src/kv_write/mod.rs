//! Writes the K and V of new tokens into the paged cache.

mod cpu;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};

use crate::{
    BLOCK_TOKENS, PagedBatch,
    element::{check_dtype, with_elements},
};

const NAME: &str = "kv_write";

/// Writes `k` and `v`, `[num_tokens, kv_heads, head_dim]`, in place into `k_cache` and `v_cache`,
/// `[num_blocks, kv_heads, BLOCK_TOKENS, head_dim]`, each row into its slot of `batch`.
///
/// All four have one dtype, f32, bf16 or f16, and are contiguous. Other slots keep their values.
///
/// # Errors
/// Shapes or dtypes that do not fit together.
///
/// Source: PagedAttention, arXiv:2309.06180, `reshape_and_cache`.
pub fn kv_write(
    k: &Tensor,
    v: &Tensor,
    k_cache: &Tensor,
    v_cache: &Tensor,
    batch: &PagedBatch,
) -> Result<()> {
    for (new, cache) in [(k, k_cache), (v, v_cache)] {
        let op = KvWrite {
            shape: Shape::of(new, cache, batch)?,
        };
        cache.inplace_op3(new, batch.slots(), &op)?;
    }
    Ok(())
}

struct KvWrite {
    shape: Shape,
}

#[derive(Clone, Copy)]
struct Shape {
    kv_heads: usize,
    head_dim: usize,
}

impl Shape {
    fn of(new: &Tensor, cache: &Tensor, batch: &PagedBatch) -> Result<Self> {
        let (num_tokens, kv_heads, head_dim) = new.dims3()?;
        check_dtype(NAME, "the cache", cache.dtype())?;
        if new.dtype() != cache.dtype() {
            bail!(
                "{NAME}: {:?} into a cache of {:?}",
                new.dtype(),
                cache.dtype()
            );
        }
        if cache.dims() != [batch.num_blocks(), kv_heads, BLOCK_TOKENS, head_dim] {
            bail!(
                "{NAME}: {:?} does not fit a cache of {:?}",
                new.dims(),
                cache.dims()
            );
        }
        if num_tokens != batch.num_tokens() {
            bail!(
                "{NAME}: {num_tokens} rows for a batch of {}",
                batch.num_tokens()
            );
        }
        Ok(Self { kv_heads, head_dim })
    }
}

impl InplaceOp3 for KvWrite {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        cache: &mut CpuStorage,
        cache_layout: &Layout,
        new: &CpuStorage,
        new_layout: &Layout,
        slots: &CpuStorage,
        slots_layout: &Layout,
    ) -> Result<()> {
        let slots = crate::element::elements::<u32>(NAME, slots, slots_layout)?;
        let (cache, new) = ((cache, cache_layout), (new, new_layout));
        with_elements!(new.0, T => cpu::write::<T>(self.shape, cache, new, slots))
    }
}
