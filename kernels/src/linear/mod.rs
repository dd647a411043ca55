//! `x wᵀ`, with the same bits for a row in any batch.
//!
//! A general matrix product picks its order of summation by the shape, so that a row's result
//! changes in the last bits with the rows beside it; greedy decoding then now and then answers
//! differently under load. Here the order depends on the length of the row alone.

mod cpu;
mod lanes;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use half::bf16;

use crate::element::{check_dtype, elements};

const NAME: &str = "linear";

/// `x` `[num_tokens, in]` times the transpose of `weight` `[out, in]`: `[num_tokens, out]`.
///
/// Both are f32 or bf16, of one dtype, and contiguous; sums are f32. Each element is sixteen
/// partial sums, element `i` of the row going to sum `i % 16`, added up as a fixed tree.
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
    x.apply_op2_no_bwd(weight, &Linear)
}

struct Linear;

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, size_in) = x_layout.shape().dims2()?;
        let (size_out, _) = weight_layout.shape().dims2()?;
        let out = match weight {
            CpuStorage::BF16(_) => {
                let x = elements::<bf16>(NAME, x, x_layout)?;
                let x: Vec<f32> = x.iter().map(|value| value.to_f32()).collect();
                let weight = elements::<bf16>(NAME, weight, weight_layout)?;
                let out = cpu::product(&x, weight, size_in);
                CpuStorage::BF16(out.into_iter().map(bf16::from_f32).collect())
            }
            _ => {
                let x = elements::<f32>(NAME, x, x_layout)?;
                let weight = elements::<f32>(NAME, weight, weight_layout)?;
                CpuStorage::F32(cpu::product(x, weight, size_in))
            }
        };
        Ok((out, (rows, size_out).into()))
    }
}
