//! Plain loops: for each row and head two passes over the context, scores first, then values.
//!
//! The order of every sum is fixed by the position alone. Dot products have eight partial sums in
//! f32, weights are summed in f64, values in f32 within a block and in f64 across blocks.

use rayon::prelude::*;

use super::{AttentionParams, Heads, PagedAttention};
use crate::{BLOCK_TOKENS, SequenceSpan, element::Element};

impl PagedAttention<'_> {
    /// `q` is `[num_tokens, num_heads, head_dim]`; so is the result.
    pub(super) fn attend<T: Element>(&self, q: &[f32], k: &[T], v: &[T]) -> Vec<f32> {
        let Heads {
            kv_heads,
            group,
            head_dim,
        } = self.heads;
        let rows = self.rows();
        let mut out = vec![0f32; q.len()];
        // One job a row and K/V head: the query heads of a group are neighbours.
        let jobs = out
            .par_chunks_mut(group * head_dim)
            .zip(q.par_chunks(group * head_dim));
        jobs.enumerate().for_each(|(job, (out, q))| {
            let (span, position) = rows[job / kv_heads];
            let context = Context {
                span,
                keys: visible(position, self.params),
                kv_head: job % kv_heads,
                heads: self.heads,
            };
            let mut scores = vec![0f32; context.keys.len()];
            for (out, q) in out.chunks_exact_mut(head_dim).zip(q.chunks_exact(head_dim)) {
                context.score(q, k, self.params.scale, &mut scores);
                let sum = exponentiate(&mut scores);
                context.mix(&scores, sum, v, out);
            }
        });
        out
    }

    /// Sequence and position of each row.
    fn rows(&self) -> Vec<(&SequenceSpan, usize)> {
        let spans = self.batch.spans().iter();
        spans
            .flat_map(|span| (span.first_position()..span.context_len).map(move |p| (span, p)))
            .collect()
    }
}

pub(super) fn visible(position: usize, params: AttentionParams) -> std::ops::Range<usize> {
    let window = params.window.unwrap_or(usize::MAX);
    (position + 1).saturating_sub(window)..position + 1
}

/// What one row sees through one K/V head.
struct Context<'a> {
    span: &'a SequenceSpan,
    keys: std::ops::Range<usize>,
    kv_head: usize,
    heads: Heads,
}

impl Context<'_> {
    fn score<T: Element>(&self, q: &[f32], k: &[T], scale: f32, scores: &mut [f32]) {
        for (score, position) in scores.iter_mut().zip(self.keys.clone()) {
            *score = dot(q, self.row(k, position)) * scale;
        }
    }

    /// `out = Σ weight · v / sum`.
    fn mix<T: Element>(&self, weights: &[f32], sum: f64, v: &[T], out: &mut [f32]) {
        let mut total = vec![0f64; out.len()];
        let mut start = self.keys.start;
        while start < self.keys.end {
            // Blocks end where the cache's blocks end, so that a window cuts only the first.
            let end = (start / BLOCK_TOKENS * BLOCK_TOKENS + BLOCK_TOKENS).min(self.keys.end);
            out.fill(0.0);
            for position in start..end {
                let weight = weights[position - self.keys.start];
                for (sum, &value) in out.iter_mut().zip(self.row(v, position)) {
                    *sum += weight * value.widen();
                }
            }
            for (total, &part) in total.iter_mut().zip(out.iter()) {
                *total += f64::from(part);
            }
            start = end;
        }
        for (out, total) in out.iter_mut().zip(total) {
            *out = (total / sum) as f32;
        }
    }

    /// K or V of one position.
    fn row<'c, T>(&self, cache: &'c [T], position: usize) -> &'c [T] {
        let Heads {
            kv_heads, head_dim, ..
        } = self.heads;
        let block = self.span.block_table[position / BLOCK_TOKENS] as usize;
        let row = (block * kv_heads + self.kv_head) * BLOCK_TOKENS + position % BLOCK_TOKENS;
        &cache[row * head_dim..(row + 1) * head_dim]
    }
}

/// Scores become `exp(score - max)`; returns their sum.
fn exponentiate(scores: &mut [f32]) -> f64 {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0f64;
    for score in scores {
        *score = (*score - max).exp();
        sum += f64::from(*score);
    }
    sum
}

fn dot<T: Element>(q: &[f32], k: &[T]) -> f32 {
    const LANES: usize = 8;
    let mut lanes = [0f32; LANES];
    let (q_chunks, k_chunks) = (q.chunks_exact(LANES), k.chunks_exact(LANES));
    let rest = q_chunks.remainder().iter().zip(k_chunks.remainder());
    let tail: f32 = rest.map(|(&q, &k)| q * k.widen()).sum();
    for (q, k) in q_chunks.zip(k_chunks) {
        for lane in 0..LANES {
            lanes[lane] += q[lane] * k[lane].widen();
        }
    }
    lanes.iter().sum::<f32>() + tail
}
