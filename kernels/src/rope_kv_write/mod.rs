//! Rotates q and k by their positions and writes k and v into the paged cache.

mod cpu;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod cuda;
mod fast;

use candle_core::{CpuStorage, DType, InplaceOp3, Layout, Result, Tensor, bail};

use crate::element::{check_dtype, host, with_elements};
use crate::{BLOCK_TOKENS, PagedBatch};

const NAME: &str = "rope_kv_write";

/// Rotates `q`, `[num_tokens, heads, head_dim]`, and `k`, `[num_tokens, kv_heads, head_dim]`, each
/// row by its position in `batch`; returns the rotated q, and writes the rotated k and `v`, shaped
/// as `k`, in place into `k_cache` and `v_cache`, `[num_blocks, kv_heads, BLOCK_TOKENS, head_dim]`,
/// each row into its slot. Other slots keep their values.
///
/// Halves are rotated as in Llama: dimension `i` is one of a pair with `i + head_dim / 2`, turned
/// by the angle whose cosine and sine are element `i` of the position's row in `cos` and `sin`,
/// f32 `[max_position, head_dim / 2]`. The other six have one dtype, f32, bf16 or f16; all are
/// contiguous. Computed in f32 and rounded once.
///
/// # Errors
/// Shapes or dtypes that do not fit together; a position that `cos` and `sin` do not have; on a
/// card, half a head that is no multiple of 16 bytes.
///
/// Source: RoFormer, arXiv:2104.09864; PagedAttention, arXiv:2309.06180, `reshape_and_cache`.
#[expect(
    clippy::too_many_arguments,
    reason = "what one pass reads and writes; named at every call"
)]
pub fn rope_kv_write(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    k_cache: &Tensor,
    v_cache: &Tensor,
    batch: &PagedBatch,
) -> Result<Tensor> {
    let step = Step {
        q,
        k,
        v,
        cos,
        sin,
        k_cache,
        v_cache,
        batch,
    };
    step.check()?;
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    if let Some(backend) = crate::device::backend_of(q) {
        return cuda::rope_kv_write(&*backend, &step);
    }
    step.run_on_cpu()
}

/// The arguments.
struct Step<'a> {
    q: &'a Tensor,
    k: &'a Tensor,
    v: &'a Tensor,
    cos: &'a Tensor,
    sin: &'a Tensor,
    k_cache: &'a Tensor,
    v_cache: &'a Tensor,
    batch: &'a PagedBatch,
}

impl Step<'_> {
    fn check(&self) -> Result<()> {
        let (num_tokens, _, head_dim) = self.q.dims3()?;
        check_dtype(NAME, "q", self.q.dtype())?;
        if !head_dim.is_multiple_of(2) {
            bail!("{NAME}: a head of {head_dim} has no two halves");
        }
        if num_tokens != self.batch.num_tokens() {
            let expected = self.batch.num_tokens();
            bail!("{NAME}: {num_tokens} rows for a batch of {expected}");
        }
        self.check_cache(self.k, self.k_cache)?;
        self.check_cache(self.v, self.v_cache)?;
        self.check_angles(self.cos)?;
        self.check_angles(self.sin)
    }

    fn check_cache(&self, new: &Tensor, cache: &Tensor) -> Result<()> {
        let (num_tokens, kv_heads, head_dim) = new.dims3()?;
        let dtype = self.q.dtype();
        if new.dtype() != dtype || cache.dtype() != dtype {
            let (new, cache) = (new.dtype(), cache.dtype());
            bail!("{NAME}: {new:?} into a cache of {cache:?} beside a q of {dtype:?}");
        }
        if (num_tokens, head_dim) != (self.q.dim(0)?, self.q.dim(2)?) {
            bail!("{NAME}: {:?} beside a q of {:?}", new.dims(), self.q.dims());
        }
        if cache.dims() != [self.batch.num_blocks(), kv_heads, BLOCK_TOKENS, head_dim] {
            bail!(
                "{NAME}: {:?} does not fit a cache of {:?}",
                new.dims(),
                cache.dims()
            );
        }
        Ok(())
    }

    fn check_angles(&self, angles: &Tensor) -> Result<()> {
        let (max_position, pairs) = angles.dims2()?;
        if angles.dtype() != DType::F32 || pairs * 2 != self.q.dim(2)? {
            bail!(
                "{NAME}: angles of {:?} in {:?} for heads of {}; they are f32, one a pair",
                angles.dims(),
                angles.dtype(),
                self.q.dim(2)?
            );
        }
        match self.batch.context_max() {
            end if end > max_position => bail!(
                "{NAME}: position {} of {max_position} that have angles",
                end - 1
            ),
            _ => Ok(()),
        }
    }

    fn run_on_cpu(&self) -> Result<Tensor> {
        for (new, cache) in [
            (&self.rotate(self.k)?, self.k_cache),
            (self.v, self.v_cache),
        ] {
            let (_, kv_heads, head_dim) = new.dims3()?;
            let write = Write { kv_heads, head_dim };
            cache.inplace_op3(new, self.batch.slots(), &write)?;
        }
        self.rotate(self.q)
    }

    fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, cos, sin) = (host(x), host(self.cos), host(self.sin));
        let (cos, sin) = (cos.elements(NAME)?, sin.elements(NAME)?);
        let positions = host(self.batch.positions());
        let positions = positions.elements(NAME)?;
        let (_, heads, head_dim) = x.dims3()?;
        with_elements!(x, T => {
            let rows = rows.elements::<T>(NAME)?;
            let rotated = match crate::plain::is_asked_for() {
                true => cpu::rotate(rows, positions, (cos, sin), (heads, head_dim)),
                false => fast::rotate(rows, positions, (cos, sin), (heads, head_dim)),
            };
            Tensor::from_vec(rotated, x.shape(), x.device())
        })
    }
}

/// Writes rows into their slots of one cache.
struct Write {
    kv_heads: usize,
    head_dim: usize,
}

impl InplaceOp3 for Write {
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
        match new.0 {
            CpuStorage::BF16(_) => cpu::write::<half::bf16>(self, cache, new, slots),
            CpuStorage::F16(_) => cpu::write::<half::f16>(self, cache, new, slots),
            _ => cpu::write::<f32>(self, cache, new, slots),
        }
    }
}
