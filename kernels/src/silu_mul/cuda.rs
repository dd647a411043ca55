//! The launch of silu_mul.cu.

use candle_core::{Result, Tensor, bail};

use super::NAME;
use crate::device::{Backend, Launch, Params, Span, suffix};

/// `SILU_MUL_THREADS` of the kernel.
const THREADS: u32 = 256;

/// `SiluMul` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct SiluMul {
    gate: Span,
    up: Span,
    out: Span,
}

// SAFETY: the struct of the kernel, field by field.
#[expect(unsafe_code, reason = "the kernel reads the struct's bytes")]
unsafe impl Params for SiluMul {}

pub(super) fn silu_mul(backend: &dyn Backend, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let out = backend.empty(gate.shape().clone(), gate.dtype())?;
    let count = gate.elem_count();
    if count == 0 {
        return Ok(out);
    }
    let params = SiluMul {
        gate: backend.span(gate)?,
        up: backend.span(up)?,
        out: backend.span_mut(&out)?,
    };
    for span in [params.gate, params.up] {
        if !span.address.is_multiple_of(16) {
            bail!(
                "{NAME}: an argument starts within 16 bytes, which the kernel loads at once; copy it"
            );
        }
    }
    let pack = 16 / gate.dtype().size_in_bytes();
    let blocks = count.div_ceil(pack * THREADS as usize) as u32;
    let kernel = format!("{NAME}_{}", suffix(NAME, gate.dtype())?);
    let launch = Launch::new(NAME, kernel, [blocks, 1, 1], THREADS, &params);
    // SAFETY: the kernel stops at the end of `out`, the other spans have its length, and the
    // tensors live on.
    #[expect(unsafe_code, reason = "runs a kernel")]
    unsafe {
        backend.launch(&launch)?;
    }
    Ok(out)
}
