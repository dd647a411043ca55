//! The launch of route.cu.

use candle_core::{DType, Result, Tensor};

use super::{NAME, Routing};
use crate::device::{Backend, Launch, Params, Span, WARP, suffix};

/// `ROUTE_THREADS` of the kernel.
const THREADS: u32 = 128;

/// `Route` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct Route {
    logits: Span,
    experts: Span,
    weights: Span,
    num_tokens: u32,
    num_experts: u32,
    experts_per_token: u32,
    padding: u32,
}

// SAFETY: the struct of the kernel, field by field.
#[expect(unsafe_code, reason = "the kernel reads the struct's bytes")]
unsafe impl Params for Route {}

pub(super) fn route(
    backend: &dyn Backend,
    logits: &Tensor,
    experts_per_token: usize,
) -> Result<Routing> {
    let (num_tokens, num_experts) = logits.dims2()?;
    let shape = || (num_tokens, experts_per_token).into();
    let routing = Routing {
        experts: backend.empty(shape(), DType::U32)?,
        weights: backend.empty(shape(), DType::F32)?,
    };
    if num_tokens == 0 {
        return Ok(routing);
    }
    let params = Route {
        logits: backend.span(logits)?,
        experts: backend.span_mut(&routing.experts)?,
        weights: backend.span_mut(&routing.weights)?,
        num_tokens: num_tokens as u32,
        num_experts: num_experts as u32,
        experts_per_token: experts_per_token as u32,
        padding: 0,
    };
    let blocks = (num_tokens as u32).div_ceil(THREADS / WARP);
    let kernel = format!("{NAME}_{}", suffix(NAME, logits.dtype())?);
    let launch = Launch::new(NAME, kernel, [blocks, 1, 1], THREADS, &params);
    // SAFETY: a warp a token, none beyond the last; the spans have the shapes above; no more than
    // a warp's lanes of experts a token, as checked; the tensors live on.
    #[expect(unsafe_code, reason = "runs a kernel")]
    unsafe {
        backend.launch(&launch)?;
    }
    Ok(routing)
}
