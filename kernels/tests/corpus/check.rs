//! One op on one set of inputs, wherever its device code can run.

use candle_core::{DType, Device, Result, Tensor};
use portcullis_kernels::{Order, emulate, with_plain_loops};

use crate::uniform::uniform;

/// All that kernels are compiled for.
pub(crate) const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

/// How far an element may be from the plain loops': `absolute + relative * |expected|`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    pub(crate) absolute: f64,
    pub(crate) relative: f64,
}

impl Tolerance {
    /// For a result that is rounded once to `dtype` after sums in f32: two units in the last
    /// place of the 16-bit types, and what sums in another order may differ by in f32.
    pub(crate) fn of(dtype: DType) -> Self {
        let last_place = match dtype {
            DType::BF16 => 2f64.powi(-8),
            DType::F16 => 2f64.powi(-11),
            _ => 2f64.powi(-18),
        };
        Self {
            absolute: 2.0 * last_place * 2f64.powi(-4),
            relative: 2.0 * last_place,
        }
    }

    /// For attention: the weights of values of up to 2 are rounded to the 16-bit types before tensor
    /// cores multiply them, and in f32 are as far off as scores that were summed in another order.
    pub(crate) fn attention(dtype: DType) -> Self {
        let weights = match dtype {
            DType::BF16 => 2f64.powi(-9),
            DType::F16 => 2f64.powi(-12),
            _ => 2f64.powi(-20),
        };
        let result = Self::of(dtype);
        Self {
            absolute: result.absolute + 2.0 * weights,
            ..result
        }
    }

    /// Every bit as the plain loops have it.
    pub(crate) const EXACT: Self = Self {
        absolute: 0.0,
        relative: 0.0,
    };
}

/// Runs `op` on the plain loops, then on the fast ones and on every device, and compares what comes
/// out.
///
/// In the emulation each order of threads must give the same bits. `op` gets its inputs where it
/// is to run.
pub(crate) fn check(
    case: &str,
    inputs: &[Tensor],
    tolerance: Tolerance,
    op: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
) {
    let expected = with_plain_loops(|| op(&copies(inputs, &Device::Cpu))).expect(case);
    let fast = op(&copies(inputs, &Device::Cpu)).expect(case);
    compare(&format!("{case}, fast loops"), &fast, &expected, tolerance);
    if std::env::var_os("PORTCULLIS_CPU_INSTRUCTIONS").is_some() {
        // The run is about the fast loops of another machine; device code is the same on all.
        return;
    }
    let mut first: Option<Vec<Tensor>> = None;
    for order in Order::ALL {
        let inputs = copies(inputs, &Device::Cpu);
        let found = emulate(order, || op(&inputs)).unwrap_or_else(|e| panic!("{case}: {e}"));
        compare(&format!("{case}, {order:?}"), &found, &expected, tolerance);
        match &first {
            None => first = Some(found),
            Some(first) => {
                let case = format!("{case}, {order:?} against {:?}", Order::ALL[0]);
                compare(&case, &found, first, Tolerance::EXACT);
            }
        }
    }
    #[cfg(feature = "cuda")]
    {
        let found = op(&copies(inputs, &card())).unwrap_or_else(|e| panic!("{case}, card: {e}"));
        compare(&format!("{case}, card"), &found, &expected, tolerance);
    }
}

/// The card of this machine; compiled with `cuda`, the tests need one.
#[cfg(feature = "cuda")]
pub(crate) fn card() -> Device {
    thread_local! {
        static CARD: Device = Device::new_cuda_with_stream(0).expect("a card");
    }
    CARD.with(Clone::clone)
}

/// Ops may write into their inputs: each run gets its own.
fn copies(inputs: &[Tensor], device: &Device) -> Vec<Tensor> {
    let copy = |x: &Tensor| x.copy()?.to_device(device);
    inputs.iter().map(|x| copy(x).expect("a copy")).collect()
}

fn compare(case: &str, found: &[Tensor], expected: &[Tensor], tolerance: Tolerance) {
    assert_eq!(found.len(), expected.len(), "{case}: results");
    for (result, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(
            found.shape(),
            expected.shape(),
            "{case}: shape of result {result}"
        );
        assert_eq!(
            found.dtype(),
            expected.dtype(),
            "{case}: dtype of result {result}"
        );
        let pairs = flat(found).into_iter().zip(flat(expected)).enumerate();
        for (index, (found, expected)) in pairs {
            let allowed = tolerance.absolute + tolerance.relative * expected.abs();
            let near = found == expected || (found - expected).abs() <= allowed;
            assert!(
                near || (found.is_nan() && expected.is_nan()),
                "{case}: element {index} of result {result} is {found}, expected {expected}"
            );
        }
    }
}

fn flat(x: &Tensor) -> Vec<f64> {
    let x = x.to_device(&Device::Cpu).and_then(|x| x.flatten_all());
    x.and_then(|x| x.to_dtype(DType::F64)?.to_vec1())
        .expect("elements")
}

/// Values in [-2, 2) that are the same for the same seed, rounded to `dtype`.
pub(crate) fn random(seed: u64, shape: &[usize], dtype: DType) -> Tensor {
    let count = shape.iter().product();
    let values: Vec<f32> = uniform(seed).take(count).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
        .and_then(|x| x.to_dtype(dtype))
        .expect("a tensor")
}
