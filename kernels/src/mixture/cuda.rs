//! The launches of mixture.cu.

use candle_core::{DType, Result, Tensor};

use super::{Mixture, NAME, Sizes};
use crate::device::{Backend, Launch, Params, Span, WARP, suffix, wide};

/// `MIXTURE_SORT_THREADS` of the kernel.
const SORT_THREADS: u32 = 256;
/// `PRODUCT_THREADS` of the kernels.
const PRODUCT_THREADS: u32 = 128;
/// `MIXTURE_COMBINE_THREADS` of the kernel.
const COMBINE_THREADS: u32 = 128;

/// Rows of one expert up to which its weights are read once into registers.
const FEW_ROWS: usize = 8;
/// Features that a warp computes for few rows.
const FEW_FEATURES: usize = 16;

/// `TILE_ROWS`, `STAGES` and `STRETCH` of the kernel.
const TILE_ROWS: usize = 128;
const STAGES: usize = 4;
const STRETCH: usize = 32;

/// `MixtureSort` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct MixtureSort {
    experts: Span,
    order: Span,
    starts: Span,
    num_pairs: u32,
    num_experts: u32,
}

// SAFETY: the struct of the kernel, field by field.
#[expect(unsafe_code, reason = "the kernel reads the struct's bytes")]
unsafe impl Params for MixtureSort {}

/// `Product` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct Product {
    x: Span,
    weight: Span,
    up: Span,
    order: Span,
    starts: Span,
    out: Span,
    num_experts: u32,
    experts_per_token: u32,
    size_in: u32,
    size_out: u32,
}

// SAFETY: the struct of the kernel, field by field.
#[expect(unsafe_code, reason = "the kernel reads the struct's bytes")]
unsafe impl Params for Product {}

/// `MixtureCombine` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct MixtureCombine {
    products: Span,
    experts: Span,
    weights: Span,
    out: Span,
    num_experts: u32,
    experts_per_token: u32,
    hidden: u32,
    padding: u32,
}

// SAFETY: the struct of the kernel, field by field.
#[expect(unsafe_code, reason = "the kernel reads the struct's bytes")]
unsafe impl Params for MixtureCombine {}

pub(super) fn mixture(backend: &dyn Backend, mixture: &Mixture<'_>) -> Result<Tensor> {
    let (sizes, dtype) = (mixture.sizes, mixture.x.dtype());
    wide(NAME, "a row of x", sizes.hidden, dtype)?;
    wide(NAME, "a row between", sizes.inner, dtype)?;
    let out = backend.empty(mixture.x.shape().clone(), dtype)?;
    if sizes.num_tokens == 0 || sizes.num_experts == 0 {
        return out.zeros_like();
    }
    let sorted = Sorted::of(backend, &mixture.routing.experts, sizes)?;
    let gated = backend.empty((sizes.num_pairs(), sizes.inner).into(), dtype)?;
    let products = backend.empty((sizes.num_pairs(), sizes.hidden).into(), dtype)?;
    sorted.product(backend, mixture.x, &[mixture.gate, mixture.up], &gated)?;
    sorted.product(backend, &gated, &[mixture.down], &products)?;
    combine(backend, mixture, &products, &out)?;
    Ok(out)
}

impl Sizes {
    /// Pairs of a token and one of its experts.
    fn num_pairs(&self) -> usize {
        self.num_tokens * self.experts_per_token
    }
}

/// The pairs of a token and one of its experts, by expert.
struct Sorted {
    order: Tensor,
    starts: Tensor,
    sizes: Sizes,
}

impl Sorted {
    fn of(backend: &dyn Backend, experts: &Tensor, sizes: Sizes) -> Result<Self> {
        let order = backend.empty(sizes.num_pairs().into(), DType::U32)?;
        let starts = backend.empty((sizes.num_experts + 1).into(), DType::U32)?;
        let params = MixtureSort {
            experts: backend.span(experts)?,
            order: backend.span_mut(&order)?,
            starts: backend.span_mut(&starts)?,
            num_pairs: sizes.num_pairs() as u32,
            num_experts: sizes.num_experts as u32,
        };
        let kernel = format!("{NAME}_sort");
        let launch = Launch::new(NAME, kernel, [1, 1, 1], SORT_THREADS, &params)
            .with_shared_bytes(sizes.num_experts * size_of::<u32>());
        // SAFETY: one block, with shared memory for a number an expert; a pair of an expert that
        // exists gets one place in `order`, others none; the tensors live on.
        #[expect(unsafe_code, reason = "runs a kernel")]
        unsafe {
            backend.launch(&launch)?;
        }
        Ok(Self {
            order,
            starts,
            sizes,
        })
    }

    /// The gated product if there are two weights, gate and up; down with one.
    fn product(
        &self,
        backend: &dyn Backend,
        x: &Tensor,
        weights: &[&Tensor],
        out: &Tensor,
    ) -> Result<()> {
        let (num_experts, size_out, size_in) = weights[0].dims3()?;
        let params = Product {
            x: backend.span(x)?,
            weight: backend.span(weights[0])?,
            up: weights
                .get(1)
                .map_or(Ok(Span::NONE), |up| backend.span(up))?,
            order: backend.span(&self.order)?,
            starts: backend.span(&self.starts)?,
            out: backend.span_mut(out)?,
            num_experts: num_experts as u32,
            experts_per_token: self.sizes.experts_per_token as u32,
            size_in: size_in as u32,
            size_out: size_out as u32,
        };
        let form = Form::of(x.dtype(), self.sizes);
        let stage = if weights.len() == 2 { "gated" } else { "down" };
        let kernel = format!(
            "{NAME}_{stage}_{}_{}",
            form.name(),
            suffix(NAME, x.dtype())?
        );
        let grid = form.grid(self.sizes, size_out, weights.len());
        let launch = Launch::new(NAME, kernel, grid, PRODUCT_THREADS, &params)
            .with_shared_bytes(form.shared_bytes(x.dtype()));
        // SAFETY: the kernel reads rows of `x` that the sorted pairs name and of experts that
        // exist, and writes the rows of `out` of those pairs; the tensors live on.
        #[expect(unsafe_code, reason = "runs a kernel")]
        unsafe {
            backend.launch(&launch)
        }
    }
}

/// Which kernel computes the products. All of a dtype give the same bits.
#[derive(Clone, Copy)]
enum Form {
    /// Without matrix instructions.
    Plain,
    /// Weights straight into registers.
    Few,
    /// By tiles of so many rows.
    Tiled(usize),
}

impl Form {
    fn of(dtype: DType, sizes: Sizes) -> Self {
        match (
            dtype,
            sizes.num_tokens,
            sizes.num_pairs() / sizes.num_experts,
        ) {
            (DType::F32, ..) => Self::Plain,
            (_, ..=FEW_ROWS, _) => Self::Few,
            (_, _, ..=32) => Self::Tiled(32),
            _ => Self::Tiled(128),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Plain => "plain".into(),
            Self::Few => "few".into(),
            Self::Tiled(rows) => format!("tiled{rows}"),
        }
    }

    /// Large enough however the pairs fall to the experts.
    fn grid(self, sizes: Sizes, size_out: usize, num_weights: usize) -> [u32; 3] {
        let warps = (PRODUCT_THREADS / WARP) as usize;
        let blocks = |features: usize| size_out.div_ceil(features) as u32;
        let num_experts = sizes.num_experts as u32;
        match self {
            Self::Plain => [blocks(warps), num_experts, 1],
            Self::Few => [blocks(warps * FEW_FEATURES), num_experts, 1],
            Self::Tiled(rows) => {
                // Each expert may have one tile that is not full. Tiles of an expert run side by
                // side, so that they find its weights in the cache.
                let tiles = sizes.num_pairs() / rows + sizes.num_experts.min(sizes.num_pairs());
                [tiles as u32, blocks(TILE_ROWS / num_weights), 1]
            }
        }
    }

    fn shared_bytes(self, dtype: DType) -> usize {
        match self {
            Self::Plain | Self::Few => 0,
            Self::Tiled(rows) => STAGES * (TILE_ROWS + rows) * STRETCH * dtype.size_in_bytes(),
        }
    }
}

fn combine(
    backend: &dyn Backend,
    mixture: &Mixture<'_>,
    products: &Tensor,
    out: &Tensor,
) -> Result<()> {
    let (sizes, dtype) = (mixture.sizes, out.dtype());
    let params = MixtureCombine {
        products: backend.span(products)?,
        experts: backend.span(&mixture.routing.experts)?,
        weights: backend.span(&mixture.routing.weights)?,
        out: backend.span_mut(out)?,
        num_experts: sizes.num_experts as u32,
        experts_per_token: sizes.experts_per_token as u32,
        hidden: sizes.hidden as u32,
        padding: 0,
    };
    let packs = sizes.hidden * dtype.size_in_bytes() / 16;
    let parts = packs.div_ceil(COMBINE_THREADS as usize) as u32;
    let kernel = format!("{NAME}_combine_{}", suffix(NAME, dtype)?);
    let grid = [sizes.num_tokens as u32, parts, 1];
    let launch = Launch::new(NAME, kernel, grid, COMBINE_THREADS, &params);
    // SAFETY: blocks of a token cover its row and no more; of the pairs only those of experts that
    // exist are read, which the products have written; the tensors live on.
    #[expect(unsafe_code, reason = "runs a kernel")]
    unsafe {
        backend.launch(&launch)
    }
}
