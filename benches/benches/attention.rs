//! Attention over the paged cache on the CPU: decodes, and chunks of prompts.
//!
//! `cargo bench -p portcullis-benches --bench attention`

use candle_core::{DType, Device, Result, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis_kernels::{
    AttentionParams, BLOCK_TOKENS, PagedBatch, SequenceSpan, paged_attention,
};

const HEADS: usize = 12;
const KV_HEADS: usize = 4;
const HEAD_DIM: usize = 64;
const CONTEXT: usize = 1024;

criterion_main!(benches);
criterion_group!(benches, attention);

fn attention(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    for (name, sequences, new_tokens) in [
        ("decode, 1 of 1024", 1, 1),
        ("decode, 16 of 1024", 16, 1),
        ("prompt, 256 to 1024", 1, 256),
    ] {
        for dtype in [DType::F32, DType::BF16] {
            let case = Case::new(sequences, new_tokens, dtype).expect("the shapes fit together");
            group.throughput(Throughput::Elements((sequences * new_tokens) as u64));
            group.bench_function(format!("{name}, {dtype:?}"), |bencher| {
                bencher.iter(|| case.run());
            });
        }
    }
}

struct Case {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    batch: PagedBatch,
}

impl Case {
    /// Sequences of [`CONTEXT`] tokens, the last `new_tokens` of which are asked for.
    fn new(sequences: usize, new_tokens: usize, dtype: DType) -> Result<Self> {
        let blocks = CONTEXT / BLOCK_TOKENS;
        let span = |number: usize| SequenceSpan {
            query_start: number * new_tokens,
            query_len: new_tokens,
            context_len: CONTEXT,
            block_table: (0..blocks)
                .map(|at| (number * blocks + at) as u32)
                .collect(),
        };
        let num_blocks = sequences * blocks;
        let random =
            |shape: &[usize]| Tensor::randn(0f32, 1.0, shape, &Device::Cpu)?.to_dtype(dtype);
        let cache = [num_blocks, KV_HEADS, BLOCK_TOKENS, HEAD_DIM];
        Ok(Self {
            q: random(&[sequences * new_tokens, HEADS, HEAD_DIM])?,
            k: random(&cache)?,
            v: random(&cache)?,
            batch: PagedBatch::new((0..sequences).map(span).collect(), num_blocks, &Device::Cpu)?,
        })
    }

    fn run(&self) -> Result<Tensor> {
        let params = AttentionParams {
            scale: 1.0 / (HEAD_DIM as f32).sqrt(),
            window: None,
        };
        paged_attention(&self.q, &self.k, &self.v, &self.batch, params)
    }
}
