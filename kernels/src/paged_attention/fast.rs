//! The same in vector registers: block by block of the cache, with a running maximum.
//!
//! One job has the query heads of one K/V head at up to [`QUERIES`] positions of one sequence, so
//! that a block of K and V is widened and read once for all of them. A query's scores with a block
//! are dot products over lanes; the block's values are added to what the blocks before gave, which
//! is scaled down when the maximum grows.
//!
//! Every query sees its own blocks in their order, cut where the cache's blocks are cut: its bits
//! depend on its position and the keys alone.
//!
//! Source: online softmax, arXiv:1805.02867, as FlashAttention, arXiv:2205.14135, uses it.

use std::ops::Range;

use super::{Heads, PagedAttention};
use crate::lanes::{self, LANES, Lanes, by_lane, exp, tree_sum};
use crate::stripes::Stripes;
use crate::{BLOCK_TOKENS, SequenceSpan, element::Element, team};

/// Positions of one job, at most.
const QUERIES: usize = 16;
/// Bytes that come from memory at once.
const LINE_BYTES: usize = 64;
/// Queries whose values are added up side by side.
const SIDE_BY_SIDE: usize = 4;

impl PagedAttention<'_> {
    /// Whether heads are whole vectors.
    pub(super) fn fits_lanes(&self) -> bool {
        self.heads.head_dim.is_multiple_of(LANES)
    }

    /// `q` is `[num_tokens, num_heads, head_dim]`; so is the result.
    pub(super) fn attend_in_lanes<T: Element>(&self, q: &[T], k: &[T], v: &[T]) -> Vec<T> {
        let Heads {
            kv_heads,
            group,
            head_dim,
        } = self.heads;
        let mut out = vec![T::zero(); q.len()];
        let stripes = Stripes::new(&mut out, kv_heads * group * head_dim);
        let chunks = self.chunks();
        team::run(chunks.len() * kv_heads, |job| {
            let (span, positions) = chunks[job / kv_heads].clone();
            lanes::run(Chunk {
                op: self,
                span,
                positions,
                kv_head: job % kv_heads,
                tensors: (q, k, v),
                out: &stripes,
            });
        });
        out
    }

    /// Positions of a sequence that are computed together, the longest contexts first, so that no
    /// thread is left with one at the end.
    fn chunks(&self) -> Vec<(&SequenceSpan, Range<usize>)> {
        let mut chunks = Vec::new();
        for span in self.batch.spans() {
            let starts = (span.first_position()..span.context_len).step_by(QUERIES);
            chunks.extend(starts.map(|start| (span, start..span.context_len.min(start + QUERIES))));
        }
        chunks.sort_by_key(|(_, positions)| std::cmp::Reverse(positions.end));
        chunks
    }
}

/// One job.
struct Chunk<'a, T> {
    op: &'a PagedAttention<'a>,
    span: &'a SequenceSpan,
    positions: Range<usize>,
    kv_head: usize,
    tensors: (&'a [T], &'a [T], &'a [T]),
    out: &'a Stripes<'a, T>,
}

impl<T: Element> lanes::Job for Chunk<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let head_dim = self.op.heads.head_dim;
        let mut queries = self.queries();
        let mut keys = vec![0f32; BLOCK_TOKENS * head_dim];
        let mut values = keys.clone();
        let first = queries.first().map_or(0, |query| query.keys.start);
        for block in first / BLOCK_TOKENS..self.positions.end.div_ceil(BLOCK_TOKENS) {
            self.widen(self.tensors.1, block, first, &mut keys);
            self.widen(self.tensors.2, block, first, &mut values);
            self.prefetch(block + 1);
            for query in &mut queries {
                query.weigh::<L>(block, &keys);
            }
            for side_by_side in queries.chunks_mut(SIDE_BY_SIDE) {
                mix::<L>(side_by_side, &values);
            }
        }
        self.write(&queries);
    }
}

impl<T: Element> Chunk<'_, T> {
    /// By position, then by head.
    #[inline(always)]
    fn queries(&self) -> Vec<Query> {
        let Heads {
            group, head_dim, ..
        } = self.op.heads;
        let mut queries = Vec::with_capacity(self.positions.len() * group);
        for position in self.positions.clone() {
            let columns = self.columns();
            let row = self.row(position) * self.op.heads.kv_heads * group * head_dim;
            let heads = &self.tensors.0[row + columns.start..row + columns.end];
            let keys = super::cpu::visible(position, self.op.params);
            let query = |head: &[T]| Query::new(head, self.op.params.scale, keys.clone());
            queries.extend(heads.chunks_exact(head_dim).map(query));
        }
        queries
    }

    /// The row of the batch that has a position.
    #[inline(always)]
    fn row(&self, position: usize) -> usize {
        self.span.query_start + position - self.span.first_position()
    }

    /// Where in a row the query heads stand.
    #[inline(always)]
    fn columns(&self) -> Range<usize> {
        let width = self.op.heads.group * self.op.heads.head_dim;
        self.kv_head * width..(self.kv_head + 1) * width
    }

    /// K or V of a block of the context, `[BLOCK_TOKENS, head_dim]`: zeros where no query looks.
    #[inline(always)]
    fn widen(&self, cache: &[T], block: usize, first_key: usize, out: &mut [f32]) {
        let Heads {
            kv_heads, head_dim, ..
        } = self.op.heads;
        let start = block * BLOCK_TOKENS;
        let seen = first_key.saturating_sub(start) * head_dim
            ..(self.positions.end - start).min(BLOCK_TOKENS) * head_dim;
        let in_cache = self.span.block_table[block] as usize * kv_heads + self.kv_head;
        let rows = &cache[in_cache * BLOCK_TOKENS * head_dim..][..BLOCK_TOKENS * head_dim];
        out[..seen.start].fill(0.0);
        out[seen.end..].fill(0.0);
        for (out, value) in out[seen.clone()].iter_mut().zip(&rows[seen]) {
            *out = value.widen();
        }
    }

    /// Asks for K and V of a block before it is its turn.
    #[inline(always)]
    fn prefetch(&self, block: usize) {
        if block * BLOCK_TOKENS >= self.positions.end {
            return;
        }
        let Heads {
            kv_heads, head_dim, ..
        } = self.op.heads;
        let in_cache = self.span.block_table[block] as usize * kv_heads + self.kv_head;
        let len = BLOCK_TOKENS * head_dim;
        for cache in [self.tensors.1, self.tensors.2] {
            let rows = &cache[in_cache * len..][..len];
            let lines = rows.iter().step_by(LINE_BYTES / size_of::<T>());
            lines.for_each(|element| lanes::prefetch(element, 0));
        }
    }

    #[inline(always)]
    fn write(&self, queries: &[Query]) {
        let Heads {
            group, head_dim, ..
        } = self.op.heads;
        for (position, queries) in self.positions.clone().zip(queries.chunks_exact(group)) {
            // SAFETY: these rows and this K/V head are this job's alone.
            #[expect(unsafe_code, reason = "columns of one matrix on several threads")]
            let out = unsafe { self.out.part(self.row(position), self.columns()) };
            for (out, query) in out.chunks_exact_mut(head_dim).zip(queries) {
                query.write(out);
            }
        }
    }
}

/// One query head at one position, and what the blocks so far have given.
struct Query {
    /// `[head_dim]`, scaled.
    q: Vec<f32>,
    /// The positions that it sees.
    keys: Range<usize>,
    max: f32,
    /// Of the weights, relative to the maximum, by lanes.
    sum: [f32; LANES],
    /// The weights of the block at hand: 0 where nothing is seen.
    weights: [f32; BLOCK_TOKENS],
    /// By how much what was before shrinks.
    shrink: f32,
    /// `[head_dim]`
    mixed: Vec<f32>,
}

impl Query {
    #[inline(always)]
    fn new<T: Element>(head: &[T], scale: f32, keys: Range<usize>) -> Self {
        Self {
            q: head.iter().map(|value| value.widen() * scale).collect(),
            keys,
            max: f32::NEG_INFINITY,
            sum: [0.0; LANES],
            weights: [0.0; BLOCK_TOKENS],
            shrink: 1.0,
            mixed: vec![0.0; head.len()],
        }
    }

    /// Scores a block's keys, and makes weights of the scores.
    #[inline(always)]
    fn weigh<L: Lanes>(&mut self, block: usize, keys: &[f32]) {
        self.weights = [0.0; BLOCK_TOKENS];
        self.shrink = 1.0;
        let first = block * BLOCK_TOKENS;
        let seen = self.keys.start.max(first)..self.keys.end.min(first + BLOCK_TOKENS);
        if seen.is_empty() {
            return;
        }
        let mut scores = [f32::NEG_INFINITY; BLOCK_TOKENS];
        let (keys, _) = keys.as_chunks::<LANES>();
        let vectors = self.q.len() / LANES;
        let (sixteens, _) = scores.as_chunks_mut::<LANES>();
        for (scores, keys) in sixteens.iter_mut().zip(keys.chunks_exact(LANES * vectors)) {
            *scores = self.scores::<L>(keys);
        }
        for (position, score) in (first..).zip(&mut scores) {
            *score = if seen.contains(&position) {
                *score
            } else {
                f32::NEG_INFINITY
            };
        }
        self.rescale(&scores);
    }

    /// The dot products with sixteen keys, `[LANES, vectors]`.
    #[inline(always)]
    fn scores<L: Lanes>(&self, keys: &[[f32; LANES]]) -> [f32; LANES] {
        let (q, _) = self.q.as_chunks::<LANES>();
        let keys: [&[[f32; LANES]]; LANES] =
            by_lane(&[][..], |key| &keys[key * q.len()..][..q.len()]);
        let mut sums = [L::zero(); LANES];
        for (at, q) in q.iter().enumerate() {
            let q = L::load(q);
            for (sum, key) in sums.iter_mut().zip(keys) {
                *sum = sum.add_product(q, L::load(&key[at]));
            }
        }
        L::sums(sums)
    }

    #[inline(always)]
    fn rescale(&mut self, scores: &[f32; BLOCK_TOKENS]) {
        let max = largest(scores).max(self.max);
        let [shrink, ..] = exp([self.max - max; LANES]);
        self.shrink = shrink;
        self.max = max;
        let (scores, _) = scores.as_chunks::<LANES>();
        let (weights, _) = self.weights.as_chunks_mut::<LANES>();
        self.sum = by_lane(0.0, |lane| self.sum[lane] * shrink);
        for (weights, scores) in weights.iter_mut().zip(scores) {
            *weights = exp(by_lane(0.0, |lane| scores[lane] - max));
            for (sum, weight) in self.sum.iter_mut().zip(weights) {
                *sum += *weight;
            }
        }
    }

    #[inline(always)]
    fn write<T: Element>(&self, out: &mut [T]) {
        let scale = 1.0 / tree_sum(self.sum);
        for (out, mixed) in out.iter_mut().zip(&self.mixed) {
            *out = T::narrow(mixed * scale);
        }
    }
}

#[inline(always)]
fn largest(scores: &[f32; BLOCK_TOKENS]) -> f32 {
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let (sixteens, _) = scores.as_chunks::<LANES>();
    let mut max = sixteens[0];
    for scores in &sixteens[1..] {
        max = by_lane(0.0, |lane| larger(max[lane], scores[lane]));
    }
    max.into_iter().fold(f32::NEG_INFINITY, larger)
}

/// Adds a block's values, `[BLOCK_TOKENS, head_dim]`, weighted, to what each query has.
#[inline(always)]
fn mix<L: Lanes>(queries: &mut [Query], values: &[f32]) {
    match queries {
        [a, b, c, d] => mix_some::<L, 4>([a, b, c, d], values),
        [a, b, c] => mix_some::<L, 3>([a, b, c], values),
        [a, b] => mix_some::<L, 2>([a, b], values),
        [a] => mix_some::<L, 1>([a], values),
        _ => {}
    }
}

#[inline(always)]
fn mix_some<L: Lanes, const N: usize>(mut queries: [&mut Query; N], values: &[f32]) {
    let (values, _) = values.as_chunks::<LANES>();
    let vectors = values.len() / BLOCK_TOKENS;
    let mut weights = [[0.0; N]; BLOCK_TOKENS];
    for (at, query) in queries.iter().enumerate() {
        for (weights, weight) in weights.iter_mut().zip(query.weights) {
            weights[at] = weight;
        }
    }
    for at in 0..vectors {
        let mut sums = [L::zero(); N];
        for (sum, query) in sums.iter_mut().zip(&queries) {
            let (mixed, _) = query.mixed.as_chunks::<LANES>();
            *sum = sum.add_product(L::load(&mixed[at]), L::splat(query.shrink));
        }
        for (values, weights) in values.chunks_exact(vectors).zip(&weights) {
            let value = L::load(&values[at]);
            for (sum, &weight) in sums.iter_mut().zip(weights) {
                *sum = sum.add_product(value, L::splat(weight));
            }
        }
        for (sum, query) in sums.iter().zip(&mut queries) {
            let (mixed, _) = query.mixed.as_chunks_mut::<LANES>();
            mixed[at] = sum.to_array();
        }
    }
}
