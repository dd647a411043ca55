//! The launch of add_rms_norm.cu.

use candle_core::{Result, Tensor};

use super::NAME;
use crate::device::{Backend, Launch, Params, Span, suffix, wide};

/// `ADD_RMS_NORM_THREADS` of the kernel.
const THREADS: u32 = 256;

/// `AddRmsNorm` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct AddRmsNorm {
    x: Span,
    residual: Span,
    weight: Span,
    sum: Span,
    normed: Span,
    size: u32,
    eps: f32,
}

// SAFETY: the struct of the kernel, field by field.
#[expect(unsafe_code, reason = "the kernel reads the struct's bytes")]
unsafe impl Params for AddRmsNorm {}

pub(super) fn add_rms_norm(
    backend: &dyn Backend,
    x: &Tensor,
    residual: &Tensor,
    weight: &Tensor,
    size: usize,
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    let sum = backend.empty(x.shape().clone(), x.dtype())?;
    let spans = (backend.span(residual)?, backend.span_mut(&sum)?);
    let normed = launch(backend, x, spans, weight, size, eps)?;
    Ok((sum, normed))
}

pub(super) fn rms_norm(
    backend: &dyn Backend,
    x: &Tensor,
    weight: &Tensor,
    size: usize,
    eps: f64,
) -> Result<Tensor> {
    launch(backend, x, (Span::NONE, Span::NONE), weight, size, eps)
}

fn launch(
    backend: &dyn Backend,
    x: &Tensor,
    (residual, sum): (Span, Span),
    weight: &Tensor,
    size: usize,
    eps: f64,
) -> Result<Tensor> {
    wide(NAME, "a row", size, x.dtype())?;
    let normed = backend.empty(x.shape().clone(), x.dtype())?;
    let rows = x.dim(0)? as u32;
    if rows == 0 {
        return Ok(normed);
    }
    let params = AddRmsNorm {
        x: backend.span(x)?,
        residual,
        weight: backend.span(weight)?,
        sum,
        normed: backend.span_mut(&normed)?,
        size: size as u32,
        eps: eps as f32,
    };
    let kernel = format!("{NAME}_{}", suffix(NAME, x.dtype())?);
    let shared_bytes = (THREADS / crate::device::WARP) as usize * size_of::<f32>();
    let launch =
        Launch::new(NAME, kernel, [rows, 1, 1], THREADS, &params).with_shared_bytes(shared_bytes);
    // SAFETY: a block a row of `size`, all spans are of that shape, and the tensors live on.
    #[expect(unsafe_code, reason = "runs a kernel")]
    unsafe {
        backend.launch(&launch)?;
    }
    Ok(normed)
}
