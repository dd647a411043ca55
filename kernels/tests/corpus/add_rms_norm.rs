//! The norm, with and without the addition, at sizes around a block's share.

use candle_core::DType;
use portcullis_kernels::{add_rms_norm, rms_norm};

use crate::check::{Tolerance, check, random};

const ROWS: [usize; 3] = [0, 1, 5];
/// One load, less and more than a block's pass, the 8B model's.
const SIZES: [usize; 5] = [8, 64, 1000, 2048, 4096];

fn each_case(run: impl Fn(&str, usize, usize, DType)) {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        for rows in ROWS {
            for size in SIZES {
                run(
                    &format!("{rows} rows of {size} in {dtype:?}"),
                    rows,
                    size,
                    dtype,
                );
            }
        }
    }
}

#[test]
fn norm_of_a_sum() {
    each_case(|case, rows, size, dtype| {
        let inputs = [
            random(1, &[rows, size], dtype),
            random(2, &[rows, size], dtype),
            random(3, &[size], dtype),
        ];
        check(case, &inputs, Tolerance::of(dtype), |inputs| {
            let (sum, normed) = add_rms_norm(&inputs[0], &inputs[1], &inputs[2], 1e-5)?;
            Ok(vec![sum, normed])
        });
    });
}

#[test]
fn norm_alone() {
    each_case(|case, rows, size, dtype| {
        let inputs = [random(1, &[rows, size], dtype), random(3, &[size], dtype)];
        check(case, &inputs, Tolerance::of(dtype), |inputs| {
            Ok(vec![rms_norm(&inputs[0], &inputs[1], 1e-5)?])
        });
    });
}
