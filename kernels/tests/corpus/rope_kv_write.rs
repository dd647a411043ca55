//! Rotation and cache write: decodes, whole prefills and chunks, blocks out of order.

use candle_core::{DType, Device, Result, Tensor};
use portcullis_kernels::{BLOCK_TOKENS, PagedBatch, SequenceSpan, rope_kv_write};

use crate::check::{DTYPES, Tolerance, check, random};

const NUM_BLOCKS: usize = 6;
const MAX_POSITION: usize = 70;

/// `(query_len, context_len, block table)` of each sequence.
type Spans = &'static [(usize, usize, &'static [u32])];

const BATCHES: [Spans; 4] = [
    &[],
    &[(1, 1, &[5])],
    // The end of a block, the first of the next, and the last position that has an angle.
    &[(1, 32, &[3]), (1, 33, &[0, 4]), (1, 70, &[1, 5, 2])],
    &[(33, 33, &[4, 1]), (1, 7, &[0]), (30, 61, &[5, 2])],
];

/// `(heads, kv_heads, head_dim)`: less and more than a block of threads, odd groups.
const HEADS: [(usize, usize, usize); 5] =
    [(1, 1, 16), (4, 4, 32), (7, 1, 64), (8, 2, 64), (8, 1, 128)];

fn batch(spans: Spans, device: &Device) -> Result<PagedBatch> {
    let mut query_start = 0;
    let spans = spans.iter().map(|&(query_len, context_len, blocks)| {
        query_start += query_len;
        SequenceSpan {
            query_start: query_start - query_len,
            query_len,
            context_len,
            block_table: blocks.to_vec(),
        }
    });
    PagedBatch::new(spans.collect(), NUM_BLOCKS, device)
}

#[test]
fn rotates_and_writes() {
    for dtype in DTYPES {
        for spans in BATCHES {
            for (heads, kv_heads, head_dim) in HEADS {
                let case = format!("{spans:?}, {heads} heads, {kv_heads} of {head_dim}, {dtype:?}");
                let num_tokens = spans.iter().map(|(query_len, ..)| query_len).sum();
                let cache = [NUM_BLOCKS, kv_heads, BLOCK_TOKENS, head_dim];
                let angles = [MAX_POSITION, head_dim / 2];
                let inputs = [
                    random(1, &[num_tokens, heads, head_dim], dtype),
                    random(2, &[num_tokens, kv_heads, head_dim], dtype),
                    random(3, &[num_tokens, kv_heads, head_dim], dtype),
                    random(4, &angles, DType::F32),
                    random(5, &angles, DType::F32),
                    random(6, &cache, dtype),
                    random(7, &cache, dtype),
                ];
                check(&case, &inputs, Tolerance::of(dtype), |inputs| {
                    let [q, k, v, cos, sin, k_cache, v_cache] = inputs else {
                        unreachable!("seven inputs")
                    };
                    let batch = batch(spans, q.device())?;
                    let q = rope_kv_write(q, k, v, cos, sin, k_cache, v_cache, &batch)?;
                    Ok(vec![q, k_cache.clone(), v_cache.clone()])
                });
            }
        }
    }
}

/// The plain loops themselves, against the rotation as its definition has it.
#[test]
fn a_pair_is_turned_by_its_angle() -> Result<()> {
    let (device, head_dim) = (Device::Cpu, 4);
    let batch = batch(&[(1, 2, &[1])], &device)?;
    let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &device);
    // Position 1 turns the first pair by a right angle, the second by none.
    let cos = tensor(&[9.0, 9.0, 0.0, 1.0], &[2, 2])?;
    let sin = tensor(&[9.0, 9.0, 1.0, 0.0], &[2, 2])?;
    let q = tensor(&[1.0, 2.0, 3.0, 4.0], &[1, 1, 4])?;
    let (k, v) = ((&q * 10.0)?, (&q * 100.0)?);
    let cache = || Tensor::zeros((NUM_BLOCKS, 1, BLOCK_TOKENS, head_dim), DType::F32, &device);
    let (k_cache, v_cache) = (cache()?, cache()?);
    let q = rope_kv_write(&q, &k, &v, &cos, &sin, &k_cache, &v_cache, &batch)?;
    let row = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
    let written = |x: &Tensor| row(&x.get(1)?.get(0)?.get(1)?);
    assert_eq!(row(&q)?, [-3.0, 2.0, 1.0, 4.0]);
    assert_eq!(written(&k_cache)?, [-30.0, 20.0, 10.0, 40.0]);
    assert_eq!(written(&v_cache)?, [100.0, 200.0, 300.0, 400.0]);
    Ok(())
}

#[test]
fn a_position_without_an_angle() -> Result<()> {
    let device = Device::Cpu;
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &device);
    let (row, cache) = (
        zeros(&[1, 1, 8])?,
        zeros(&[NUM_BLOCKS, 1, BLOCK_TOKENS, 8])?,
    );
    let (batch, angles) = (batch(&[(1, 34, &[0, 1])], &device)?, zeros(&[33, 4])?);
    let refused = rope_kv_write(&row, &row, &row, &angles, &angles, &cache, &cache, &batch);
    let refused = refused.expect_err("there are 33").to_string();
    assert!(
        refused.contains("position 33 of 33 that have angles"),
        "{refused}"
    );
    Ok(())
}
