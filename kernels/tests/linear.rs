//! The product against a plain one in f64, over odd shapes; and the same bits in any batch.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

use candle_core::{DType, Device, Tensor};
use portcullis_kernels::{LinearWeight, Order, emulate, linear, linears};

/// Relative to the length of the sums: a few units in the last place of each term.
const TOLERANCE_F32: f64 = 1e-6;
/// bf16 keeps 8 bits of the result.
const TOLERANCE_BF16: f64 = 1.0 / 128.0;
/// f16 keeps 11.
const TOLERANCE_F16: f64 = 1.0 / 1024.0;

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

/// The product with a packed weight.
fn packed(x: &Tensor, w: &Tensor) -> Tensor {
    let [y] = linears(x, [&LinearWeight::new(w).unwrap()]).unwrap();
    y
}

fn check(m: usize, n: usize, k: usize, dtype: DType, tolerance: f64) {
    let (x, w) = (tensor(m, k, 1, dtype), tensor(n, k, 2, dtype));
    let emulated = emulate(Order::Mixed, || linear(&x, &w).unwrap());
    for found in [linear(&x, &w).unwrap(), packed(&x, &w), emulated] {
        check_product(&x, &w, &found, tolerance);
    }
}

fn check_product(x: &Tensor, w: &Tensor, found: &Tensor, tolerance: f64) {
    let (dtype, (m, k), n) = (x.dtype(), x.dims2().unwrap(), w.dim(0).unwrap());
    assert_eq!((found.dims(), found.dtype()), (&[m, n][..], dtype));
    for (x, found) in rows(x).iter().zip(&rows(found)) {
        for (w, &found) in rows(w).iter().zip(found) {
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
    for m in [1, 2, 3, 4, 5, 8, 15, 16, 33, 48] {
        for n in [1, 3, 4, 15, 16, 17, 40] {
            for k in [1, 8, 15, 16, 17, 31, 32, 33, 64, 100] {
                check(m, n, k, DType::F32, TOLERANCE_F32);
                check(m, n, k, DType::BF16, TOLERANCE_BF16);
                check(m, n, k, DType::F16, TOLERANCE_F16);
            }
        }
    }
}

/// Several segments of a sum, and several blocks of panels.
#[test]
fn long_rows_and_many_panels() {
    check(2, 33, 700, DType::F32, TOLERANCE_F32);
    check(17, 33, 2_100, DType::BF16, TOLERANCE_BF16);
    check(3, 700, 600, DType::F32, TOLERANCE_F32);
    check(3, 700, 1_100, DType::BF16, TOLERANCE_BF16);
}

#[test]
fn a_row_has_the_same_bits_in_any_batch() {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        same_bits_in_any_batch(dtype, |x, w| linear(x, w).unwrap());
        same_bits_in_any_batch(dtype, packed);
    }
}

fn same_bits_in_any_batch(dtype: DType, product: impl Fn(&Tensor, &Tensor) -> Tensor) {
    let (x, w) = (tensor(37, 100, 3, dtype), tensor(41, 100, 4, dtype));
    let together = rows(&product(&x, &w));
    for start in 0..37 {
        for len in [1, 2, 4, 7, 16, 20]
            .into_iter()
            .filter(|len| start + len <= 37)
        {
            let part = x.narrow(0, start, len).unwrap().contiguous().unwrap();
            assert_eq!(rows(&product(&part, &w)), together[start..start + len]);
        }
    }
}

/// Each weight's result is what it gives by itself.
#[test]
fn several_weights_at_once() {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let x = tensor(5, 100, 5, dtype);
        let [a, b, c] = [(48, 6), (17, 7), (100, 8)].map(|(n, seed)| tensor(n, 100, seed, dtype));
        let packs = [&a, &b, &c].map(|weight| LinearWeight::new(weight).unwrap());
        let together = linears(&x, [&packs[0], &packs[1], &packs[2]]).unwrap();
        for (found, weight) in together.iter().zip([&a, &b, &c]) {
            assert_eq!(rows(found), rows(&packed(&x, weight)));
        }
    }
}

#[test]
fn no_rows_at_all() {
    let (x, w) = (tensor(0, 32, 1, DType::BF16), tensor(8, 32, 2, DType::BF16));
    assert_eq!(packed(&x, &w).dims(), [0, 8]);
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
    let packed = LinearWeight::new(&w).unwrap();
    let error = linears(&x, [&packed]).unwrap_err().to_string();
    assert!(
        error.contains("x of [2, 8] does not fit a weight of [3, 9]"),
        "{error}"
    );
    let narrow = tensor(2, 9, 1, DType::BF16);
    let error = linears(&narrow, [&packed]).unwrap_err().to_string();
    assert!(error.contains("x is BF16, a weight not"), "{error}");
    let bias = tensor(1, 3, 1, DType::BF16).flatten_all().unwrap();
    let error = LinearWeight::new(&w).unwrap().with_bias(bias).err();
    let error = error.unwrap().to_string();
    assert!(
        error.contains("a bias [3] of BF16 for a weight of 3 rows of F32"),
        "{error}"
    );
}
