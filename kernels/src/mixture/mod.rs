//! A mixture of gated MLPs, each token through its own few.

mod cpu;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod cuda;

use candle_core::{DType, Result, Tensor, bail};

use crate::Routing;
use crate::element::{check_dtype, host, with_elements};

const NAME: &str = "mixture";

/// For each row of `x`, `[num_tokens, hidden]`, the sum over its experts of
/// `weight * down(silu(gate x) * up x)`: `[num_tokens, hidden]`.
///
/// `gate` and `up` are `[num_experts, inner, hidden]`, `down` `[num_experts, hidden, inner]`; they
/// and `x` have one dtype, f32, bf16 or f16, and are contiguous. Products are summed in f32; the
/// gate's, up's and down's results and the gated product are rounded to the dtype, as separate ops
/// would. A token's experts are added up in f32, in the order of their index.
///
/// A row's bits do not depend on the rows beside it, on the CPU and on a card each: few rows and
/// many take different kernels there, which add up the same products in the same order.
///
/// # Errors
/// Shapes or dtypes that do not fit together; on a card, `hidden` or `inner` that is no multiple of
/// 16 bytes. An expert that does not exist is an error on the CPU; on a card, where nobody waits
/// for the routing to be looked at, it counts nothing.
///
/// Source: Mixtral of Experts, arXiv:2401.04088; the grouping of rows by expert is MegaBlocks',
/// arXiv:2211.15841.
pub fn mixture(
    x: &Tensor,
    routing: &Routing,
    gate: &Tensor,
    up: &Tensor,
    down: &Tensor,
) -> Result<Tensor> {
    let mixture = Mixture {
        x,
        routing,
        gate,
        up,
        down,
        sizes: Sizes::of(x, routing, gate)?,
    };
    mixture.check()?;
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    if let Some(backend) = crate::device::backend_of(x) {
        return cuda::mixture(&*backend, &mixture);
    }
    mixture.run_on_cpu()
}

/// The arguments.
struct Mixture<'a> {
    x: &'a Tensor,
    routing: &'a Routing,
    gate: &'a Tensor,
    up: &'a Tensor,
    down: &'a Tensor,
    sizes: Sizes,
}

#[derive(Clone, Copy)]
struct Sizes {
    num_tokens: usize,
    experts_per_token: usize,
    num_experts: usize,
    hidden: usize,
    inner: usize,
}

impl Sizes {
    fn of(x: &Tensor, routing: &Routing, gate: &Tensor) -> Result<Self> {
        let (num_tokens, hidden) = x.dims2()?;
        let (_, experts_per_token) = routing.experts.dims2()?;
        let (num_experts, inner, _) = gate.dims3()?;
        if hidden == 0 || inner == 0 || experts_per_token == 0 {
            bail!(
                "{NAME}: x is {:?}, the routing {:?}, the gate {:?}; none may be without width",
                x.dims(),
                routing.experts.dims(),
                gate.dims()
            );
        }
        Ok(Self {
            num_tokens,
            experts_per_token,
            num_experts,
            hidden,
            inner,
        })
    }
}

impl Mixture<'_> {
    fn check(&self) -> Result<()> {
        let Sizes {
            num_tokens,
            experts_per_token,
            num_experts,
            hidden,
            inner,
        } = self.sizes;
        let dtype = self.x.dtype();
        check_dtype(NAME, "x", dtype)?;
        let pairs = [num_tokens, experts_per_token];
        let (inwards, outwards) = ([num_experts, inner, hidden], [num_experts, hidden, inner]);
        expect("the experts", &self.routing.experts, &pairs, DType::U32)?;
        expect("the weights", &self.routing.weights, &pairs, DType::F32)?;
        expect("the gate", self.gate, &inwards, dtype)?;
        expect("up", self.up, &inwards, dtype)?;
        expect("down", self.down, &outwards, dtype)
    }

    fn run_on_cpu(&self) -> Result<Tensor> {
        let (x, gate, up, down) = (
            host(self.x),
            host(self.gate),
            host(self.up),
            host(self.down),
        );
        let (experts, weights) = (host(&self.routing.experts), host(&self.routing.weights));
        let routing = cpu::Routed {
            experts: experts.elements(NAME)?,
            weights: weights.elements(NAME)?,
        };
        with_elements!(self.x, T => {
            let matrices = cpu::Matrices::<T> {
                gate: gate.elements(NAME)?,
                up: up.elements(NAME)?,
                down: down.elements(NAME)?,
            };
            let out = cpu::mixture(x.elements(NAME)?, &routing, &matrices, self.sizes)?;
            Tensor::from_vec(out, self.x.shape(), self.x.device())
        })
    }
}

fn expect(what: &str, tensor: &Tensor, dims: &[usize], dtype: DType) -> Result<()> {
    if tensor.dims() != dims || tensor.dtype() != dtype {
        bail!(
            "{NAME}: {what}: {:?} of {:?}, expected {dims:?} of {dtype:?}",
            tensor.dims(),
            tensor.dtype()
        );
    }
    Ok(())
}
