//! `x wᵀ`, with the same bits for a row in any batch.
//!
//! A general matrix product picks its order of summation by the shape, so that a row's result
//! changes in the last bits with the rows beside it; greedy decoding then now and then answers
//! differently under load. Here the order depends on the length of the row alone.

mod amx;
mod cpu;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod cuda;
mod packed;
mod pages;
mod panel;

use candle_core::{Result, Tensor, bail};

pub(crate) use self::amx::has_tile_registers;
pub(crate) use self::cpu::product;
pub use self::packed::{LinearWeight, linears};
use crate::element::{check_dtype, with_both, with_elements};
pub(crate) use crate::lanes::Fill;

const NAME: &str = "linear";

/// `x` `[num_tokens, in]` times the transpose of `weight` `[out, in]`: `[num_tokens, out]`.
///
/// Both are f32, bf16 or f16, of one dtype, and contiguous; sums are f32. On the CPU each element
/// is sixteen partial sums, element `i` of the row going to sum `i % 16`, added up as a fixed tree.
///
/// On a card, up to eight rows of whole loads of 16 bytes are multiplied by a kernel of our own, and
/// a row has the same bits in any such batch. Beyond that the product is cuBLAS's: from eight rows to
/// nine a row may change in its last bits, and above eight with every number of rows.
///
/// # Errors
/// Shapes or dtypes that do not fit together.
///
/// Source: "Defeating Nondeterminism in LLM Inference" (Thinking Machines, 2025) for the aim of
/// batch invariance; the blocking is that of any register-tiled product.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let mut products = products(x, &[Plain { weight, bias: None }])?;
    Ok(products.remove(0))
}

/// A weight that lies as it came.
#[derive(Clone, Copy)]
struct Plain<'a> {
    weight: &'a Tensor,
    /// `[out]`, of the weight's dtype.
    bias: Option<&'a Tensor>,
}

/// The product with each of the weights, with its bias.
fn products(x: &Tensor, weights: &[Plain<'_>]) -> Result<Vec<Tensor>> {
    for plain in weights {
        check(x, plain.weight)?;
    }
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    if let Some(backend) = crate::device::backend_of(x)
        && let Some(products) = cuda::products(&*backend, x, weights)?
    {
        return Ok(products);
    }
    weights
        .iter()
        .map(|plain| library_product(x, plain))
        .collect()
}

/// A product that is not ours on a card.
fn library_product(x: &Tensor, plain: &Plain<'_>) -> Result<Tensor> {
    let (x, weight, bias) = (x.clone(), plain.weight.clone(), plain.bias.cloned());
    let product = move || add_bias(product_of(&x, &weight)?, bias.as_ref());
    #[cfg(feature = "emulation")]
    return crate::device::recording::by_library(product);
    #[cfg(not(feature = "emulation"))]
    product()
}

fn add_bias(product: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(bias) => product.broadcast_add(bias),
        None => Ok(product),
    }
}

fn check(x: &Tensor, weight: &Tensor) -> Result<()> {
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
    Ok(())
}

fn product_of(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
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
