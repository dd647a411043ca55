//! The launches of linear.cu.

use candle_core::{DType, Result, Tensor};

use super::{NAME, Plain};
use crate::device::{Backend, Launch, Params, Span, WARP, suffix};

/// `LINEAR_THREADS` of the kernels.
const THREADS: u32 = 256;
/// `LINEAR_PARTS` of the kernels: weights of one launch.
const PARTS: usize = 3;
/// `LINEAR_ROWS` of the kernels.
const ROWS_MAX: usize = 8;
/// `LINEAR_FEATURES` of the kernels of 16 bits.
const FEATURES: usize = 16;

/// `LinearPart` of the kernels.
#[repr(C)]
#[derive(Clone, Copy)]
struct Part {
    weight: Span,
    bias: Span,
    out: Span,
    size_out: u32,
    padding: u32,
}

impl Part {
    /// For a launch of fewer weights.
    const NONE: Self = Self {
        weight: Span::NONE,
        bias: Span::NONE,
        out: Span::NONE,
        size_out: 0,
        padding: 0,
    };
}

/// `Linear` of the kernels.
#[repr(C)]
#[derive(Clone, Copy)]
struct Linear {
    x: Span,
    parts: [Part; PARTS],
    num_rows: u32,
    size_in: u32,
}

// SAFETY: the struct of the kernels, field by field.
#[expect(unsafe_code, reason = "the kernel reads the struct's bytes")]
unsafe impl Params for Linear {}

/// The product with each of the weights, whose shapes fit `x`; `None` if it is not one for the
/// kernels.
pub(super) fn products(
    backend: &dyn Backend,
    x: &Tensor,
    weights: &[Plain<'_>],
) -> Result<Option<Vec<Tensor>>> {
    if !is_ours(backend, x, weights)? {
        return Ok(None);
    }
    let num_rows = x.dim(0)?;
    let mut products = Vec::with_capacity(weights.len());
    for weights in weights.chunks(PARTS) {
        let outs = weights
            .iter()
            .map(|plain| backend.empty((num_rows, plain.weight.dim(0)?).into(), x.dtype()));
        let outs: Vec<Tensor> = outs.collect::<Result<_>>()?;
        launch(backend, x, weights, &outs)?;
        products.extend(outs);
    }
    Ok(Some(products))
}

/// Whether the kernels multiply these: up to eight rows, of whole loads of 16 bytes, that begin where
/// such loads may. All else is cuBLAS's.
fn is_ours(backend: &dyn Backend, x: &Tensor, weights: &[Plain<'_>]) -> Result<bool> {
    let (num_rows, size_in) = x.dims2()?;
    if num_rows > ROWS_MAX || !size_in.is_multiple_of(load(x.dtype())) {
        return Ok(false);
    }
    for tensor in weights.iter().map(|plain| plain.weight).chain([x]) {
        if !tensor.is_contiguous() || !backend.span(tensor)?.address.is_multiple_of(16) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Elements of a load of 16 bytes.
fn load(dtype: DType) -> usize {
    16 / dtype.size_in_bytes()
}

/// Multiplies with up to [`PARTS`] weights.
fn launch(backend: &dyn Backend, x: &Tensor, weights: &[Plain<'_>], outs: &[Tensor]) -> Result<()> {
    let (num_rows, size_in) = x.dims2()?;
    let form = Form::of(x.dtype());
    let mut params = Linear {
        x: backend.span(x)?,
        parts: [Part::NONE; PARTS],
        num_rows: num_rows as u32,
        size_in: size_in as u32,
    };
    let mut blocks = 0;
    for ((part, plain), out) in params.parts.iter_mut().zip(weights).zip(outs) {
        let size_out = plain.weight.dim(0)?;
        *part = Part {
            weight: backend.span(plain.weight)?,
            bias: plain
                .bias
                .map_or(Ok(Span::NONE), |bias| backend.span(bias))?,
            out: backend.span_mut(out)?,
            size_out: size_out as u32,
            padding: 0,
        };
        blocks += size_out.div_ceil(form.features) as u32;
    }
    if blocks == 0 || num_rows == 0 {
        return Ok(());
    }
    let kernel = format!("{NAME}_{}", suffix(NAME, x.dtype())?);
    let launch = Launch::new(NAME, kernel, [blocks, 1, 1], THREADS, &params)
        .with_shared_bytes(form.shared_bytes);
    // SAFETY: the shapes were checked against each other, so that a block stays within the features
    // of its part and the rows of `x`; and the tensors live on.
    #[expect(unsafe_code, reason = "runs a kernel")]
    unsafe {
        backend.launch(&launch)
    }
}

/// What the blocks of a dtype's kernel are.
struct Form {
    /// Of one weight.
    features: usize,
    shared_bytes: usize,
}

impl Form {
    fn of(dtype: DType) -> Self {
        let warps = (THREADS / WARP) as usize;
        match dtype {
            // A feature a warp.
            DType::F32 => Self {
                features: warps,
                shared_bytes: 0,
            },
            // Each warp has its share of all sums.
            _ => Self {
                features: FEATURES,
                shared_bytes: warps * FEATURES * ROWS_MAX * size_of::<f32>(),
            },
        }
    }
}
