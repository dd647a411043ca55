//! The corpus that every version of the paged ops runs on, and the naive attention it is held to.

mod uniform;

use candle_core::{DType, Device, Result, Tensor};
use portcullis_kernels::{
    AttentionParams, BLOCK_TOKENS, PagedBatch, SequenceSpan, paged_attention, rope_kv_write,
};
use uniform::uniform;

/// Around the block size, and several blocks.
pub(crate) const LENGTHS: [usize; 5] = [1, 31, 32, 33, 100];
pub(crate) const HEAD_DIMS: [usize; 3] = [32, 64, 128];
/// Query heads that share a K/V head.
pub(crate) const GROUPS: [usize; 4] = [1, 4, 7, 8];
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const NUM_BLOCKS: usize = 16;

/// One shape of heads and cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) head_dim: usize,
    pub(crate) group: usize,
    pub(crate) dtype: DType,
    pub(crate) window: Option<usize>,
}

/// Every combination of shapes.
pub(crate) fn corpus() -> Vec<Case> {
    let mut cases = Vec::new();
    for head_dim in HEAD_DIMS {
        for group in GROUPS {
            for dtype in [DType::F32, DType::BF16, DType::F16] {
                for window in [None, Some(1), Some(20), Some(40)] {
                    cases.push(Case {
                        head_dim,
                        group,
                        dtype,
                        window,
                    });
                }
            }
        }
    }
    cases
}

/// A sequence with its q, k and v at every position, rounded to the case's dtype.
pub(crate) struct Sequence {
    pub(crate) len: usize,
    /// Tokens that this step computes, at the end.
    pub(crate) query_len: usize,
    pub(crate) block_table: Vec<u32>,
    /// `[len, num_heads, head_dim]`
    pub(crate) q: Tensor,
    /// `[len, KV_HEADS, head_dim]`
    pub(crate) k: Tensor,
    pub(crate) v: Tensor,
}

impl Case {
    pub(crate) fn num_heads(&self) -> usize {
        self.group * KV_HEADS
    }

    pub(crate) fn params(&self) -> AttentionParams {
        AttentionParams {
            scale: 1.0 / (self.head_dim as f32).sqrt(),
            window: self.window,
        }
    }

    /// One sequence a length: whole prefills, chunks and decodes mixed, blocks out of order.
    pub(crate) fn sequences(&self) -> Result<Vec<Sequence>> {
        let mut free: Vec<u32> = (0..NUM_BLOCKS as u32)
            .map(|b| (b * 7 + 3) % NUM_BLOCKS as u32)
            .collect();
        let query_lens = [1, 31, 1, 33, 60];
        let sequence = |(index, (&len, query_len)): (usize, (&usize, usize))| {
            let seed = (index * 1000 + self.head_dim + self.group) as u64;
            Ok(Sequence {
                len,
                query_len,
                block_table: free.drain(..len.div_ceil(BLOCK_TOKENS)).collect(),
                q: self.random(seed, len, self.num_heads())?,
                k: self.random(seed + 1, len, KV_HEADS)?,
                v: self.random(seed + 2, len, KV_HEADS)?,
            })
        };
        let lengths = LENGTHS.iter().zip(query_lens).enumerate();
        lengths.map(sequence).collect()
    }

    fn random(&self, seed: u64, len: usize, heads: usize) -> Result<Tensor> {
        let count = len * heads * self.head_dim;
        let values: Vec<f32> = uniform(seed).take(count).collect();
        Tensor::from_vec(values, (len, heads, self.head_dim), &Device::Cpu)?.to_dtype(self.dtype)
    }

    /// Empty K and V caches.
    pub(crate) fn caches(&self) -> Result<(Tensor, Tensor)> {
        let shape = (NUM_BLOCKS, KV_HEADS, BLOCK_TOKENS, self.head_dim);
        // What is not written must not be read: garbage that would show.
        let garbage = || Tensor::full(1e4f32, shape, &Device::Cpu)?.to_dtype(self.dtype);
        Ok((garbage()?, garbage()?))
    }

    /// Computes the given steps one after the other, each a batch of `(sequence, positions)`; the
    /// rows of the last step come back.
    pub(crate) fn run(&self, steps: &[Vec<(&Sequence, std::ops::Range<usize>)>]) -> Result<Tensor> {
        let (k_cache, v_cache) = self.caches()?;
        let mut out = None;
        for step in steps.iter().filter(|step| !step.is_empty()) {
            let batch = batch(step)?;
            let rows = |pick: fn(&Sequence) -> &Tensor| -> Result<Tensor> {
                let parts = step
                    .iter()
                    .map(|(s, range)| pick(s).narrow(0, range.start, range.len()))
                    .collect::<Result<Vec<_>>>()?;
                Tensor::cat(&parts, 0)?.contiguous()
            };
            let kv = (rows(|s| &s.k)?, rows(|s| &s.v)?);
            let q = write(&rows(|s| &s.q)?, &kv, (&k_cache, &v_cache), &batch)?;
            out = Some(paged_attention(
                &q,
                &k_cache,
                &v_cache,
                &batch,
                self.params(),
            )?);
        }
        Ok(out.expect("a run has at least one step"))
    }
}

/// Writes k and v as they are, all angles being 0; q comes back.
pub(crate) fn write(
    q: &Tensor,
    (k, v): &(Tensor, Tensor),
    (k_cache, v_cache): (&Tensor, &Tensor),
    batch: &PagedBatch,
) -> Result<Tensor> {
    let angles = (NUM_BLOCKS * BLOCK_TOKENS, q.dim(2)? / 2);
    let cos = Tensor::ones(angles, DType::F32, &Device::Cpu)?;
    rope_kv_write(q, k, v, &cos, &cos.zeros_like()?, k_cache, v_cache, batch)
}

/// The description of one step.
pub(crate) fn batch(step: &[(&Sequence, std::ops::Range<usize>)]) -> Result<PagedBatch> {
    let mut query_start = 0;
    let spans = step.iter().map(|(sequence, range)| {
        let span = SequenceSpan {
            query_start,
            query_len: range.len(),
            context_len: range.end,
            block_table: sequence.block_table.clone(),
        };
        query_start += range.len();
        span
    });
    PagedBatch::new(spans.collect(), NUM_BLOCKS, &Device::Cpu)
}

/// Full attention of one sequence in f64 without pages, `[len, num_heads, head_dim]` flattened.
pub(crate) fn naive(case: &Case, sequence: &Sequence) -> Result<Vec<f64>> {
    let (q, k, v) = (
        rows_f64(&sequence.q)?,
        rows_f64(&sequence.k)?,
        rows_f64(&sequence.v)?,
    );
    let scale = f64::from(case.params().scale);
    let mut out = Vec::new();
    for (position, heads) in q.iter().enumerate() {
        for (head, q) in heads.iter().enumerate() {
            let kv_head = head / case.group;
            let first = (position + 1).saturating_sub(case.window.unwrap_or(usize::MAX));
            let seen = first..position + 1;
            let weights: Vec<f64> = seen
                .clone()
                .map(|j| (dot(q, &k[j][kv_head]) * scale).exp())
                .collect();
            let sum: f64 = weights.iter().sum();
            out.extend((0..case.head_dim).map(|d| {
                let mixed = seen
                    .clone()
                    .zip(&weights)
                    .map(|(j, w)| w * v[j][kv_head][d]);
                mixed.sum::<f64>() / sum
            }));
        }
    }
    Ok(out)
}

fn rows_f64(x: &Tensor) -> Result<Vec<Vec<Vec<f64>>>> {
    x.to_dtype(DType::F64)?.to_vec3()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
