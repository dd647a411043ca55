//! `x wᵀ`, with the same bits for a row in any batch.
//!
//! A general matrix product picks its order of summation by the shape, so that a row's result
//! changes in the last bits with the rows beside it; greedy decoding then now and then answers
//! differently under load. Here the order depends on the length of the row alone.

mod cpu;
mod lanes;

use candle_core::{Result, Tensor, bail};

pub(crate) use self::cpu::product;
pub(crate) use self::lanes::Fill;
use crate::element::{check_dtype, with_both, with_elements};

const NAME: &str = "linear";

/// `x` `[num_tokens, in]` times the transpose of `weight` `[out, in]`: `[num_tokens, out]`.
///
/// Both are f32, bf16 or f16, of one dtype, and contiguous; sums are f32. On the CPU each element
/// is sixteen partial sums, element `i` of the row going to sum `i % 16`, added up as a fixed tree;
/// on a card the product is cuBLAS's, and the same bits in any batch are not promised.
///
/// # Errors
/// Shapes or dtypes that do not fit together.
///
/// Source: "Defeating Nondeterminism in LLM Inference" (Thinking Machines, 2025) for the aim of
/// batch invariance; the blocking is that of any register-tiled product.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (_, size_in) = x.dims2()?;
    let (_, weight_in) = weight.dims2()?;
    check_dtype(NAME, "x", x.dtype())?;
    if x.dtype() != weight.dtype() {
        bail!(
            "{NAME}: x is {:?}, the weight {:?}",
            x.dtype(),
            weight.dtype()
        );
    }
    if size_in != weight_in {
        bail!(
            "{NAME}: x of {:?} does not fit a weight of {:?}",
            x.dims(),
            weight.dims()
        );
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return x.matmul(&weight.t()?);
    }
    with_elements!(x, T => on_cpu::<T>(x, weight))
}

fn on_cpu<T: Fill>(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (rows, size_in) = x.dims2()?;
    let size_out = weight.dim(0)?;
    let out = with_both::<T, _>(NAME, x, weight, |x, weight| {
        product(&widened(x), weight, size_in)
    })?;
    let out: Vec<T> = out.into_iter().map(T::narrow).collect();
    Tensor::from_vec(out, (rows, size_out), x.device())
}

fn widened<T: Fill>(x: &[T]) -> Vec<f32> {
    x.iter().map(|value| value.widen()).collect()
}
