//! The gate of a gated MLP.

mod cpu;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod cuda;
mod fast;

use candle_core::{Result, Tensor, bail};

pub(crate) use self::cpu::silu;
use crate::element::{check_dtype, map2, with_elements};

const NAME: &str = "silu_mul";

/// `silu(gate) * up`, element by element, of any one shape.
///
/// f32, bf16 or f16, both of one dtype and contiguous; computed in f32 and rounded once.
///
/// # Errors
/// Shapes or dtypes that differ.
///
/// Source: GLU variants, arXiv:2002.05202 (SwiGLU).
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    check_dtype(NAME, "the gate", gate.dtype())?;
    if gate.dims() != up.dims() || gate.dtype() != up.dtype() {
        bail!(
            "{NAME}: the gate is {:?} of {:?}, up {:?} of {:?}",
            gate.dims(),
            gate.dtype(),
            up.dims(),
            up.dtype()
        );
    }
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    if let Some(backend) = crate::device::backend_of(gate) {
        return cuda::silu_mul(&*backend, gate, up);
    }
    with_elements!(gate, T => match crate::plain::is_asked_for() {
        true => map2::<T>(NAME, gate, up, cpu::silu_mul),
        false => map2::<T>(NAME, gate, up, fast::silu_mul),
    })
}
