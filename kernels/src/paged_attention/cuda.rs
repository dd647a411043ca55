//! The launches of paged_attention.cu: a block a row, K/V head and split, then the sum of the splits.

use candle_core::{DType, Result, Tensor};

use super::{AttentionParams, Heads, NAME, PagedAttention, SPLIT_TOKENS};
use crate::BLOCK_TOKENS;
use crate::device::{Backend, Launch, Params, Span, WARP, suffix, wide};
use crate::device_batch::Rows;

/// `THREADS` of the kernels.
const THREADS: usize = 128;
/// `HEADS` of the kernels: query heads that a block computes at most.
const PACK_HEADS: usize = 16;
/// `STAGES` of the kernels: tiles that a warp has under way.
const STAGES: usize = 3;

/// `PagedAttention` of the kernels.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    q: Span,
    k_cache: Span,
    v_cache: Span,
    out: Span,
    block_tables: Span,
    rows: Span,
    partials: Span,
    stats: Span,
    kv_heads: u32,
    group: u32,
    head_dim: u32,
    max_blocks: u32,
    splits: u32,
    window: u32,
    scale: f32,
    padding: u32,
}

// SAFETY: the struct of the kernels, field by field.
#[expect(unsafe_code, reason = "the kernel reads the struct's bytes")]
unsafe impl Params for Arguments {}

impl PagedAttention<'_> {
    /// The whole batch, each row as a decode.
    pub(super) fn launch(
        &self,
        backend: &dyn Backend,
        q: &Tensor,
        k_cache: &Tensor,
        v_cache: &Tensor,
    ) -> Result<Tensor> {
        let out = backend.empty(q.shape().clone(), q.dtype())?;
        if self.batch.num_tokens() > 0 {
            let rows = &self.batch.on_device()?.rows;
            self.launch_rows(backend, rows, [q, k_cache, v_cache, &out])?;
        }
        Ok(out)
    }

    /// Computes `rows` of `[q, k_cache, v_cache, out]`; other rows of `out` keep their values.
    pub(super) fn launch_rows(
        &self,
        backend: &dyn Backend,
        rows: &Rows,
        [q, k_cache, v_cache, out]: [&Tensor; 4],
    ) -> Result<()> {
        let Some(table) = rows.table() else {
            return Ok(());
        };
        let Heads {
            kv_heads,
            group,
            head_dim,
        } = self.heads;
        wide(NAME, "a head", head_dim, q.dtype())?;
        let splits = splits_max(rows.context_max, self.params);
        let heads = rows.len * kv_heads * group;
        let partials = backend.empty((heads, splits, head_dim).into(), DType::F32)?;
        let stats = backend.empty((heads, splits, 2).into(), DType::F32)?;
        let tables = &self.batch.on_device()?.block_tables;
        let arguments = Arguments {
            q: backend.span(q)?,
            k_cache: backend.span(k_cache)?,
            v_cache: backend.span(v_cache)?,
            out: backend.span_mut(out)?,
            block_tables: backend.span(tables)?,
            rows: backend.span(table)?,
            partials: backend.span_mut(&partials)?,
            stats: backend.span_mut(&stats)?,
            kv_heads: kv_heads as u32,
            group: group as u32,
            head_dim: head_dim as u32,
            max_blocks: tables.dim(1)? as u32,
            splits: splits as u32,
            window: window(self.params),
            scale: self.params.scale * std::f32::consts::LOG2_E,
            padding: 0,
        };
        // SAFETY: the shapes were checked against each other and the tables against the cache, the
        // scratch has a place for each split of each row, and all tensors live on.
        #[expect(unsafe_code, reason = "runs kernels")]
        unsafe {
            run(backend, &arguments, rows.len, q.dtype())
        }
    }
}

/// Computes `num_rows` rows: first their splits, then the sums of these.
///
/// # Safety
/// The spans have the shapes that the kernels' struct names.
#[expect(unsafe_code, reason = "runs kernels")]
unsafe fn run(
    backend: &dyn Backend,
    arguments: &Arguments,
    num_rows: usize,
    dtype: DType,
) -> Result<()> {
    let (kv_heads, group) = (arguments.kv_heads as usize, arguments.group as usize);
    let head_dim = arguments.head_dim as usize;
    let blocks = num_rows * kv_heads * group.div_ceil(PACK_HEADS);
    let (kernel, shared_bytes) = variant(head_dim, dtype)?;
    let grid = [blocks, arguments.splits as usize];
    let attend = launch(kernel, grid, arguments).with_shared_bytes(shared_bytes);
    let loads = num_rows * kv_heads * group * head_dim * dtype.size_in_bytes() / 16;
    let kernel = format!("{NAME}_combine_{}", suffix(NAME, dtype)?);
    let combine = launch(kernel, [loads.div_ceil(THREADS), 1], arguments);
    // SAFETY: the caller's promise.
    unsafe {
        backend.launch(&attend)?;
        backend.launch(&combine)
    }
}

fn launch(kernel: String, [x, y]: [usize; 2], arguments: &Arguments) -> Launch<'_> {
    Launch::new(
        NAME,
        kernel,
        [x as u32, y as u32, 1],
        THREADS as u32,
        arguments,
    )
}

fn window(params: AttentionParams) -> u32 {
    let window = params.window.and_then(|window| u32::try_from(window).ok());
    window.unwrap_or(u32::MAX)
}

/// Splits that a row can see tokens of: a window may begin and end within one.
fn splits_max(context_max: usize, params: AttentionParams) -> usize {
    let all = context_max.div_ceil(SPLIT_TOKENS);
    match params.window {
        Some(window) => all.min(window.saturating_sub(1).div_ceil(SPLIT_TOKENS) + 1),
        None => all,
    }
}

/// The kernel for a head dimension, and the shared memory of its blocks: on tensor cores where it
/// is compiled so.
fn variant(head_dim: usize, dtype: DType) -> Result<(String, usize)> {
    let suffix = suffix(NAME, dtype)?;
    let warps = THREADS / WARP as usize;
    Ok(match (head_dim, dtype) {
        (32 | 64 | 128, DType::BF16 | DType::F16) => {
            let rows = PACK_HEADS + warps * STAGES * BLOCK_TOKENS;
            let bytes = rows * head_dim * dtype.size_in_bytes();
            (format!("{NAME}_{head_dim}_{suffix}"), bytes)
        }
        _ => {
            let load = 16 / dtype.size_in_bytes();
            let floats = PACK_HEADS * (head_dim + SPLIT_TOKENS) + THREADS * load;
            (format!("{NAME}_plain_{suffix}"), floats * size_of::<f32>())
        }
    })
}
