//! Copies of blocks, apart from each other and in chains.

use candle_core::DType;
use portcullis_kernels::{BLOCK_TOKENS, block_copy};

use crate::check::{Tolerance, check, random};

const NUM_BLOCKS: usize = 12;
/// One load a block in f32, an odd share of a launch's threads, and the 8B model's.
const SHAPES: [(usize, usize); 4] = [(1, 8), (2, 80), (3, 64), (8, 128)];

fn check_pairs(case: &str, pairs: &[(u32, u32)]) {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        for (kv_heads, head_dim) in SHAPES {
            let cache = random(1, &[NUM_BLOCKS, kv_heads, BLOCK_TOKENS, head_dim], dtype);
            let case = format!("{case}, {kv_heads} heads of {head_dim} in {dtype:?}");
            check(&case, &[cache], Tolerance::EXACT, |inputs| {
                block_copy(&inputs[0], pairs)?;
                Ok(inputs.to_vec())
            });
        }
    }
}

#[test]
fn no_pair() {
    check_pairs("nothing", &[]);
}

#[test]
fn pairs_apart() {
    check_pairs("the first and the last block", &[(0, 11), (10, 1)]);
    check_pairs("one block to many", &[(4, 5), (4, 6), (4, 7), (9, 9)]);
}

#[test]
fn one_after_the_other() {
    check_pairs("a block copied on", &[(3, 5), (5, 0)]);
    check_pairs("a block read, then written", &[(3, 5), (1, 3)]);
    check_pairs("a block written twice", &[(1, 2), (3, 2)]);
    check_pairs(
        "all of it",
        &[(3, 5), (5, 0), (1, 3), (9, 9), (2, 9), (9, 2)],
    );
}
