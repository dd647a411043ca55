//! The launch of embedding.cu.

use candle_core::{Result, Tensor};

use super::NAME;
use crate::device::{Backend, Launch, Params, Span, suffix, wide};

/// `EMBEDDING_THREADS` of the kernel.
const THREADS: u32 = 256;

/// `Embedding` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct Embedding {
    ids: Span,
    table: Span,
    out: Span,
    vocab: u32,
    hidden: u32,
}

// SAFETY: the struct of the kernel, field by field.
#[expect(unsafe_code, reason = "the kernel reads the struct's bytes")]
unsafe impl Params for Embedding {}

pub(super) fn embedding(backend: &dyn Backend, ids: &Tensor, table: &Tensor) -> Result<Tensor> {
    let (vocab, hidden) = table.dims2()?;
    wide(NAME, "a row", hidden, table.dtype())?;
    let num_tokens = ids.elem_count();
    let out = backend.empty((num_tokens, hidden).into(), table.dtype())?;
    if out.elem_count() == 0 {
        return Ok(out);
    }
    let params = Embedding {
        ids: backend.span(ids)?,
        table: backend.span(table)?,
        out: backend.span_mut(&out)?,
        vocab: vocab as u32,
        hidden: hidden as u32,
    };
    let kernel = format!("{NAME}_{}", suffix(NAME, table.dtype())?);
    let launch = Launch::new(NAME, kernel, [num_tokens as u32, 1, 1], THREADS, &params);
    // SAFETY: a block an id; the kernel reads no row beyond `vocab` and writes one of `out` of
    // `hidden` elements; the tensors live on.
    #[expect(unsafe_code, reason = "runs a kernel")]
    unsafe {
        backend.launch(&launch)?;
    }
    Ok(out)
}
