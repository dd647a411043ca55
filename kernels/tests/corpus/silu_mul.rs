//! The gate at counts around a load and a block's share.

use portcullis_kernels::silu_mul;

use crate::check::{DTYPES, Tolerance, check, random};

/// Nothing, part of a load, whole loads, around a block of any dtype, and several blocks.
const SHAPES: [&[usize]; 9] = [
    &[0],
    &[1],
    &[7],
    &[4, 8],
    &[1023],
    &[2048],
    &[2049],
    &[3, 5, 7],
    &[7, 1000],
];

#[test]
fn gates() {
    for dtype in DTYPES {
        for shape in SHAPES {
            let inputs = [random(1, shape, dtype), random(2, shape, dtype)];
            let case = format!("{shape:?} in {dtype:?}");
            check(&case, &inputs, Tolerance::of(dtype), |inputs| {
                Ok(vec![silu_mul(&inputs[0], &inputs[1])?])
            });
        }
    }
}
