//! The product against a plain one in f64, over odd shapes; and the same bits in any batch.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

use candle_core::{DType, Device, Tensor};
use portcullis_kernels::linear;

/// Relative to the length of the sums: a few units in the last place of each term.
const TOLERANCE_F32: f64 = 1e-6;
/// bf16 keeps 8 bits of the result.
const TOLERANCE_BF16: f64 = 1.0 / 128.0;

fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn tensor(rows: usize, columns: usize, seed: u64, dtype: DType) -> Tensor {
    let tensor = Tensor::from_vec(values(rows * columns, seed), (rows, columns), &Device::Cpu);
    tensor.unwrap().to_dtype(dtype).unwrap()
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    tensor.to_dtype(DType::F32).unwrap().to_vec2().unwrap()
}

fn check(m: usize, n: usize, k: usize, dtype: DType, tolerance: f64) {
    let (x, w) = (tensor(m, k, 1, dtype), tensor(n, k, 2, dtype));
    let found = rows(&linear(&x, &w).unwrap());
    for (x, found) in rows(&x).iter().zip(&found) {
        for (w, &found) in rows(&w).iter().zip(found) {
            let terms = x.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b));
            let size: f64 = 1.0 + terms.clone().map(f64::abs).sum::<f64>();
            let expected: f64 = terms.sum();
            let off = (expected - f64::from(found)).abs() / size;
            assert!(
                off <= tolerance,
                "{m}x{n}x{k} in {dtype:?}: {found} for {expected}"
            );
        }
    }
}

#[test]
fn equals_a_plain_product() {
    for m in [1, 2, 3, 4, 5, 8, 33] {
        for n in [1, 3, 4, 15, 16, 17, 40] {
            for k in [1, 8, 15, 16, 17, 64, 100] {
                check(m, n, k, DType::F32, TOLERANCE_F32);
                check(m, n, k, DType::BF16, TOLERANCE_BF16);
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_batch() {
    let (x, w) = (
        tensor(37, 100, 3, DType::F32),
        tensor(41, 100, 4, DType::F32),
    );
    let together = rows(&linear(&x, &w).unwrap());
    for start in 0..37 {
        for len in [1, 2, 4, 7].into_iter().filter(|len| start + len <= 37) {
            let part = x.narrow(0, start, len).unwrap().contiguous().unwrap();
            assert_eq!(
                rows(&linear(&part, &w).unwrap()),
                together[start..start + len]
            );
        }
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let (x, w) = (tensor(2, 8, 1, DType::F32), tensor(3, 9, 1, DType::F32));
    let error = linear(&x, &w).unwrap_err().to_string();
    assert!(
        error.contains("x of [2, 8] does not fit a weight of [3, 9]"),
        "{error}"
    );
    let error = linear(&x, &tensor(3, 8, 1, DType::BF16))
        .unwrap_err()
        .to_string();
    assert!(error.contains("x is F32, the weight BF16"), "{error}");
}
