//! Root-mean-square norm of a sum: what stands between the parts of a decoder layer.

mod cpu;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod cuda;
mod fast;

use candle_core::{Result, Tensor, bail};

use crate::element::{check_dtype, host, map2, with_both, with_elements};

const NAME: &str = "add_rms_norm";

/// `(x + residual, rms_norm(x + residual))` for each row of `[num_rows, size]`.
///
/// The norm divides a row by the root of the mean of its squares, `eps` added to the mean, and
/// multiplies it by `weight`, `[size]`. The sum is rounded to the dtype before it is normed, as the
/// next layer will read it. f32, bf16 or f16, all of one dtype and contiguous; sums in f32 or wider.
///
/// # Errors
/// Shapes or dtypes that do not fit together; on a card, a size that is no multiple of 16 bytes.
///
/// Source: RMSNorm, arXiv:1910.07467.
pub fn add_rms_norm(
    x: &Tensor,
    residual: &Tensor,
    weight: &Tensor,
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    let size = check(x, weight)?;
    if residual.dims() != x.dims() || residual.dtype() != x.dtype() {
        bail!(
            "{NAME}: x is {:?}, the residual {:?}",
            x.shape(),
            residual.shape()
        );
    }
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    if let Some(backend) = crate::device::backend_of(x) {
        return cuda::add_rms_norm(&*backend, x, residual, weight, size, eps);
    }
    if crate::plain::is_asked_for() || size == 0 {
        let sum = (x + residual)?;
        let normed = on_cpu(&sum, weight, size, eps)?;
        return Ok((sum, normed));
    }
    with_elements!(x, T => {
        let weight = host(weight);
        let weight = weight.elements::<T>(NAME)?;
        let (sums, normed) = with_both::<T, _>(NAME, x, residual, |x, residual| {
            fast::add_rms_norm(x, residual, weight, eps)
        })?;
        let tensor = |values| Tensor::from_vec(values, x.shape(), x.device());
        Ok((tensor(sums)?, tensor(normed)?))
    })
}

/// `rms_norm(x)` for each row of `[num_rows, size]`; see [`add_rms_norm`].
///
/// # Errors
/// As there.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let size = check(x, weight)?;
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    if let Some(backend) = crate::device::backend_of(x) {
        return cuda::rms_norm(&*backend, x, weight, size, eps);
    }
    on_cpu(x, weight, size, eps)
}

fn check(x: &Tensor, weight: &Tensor) -> Result<usize> {
    let (_, size) = x.dims2()?;
    check_dtype(NAME, "x", x.dtype())?;
    if weight.dims() != [size] || weight.dtype() != x.dtype() {
        bail!(
            "{NAME}: x is {:?} of {:?}, the weight {:?} of {:?}",
            x.dims(),
            x.dtype(),
            weight.dims(),
            weight.dtype()
        );
    }
    Ok(size)
}

fn on_cpu(x: &Tensor, weight: &Tensor, size: usize, eps: f64) -> Result<Tensor> {
    with_elements!(x, T => map2::<T>(NAME, x, weight, |x, weight| {
        match crate::plain::is_asked_for() || size == 0 {
            true => cpu::rms_norm(x, weight, size, eps),
            false => fast::rms_norm(x, weight, eps),
        }
    }))
}
