//! Causal attention of new tokens over a paged cache: prefill chunks and decodes in one batch.

mod cpu;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod cuda;
mod fast;
#[cfg(feature = "cuda")]
mod flash;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use crate::{
    BLOCK_TOKENS, PagedBatch,
    element::{Element, check_dtype, elements, with_elements},
};

const NAME: &str = "paged_attention";

/// `SPLIT` of the kernels: tokens of a context that one block looks at.
pub const SPLIT_TOKENS: usize = 256;

/// Bytes on a card of what the splits of a decode leave to be added up: for each split of each of
/// the `heads` query heads of a row, the sum over its values and two numbers of f32.
pub fn decode_scratch_bytes(rows: usize, heads: usize, head_dim: usize, context: usize) -> usize {
    rows * heads * context.div_ceil(SPLIT_TOKENS) * (head_dim + 2) * size_of::<f32>()
}

/// What is the same for every row of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionParams {
    /// Multiplies `q · k`; usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// A query at position `p` sees the keys in `p + 1 - window ..= p`; `None` sees all.
    pub window: Option<usize>,
}

/// `softmax(scale · q kᵀ) v` for each row of `q`, `[num_tokens, num_heads, head_dim]`, over the
/// keys and values of its own sequence up to its own position, its own included: the cache must
/// hold them already (see [`rope_kv_write`](crate::rope_kv_write)).
///
/// Query head `h` reads K/V head `h / (num_heads / kv_heads)`. `q` and the caches,
/// `[num_blocks, kv_heads, BLOCK_TOKENS, head_dim]`, are f32, bf16 or f16, of one dtype
/// and contiguous; the result has shape and dtype of `q`. A row's bits depend on its own sequence
/// only: neither on its neighbours in the batch nor on how its sequence was cut into chunks. On a
/// card with bf16 or f16 and a head dimension of 64 or 128, FlashAttention computes chunks of more
/// than one token, which may differ in the last bits from the same row as a chunk of its own.
///
/// # Errors
/// Shapes or dtypes that do not fit together; on a card, a head that is no multiple of 16 bytes.
///
/// Source: PagedAttention, arXiv:2309.06180; sliding window as in Mistral 7B, arXiv:2310.06825.
pub fn paged_attention(
    q: &Tensor,
    k_cache: &Tensor,
    v_cache: &Tensor,
    batch: &PagedBatch,
    params: AttentionParams,
) -> Result<Tensor> {
    let op = PagedAttention {
        batch,
        params,
        heads: Heads::of(q, k_cache, v_cache, batch)?,
    };
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    if let Some(backend) = crate::device::backend_of(q) {
        #[cfg(feature = "cuda")]
        if op.is_for_flash(q) {
            return op.launch_with_flash(&*backend, q, k_cache, v_cache);
        }
        return op.launch(&*backend, q, k_cache, v_cache);
    }
    q.apply_op3_no_bwd(k_cache, v_cache, &op)
}

struct PagedAttention<'a> {
    batch: &'a PagedBatch,
    params: AttentionParams,
    heads: Heads,
}

#[derive(Clone, Copy)]
struct Heads {
    kv_heads: usize,
    /// Query heads that share one K/V head.
    group: usize,
    head_dim: usize,
}

impl Heads {
    fn of(q: &Tensor, k_cache: &Tensor, v_cache: &Tensor, batch: &PagedBatch) -> Result<Self> {
        let (num_tokens, num_heads, head_dim) = q.dims3()?;
        let (_, kv_heads, _, _) = k_cache.dims4()?;
        check_dtype(NAME, "q", q.dtype())?;
        if q.dtype() != k_cache.dtype() {
            bail!(
                "{NAME}: q is {:?}, the cache {:?}: they must be the same",
                q.dtype(),
                k_cache.dtype()
            );
        }
        if k_cache.dims() != [batch.num_blocks(), kv_heads, BLOCK_TOKENS, head_dim] {
            bail!(
                "{NAME}: q of {:?} does not fit a cache of {:?}",
                q.dims(),
                k_cache.dims()
            );
        }
        if v_cache.dims() != k_cache.dims() || v_cache.dtype() != k_cache.dtype() {
            bail!(
                "{NAME}: the K cache is {:?}, the V cache {:?}",
                k_cache.dims(),
                v_cache.dims()
            );
        }
        if kv_heads == 0 || !num_heads.is_multiple_of(kv_heads) {
            bail!("{NAME}: {num_heads} query heads cannot share {kv_heads} K/V heads");
        }
        if num_tokens != batch.num_tokens() {
            bail!(
                "{NAME}: {num_tokens} rows for a batch of {}",
                batch.num_tokens()
            );
        }
        Ok(Self {
            kv_heads,
            group: num_heads / kv_heads,
            head_dim,
        })
    }
}

impl CustomOp3 for PagedAttention<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k_cache: &CpuStorage,
        k_layout: &Layout,
        v_cache: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = ((q, q_layout), (k_cache, k_layout), (v_cache, v_layout));
        let out = with_elements!(k_cache, T => self.run::<T>(q, k, v)?);
        Ok((out, q_layout.shape().clone()))
    }
}

impl PagedAttention<'_> {
    fn run<T: Element>(
        &self,
        q: (&CpuStorage, &Layout),
        k: (&CpuStorage, &Layout),
        v: (&CpuStorage, &Layout),
    ) -> Result<CpuStorage> {
        let q = elements::<T>(NAME, q.0, q.1)?;
        if self.fits_lanes() && !crate::plain::is_asked_for() {
            let (k, v) = (elements(NAME, k.0, k.1)?, elements(NAME, v.0, v.1)?);
            return Ok(T::to_cpu_storage_owned(self.attend_in_lanes(q, k, v)));
        }
        let q: Vec<f32> = q.iter().map(|value| value.widen()).collect();
        let out = self.attend::<T>(&q, elements(NAME, k.0, k.1)?, elements(NAME, v.0, v.1)?);
        let out = out.into_iter().map(T::narrow).collect();
        Ok(T::to_cpu_storage_owned(out))
    }
}
