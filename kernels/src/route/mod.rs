//! Which experts a token goes to.

mod cpu;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod cuda;

use candle_core::{Result, Tensor, bail};

use crate::element::{check_dtype, host, with_elements};

const NAME: &str = "route";

/// Experts a token can go to: one lane of a warp keeps each.
const EXPERTS_PER_TOKEN_MAX: usize = 32;

/// The experts of each token.
#[derive(Clone, Debug)]
pub struct Routing {
    /// u32 `[num_tokens, experts_per_token]`, the likeliest first.
    pub experts: Tensor,
    /// f32 `[num_tokens, experts_per_token]`: what each expert's answer counts.
    pub weights: Tensor,
}

/// For each row of `logits`, `[num_tokens, num_experts]`, the `experts_per_token` largest with
/// their softmax among themselves; ties go to the lower index.
///
/// The logits are f32, bf16 or f16, and contiguous; the softmax is computed in f32. Their order is
/// the total one of IEEE 754, so that a NaN does not leave a token without experts.
///
/// # Errors
/// More experts a token than there are, none, or over 32; logits of another dtype.
///
/// Source: Mixtral of Experts, arXiv:2401.04088.
pub fn route(logits: &Tensor, experts_per_token: usize) -> Result<Routing> {
    let (num_tokens, num_experts) = logits.dims2()?;
    check_dtype(NAME, "the logits", logits.dtype())?;
    if !(1..=num_experts.min(EXPERTS_PER_TOKEN_MAX)).contains(&experts_per_token) {
        bail!(
            "{NAME}: {experts_per_token} experts a token of {num_experts}; it takes 1 to \
             {EXPERTS_PER_TOKEN_MAX}, and no more than there are"
        );
    }
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    if let Some(backend) = crate::device::backend_of(logits) {
        return cuda::route(&*backend, logits, experts_per_token);
    }
    let rows = host(logits);
    let (experts, weights) = with_elements!(logits, T => {
        cpu::route::<T>(rows.elements(NAME)?, num_experts, experts_per_token)
    });
    let shape = (num_tokens, experts_per_token);
    Ok(Routing {
        experts: Tensor::from_vec(experts, shape, logits.device())?,
        weights: Tensor::from_vec(weights, shape, logits.device())?,
    })
}
