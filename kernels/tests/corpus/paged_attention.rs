//! Attention at lengths around blocks and splits, with prefill chunks and decodes in one batch.
//!
//! What is not written is NaN in the cache, and so is what lies before a decode's window: it shows
//! wherever it is read.

use candle_core::{DType, Device, Result, Tensor};
use portcullis_kernels::{
    AttentionParams, BLOCK_TOKENS, Order, PagedBatch, SequenceSpan, emulate, paged_attention,
};

use crate::check::{Tolerance, check, random};
use crate::uniform::uniform;

const KV_HEADS: usize = 2;
const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];
const WINDOWS: [Option<usize>; 4] = [None, Some(1), Some(20), Some(40)];

/// One shape of heads and cache.
#[derive(Clone, Copy, Debug)]
struct Case {
    head_dim: usize,
    group: usize,
    dtype: DType,
    window: Option<usize>,
}

/// Query tokens and context of a sequence in a step.
type Step = (usize, usize);

/// Decodes around one and several blocks, then chunks that start at, before and after a block.
const DECODES: [Step; 5] = [(1, 1), (1, 31), (1, 32), (1, 33), (1, 70)];
const MIXED: [Step; 6] = [(2, 2), (1, 33), (3, 34), (1, 1), (5, 65), (2, 32)];

#[test]
fn decodes_on_tensor_cores() {
    for (head_dim, groups) in [(64, [1, 4, 7, 8]), (128, [8, 7, 4, 1])] {
        for dtype in [DType::BF16, DType::F16] {
            for (group, window) in groups.into_iter().zip(WINDOWS) {
                check_case(head_dim, group, dtype, window, &DECODES);
            }
        }
    }
}

#[test]
fn every_group_and_window_on_tensor_cores() {
    for head_dim in [64, 128] {
        for dtype in [DType::BF16, DType::F16] {
            for group in [1, 4, 7, 8] {
                for window in WINDOWS {
                    check_case(head_dim, group, dtype, window, &[(1, 45), (2, 33)]);
                }
            }
        }
    }
}

#[test]
fn every_group_and_window_without_tensor_cores() {
    for dtype in DTYPES {
        for group in [1, 4, 7, 8] {
            for window in WINDOWS {
                check_case(80, group, dtype, window, &[(1, 45), (2, 33)]);
            }
        }
    }
}

#[test]
fn chunks_and_decodes_in_one_batch() {
    for window in WINDOWS {
        check_case(64, 4, DType::BF16, window, &MIXED);
        check_case(128, 4, DType::F32, window, &MIXED);
    }
    check_case(128, 7, DType::F16, None, &MIXED);
    check_case(32, 8, DType::BF16, Some(20), &MIXED);
    check_case(32, 1, DType::F32, None, &MIXED);
    check_case(80, 7, DType::F16, None, &MIXED);
}

#[test]
fn heads_beyond_one_pack_and_odd_dimensions() {
    for (head_dim, dtype) in [(64, DType::BF16), (32, DType::F16), (64, DType::F32)] {
        for group in [16, 17] {
            check_case(head_dim, group, dtype, None, &[(1, 33), (2, 5)]);
        }
    }
    for (head_dim, dtype) in [(8, DType::F16), (24, DType::F32), (256, DType::BF16)] {
        check_case(head_dim, 3, dtype, None, &[(1, 33), (2, 5)]);
    }
}

#[test]
fn contexts_of_several_splits() {
    const LONG: [Step; 4] = [(1, 1000), (1, 33), (2, 257), (1, 256)];
    for window in [None, Some(300)] {
        check_case(128, 4, DType::BF16, window, &LONG);
        check_case(64, 8, DType::F16, window, &LONG);
        check_case(80, 7, DType::F32, window, &LONG);
    }
    check_case(64, 1, DType::BF16, Some(40), &LONG);
    check_case(64, 1, DType::BF16, Some(257), &[(1, 513), (1, 700)]);
}

#[test]
fn an_empty_batch() {
    for dtype in DTYPES {
        check_case(64, 4, dtype, None, &[]);
    }
}

#[test]
fn bits_do_not_depend_on_the_batch() -> Result<()> {
    for (head_dim, dtype) in [(64, DType::BF16), (32, DType::F16), (80, DType::F32)] {
        for window in [None, Some(40)] {
            let case = Case {
                head_dim,
                group: 7,
                dtype,
                window,
            };
            // A neighbour with more splits changes the grid of all.
            let sequences = sequences(&[(1, 300), (2, 33), (1, 64), (1, 1)]);
            let scene = Scene::new(case, &sequences);
            let forward = scene.rows_of_each(&[0, 1, 2, 3])?;
            for order in [vec![3, 1, 0, 2], vec![2], vec![1, 3], vec![0]] {
                let found = scene.rows_of_each(&order)?;
                for (bits, &sequence) in found.iter().zip(&order) {
                    assert_eq!(
                        bits, &forward[sequence],
                        "{case:?}: {sequence} in {order:?}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_decode_has_the_bits_of_its_row_in_a_chunk() -> Result<()> {
    for (head_dim, dtype) in [(64, DType::BF16), (80, DType::F32)] {
        let case = Case {
            head_dim,
            group: 4,
            dtype,
            window: None,
        };
        let chunk = Scene::new(case, &sequences(&[(3, 270)]));
        let bits = chunk.rows_of_each(&[0])?.concat();
        let row = bits.len() / 3;
        let decode = Scene {
            q: chunk.q.narrow(0, 2, 1)?,
            sequences: sequences(&[(1, 270)]),
            ..chunk
        };
        assert_eq!(decode.rows_of_each(&[0])?.concat(), bits[2 * row..]);
    }
    Ok(())
}

fn check_case(head_dim: usize, group: usize, dtype: DType, window: Option<usize>, steps: &[Step]) {
    let case = Case {
        head_dim,
        group,
        dtype,
        window,
    };
    let scene = Scene::new(case, &sequences(steps));
    let all: Vec<usize> = (0..steps.len()).collect();
    let inputs = [
        scene.q.clone(),
        scene.k_cache.clone(),
        scene.v_cache.clone(),
    ];
    let name = format!("{case:?} with {steps:?}");
    check(&name, &inputs, Tolerance::attention(dtype), |inputs| {
        let batch = scene.batch(&all, inputs[0].device())?;
        let params = case.params();
        Ok(vec![paged_attention(
            &inputs[0], &inputs[1], &inputs[2], &batch, params,
        )?])
    });
}

impl Case {
    fn params(&self) -> AttentionParams {
        AttentionParams {
            scale: 1.0 / (self.head_dim as f32).sqrt(),
            window: self.window,
        }
    }
}

/// A batch's sequences with blocks out of order, every third with a block more than it needs.
fn sequences(steps: &[Step]) -> Vec<SequenceSpan> {
    let needed: usize = steps.iter().map(|step| step.1.div_ceil(BLOCK_TOKENS)).sum();
    let count = needed + steps.len() + 1;
    let stride = (7..).find(|stride| gcd(*stride, count) == 1);
    let stride = stride.expect("there is a prime above any number");
    let mut free = (0..count).map(|block| ((block * stride + 3) % count) as u32);
    let mut query_start = 0;
    let sequence = |(index, &(query_len, context_len)): (usize, &Step)| {
        let blocks = context_len.div_ceil(BLOCK_TOKENS) + usize::from(index % 3 == 0);
        let span = SequenceSpan {
            query_start,
            query_len,
            context_len,
            block_table: free.by_ref().take(blocks).collect(),
        };
        query_start += query_len;
        span
    };
    steps.iter().enumerate().map(sequence).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Sequences, the queries of their rows, and the cache that they share.
struct Scene {
    case: Case,
    sequences: Vec<SequenceSpan>,
    num_blocks: usize,
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
}

impl Scene {
    fn new(case: Case, sequences: &[SequenceSpan]) -> Self {
        let rows = sequences.iter().map(|span| span.query_len).sum();
        let blocks = sequences.iter().flat_map(|span| &span.block_table);
        let num_blocks = blocks.max().map_or(1, |&block| block as usize + 1);
        let shape = [rows, case.group * KV_HEADS, case.head_dim];
        Self {
            case,
            sequences: sequences.to_vec(),
            num_blocks,
            q: random(1, &shape, case.dtype),
            k_cache: cache(2, case, sequences, num_blocks),
            v_cache: cache(3, case, sequences, num_blocks),
        }
    }

    /// The batch of some sequences, in this order.
    fn batch(&self, order: &[usize], device: &Device) -> Result<PagedBatch> {
        let mut query_start = 0;
        let spans = order.iter().map(|&sequence| {
            let mut span = self.sequences[sequence].clone();
            span.query_start = query_start;
            query_start += span.query_len;
            span
        });
        PagedBatch::new(spans.collect(), self.num_blocks, device)
    }

    /// The bits of each sequence's rows, computed in one batch in this order.
    fn rows_of_each(&self, order: &[usize]) -> Result<Vec<Vec<u32>>> {
        let parts = order.iter().map(|&sequence| {
            let span = &self.sequences[sequence];
            self.q.narrow(0, span.query_start, span.query_len)
        });
        let q = Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?;
        let out = emulate(Order::Ascending, || {
            let batch = self.batch(order, q.device())?;
            paged_attention(&q, &self.k_cache, &self.v_cache, &batch, self.case.params())
        })?;
        let out = out.to_dtype(DType::F32)?;
        let mut first = 0;
        let rows = order.iter().map(|&sequence| {
            let len = self.sequences[sequence].query_len;
            let rows = out.narrow(0, first, len)?.flatten_all()?.to_vec1::<f32>()?;
            first += len;
            Ok(rows.into_iter().map(f32::to_bits).collect())
        });
        rows.collect()
    }
}

/// A cache with random values where a row of the step may look, NaN elsewhere.
fn cache(seed: u64, case: Case, sequences: &[SequenceSpan], num_blocks: usize) -> Tensor {
    let head = BLOCK_TOKENS * case.head_dim;
    let mut values = vec![f32::NAN; num_blocks * KV_HEADS * head];
    let mut random = uniform(seed);
    for span in sequences {
        // FlashAttention, which a card computes chunks with, multiplies what lies before a window by
        // zero: once written, it is a number.
        let first = match (span.query_len, case.window) {
            (1, Some(window)) => span.context_len.saturating_sub(window),
            _ => 0,
        };
        for slot in (first..span.context_len).map(|position| span.slot(position) as usize) {
            let (block, token) = (slot / BLOCK_TOKENS, slot % BLOCK_TOKENS);
            for kv_head in 0..KV_HEADS {
                let at = (block * KV_HEADS + kv_head) * head + token * case.head_dim;
                let row = values[at..at + case.head_dim].iter_mut();
                row.zip(&mut random).for_each(|(value, x)| *value = x);
            }
        }
    }
    let shape = (num_blocks, KV_HEADS, BLOCK_TOKENS, case.head_dim);
    let cache = Tensor::from_vec(values, shape, &Device::Cpu);
    cache.and_then(|x| x.to_dtype(case.dtype)).expect("a cache")
}
