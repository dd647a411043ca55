//! The launch of rope_kv_write.cu.

use candle_core::{Result, Tensor};

use super::{NAME, Step};
use crate::device::{Backend, Launch, Params, Span, suffix, wide};

/// `ROPE_KV_WRITE_THREADS` of the kernel.
const THREADS: u32 = 128;

/// `RopeKvWrite` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct RopeKvWrite {
    q: Span,
    k: Span,
    v: Span,
    cos: Span,
    sin: Span,
    positions: Span,
    slots: Span,
    rotated: Span,
    k_cache: Span,
    v_cache: Span,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    padding: u32,
}

// SAFETY: the struct of the kernel, field by field.
#[expect(unsafe_code, reason = "the kernel reads the struct's bytes")]
unsafe impl Params for RopeKvWrite {}

pub(super) fn rope_kv_write(backend: &dyn Backend, step: &Step<'_>) -> Result<Tensor> {
    let (num_tokens, heads, head_dim) = step.q.dims3()?;
    let (kv_heads, dtype) = (step.k.dim(1)?, step.q.dtype());
    wide(NAME, "half a head", head_dim / 2, dtype)?;
    let rotated = backend.empty(step.q.shape().clone(), dtype)?;
    let packs = head_dim / 2 * dtype.size_in_bytes() / 16;
    let parts = ((heads + 2 * kv_heads) * packs).div_ceil(THREADS as usize);
    if num_tokens == 0 || parts == 0 {
        return Ok(rotated);
    }
    let params = RopeKvWrite {
        q: backend.span(step.q)?,
        k: backend.span(step.k)?,
        v: backend.span(step.v)?,
        cos: backend.span(step.cos)?,
        sin: backend.span(step.sin)?,
        positions: backend.span(step.batch.positions())?,
        slots: backend.span(step.batch.slots())?,
        rotated: backend.span_mut(&rotated)?,
        k_cache: backend.span_mut(step.k_cache)?,
        v_cache: backend.span_mut(step.v_cache)?,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: head_dim as u32,
        padding: 0,
    };
    let kernel = format!("{NAME}_{}", suffix(NAME, dtype)?);
    let grid = [num_tokens as u32, parts as u32, 1];
    let launch = Launch::new(NAME, kernel, grid, THREADS, &params);
    // SAFETY: blocks of a row cover its heads and no more; the batch's slots lie in the caches and
    // its positions among the angles, as checked; the tensors live on.
    #[expect(unsafe_code, reason = "runs a kernel")]
    unsafe {
        backend.launch(&launch)?;
    }
    Ok(rotated)
}
