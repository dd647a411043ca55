//! Plain loops.

use crate::element::Element;

pub(super) fn silu_mul<T: Element>(gate: &[T], up: &[T]) -> Vec<T> {
    let pairs = gate.iter().zip(up);
    pairs
        .map(|(gate, up)| T::narrow(silu(gate.widen()) * up.widen()))
        .collect()
}

/// `x` times its logistic function.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}
