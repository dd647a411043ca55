//! The paged ops on the corpus: against naive attention, and against themselves cut differently.

mod cases;

use candle_core::{DType, Device, Result, Tensor};
use cases::{Case, KV_HEADS, NUM_BLOCKS, Sequence, batch, corpus, naive, write};
use portcullis_kernels::{BLOCK_TOKENS, block_copy};

/// f32: rounding of dot products of up to 128 terms, relative to values of up to 2.
const TOLERANCE_F32: f64 = 5e-6;
/// bf16 keeps 8 bits, and the result is rounded to it: half a unit in the last place of 2.
const TOLERANCE_BF16: f64 = 2.0 / 256.0;
/// f16 keeps 11.
const TOLERANCE_F16: f64 = 2.0 / 2048.0;

#[test]
fn attention_equals_naive_attention_in_f64() -> Result<()> {
    for case in corpus() {
        let sequences = case.sequences()?;
        let out = flat(&case.run(&[history(&sequences), last(&sequences)])?)?;
        let mut expected = Vec::new();
        for sequence in &sequences {
            let row = case.num_heads() * case.head_dim;
            let all = naive(&case, sequence)?;
            expected.extend_from_slice(&all[(sequence.len - sequence.query_len) * row..]);
        }
        let tolerance = match case.dtype {
            DType::BF16 => TOLERANCE_BF16,
            DType::F16 => TOLERANCE_F16,
            _ => TOLERANCE_F32,
        };
        assert_eq!(out.len(), expected.len());
        let differences = out
            .iter()
            .zip(&expected)
            .map(|(a, b)| (f64::from(*a) - b).abs());
        let worst = differences.fold(0.0, f64::max);
        assert!(worst <= tolerance, "{case:?}: off by {worst}");
    }
    Ok(())
}

#[test]
fn bits_do_not_depend_on_neighbours() -> Result<()> {
    for case in corpus() {
        let sequences = case.sequences()?;
        let together = flat(&case.run(&[history(&sequences), last(&sequences)])?)?;
        let mut alone = Vec::new();
        for one in sequences.chunks(1) {
            alone.extend(flat(&case.run(&[history(one), last(one)])?)?);
        }
        assert_eq!(bits(&together), bits(&alone), "{case:?}");
    }
    Ok(())
}

#[test]
fn bits_do_not_depend_on_chunks() -> Result<()> {
    for case in corpus() {
        for sequence in &case.sequences()? {
            let whole = flat(&case.run(&[vec![(sequence, 0..sequence.len)]])?)?;
            let row = case.num_heads() * case.head_dim;
            let steps: Vec<_> = (0..sequence.len)
                .map(|p| vec![(sequence, p..p + 1)])
                .collect();
            let decoded = flat(&case.run(&steps)?)?;
            assert_eq!(
                bits(&whole[whole.len() - row..]),
                bits(&decoded),
                "{case:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_write_reaches_its_slots_and_no_other() -> Result<()> {
    for case in corpus() {
        let sequences = case.sequences()?;
        let (k_cache, v_cache) = case.caches()?;
        let before = k_cache
            .to_dtype(DType::F32)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        let step = last(&sequences);
        let rows = |pick: fn(&Sequence) -> &Tensor| -> Result<Tensor> {
            let parts = step
                .iter()
                .map(|(s, range)| pick(s).narrow(0, range.start, range.len()));
            Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?.contiguous()
        };
        let kv = (rows(|s| &s.k)?, rows(|s| &s.v)?);
        let batch = batch(&step)?;
        write(&rows(|s| &s.q)?, &kv, (&k_cache, &v_cache), &batch)?;
        check_written(&case, &step, &k_cache, &before, |s| &s.k)?;
        check_written(&case, &step, &v_cache, &before, |s| &s.v)?;
    }
    Ok(())
}

fn check_written(
    case: &Case,
    step: &[(&Sequence, std::ops::Range<usize>)],
    cache: &Tensor,
    before: &[f32],
    pick: fn(&Sequence) -> &Tensor,
) -> Result<()> {
    let mut expected = before.to_vec();
    for (sequence, range) in step {
        let values = pick(sequence).to_dtype(DType::F32)?.to_vec3::<f32>()?;
        for position in range.clone() {
            let block = sequence.block_table[position / BLOCK_TOKENS] as usize;
            for (head, values) in values[position].iter().enumerate() {
                let row = (block * KV_HEADS + head) * BLOCK_TOKENS + position % BLOCK_TOKENS;
                expected[row * case.head_dim..][..case.head_dim].copy_from_slice(values);
            }
        }
    }
    assert_eq!(flat(cache)?, expected, "{case:?}");
    Ok(())
}

#[test]
fn blocks_are_copied_in_order_and_no_other_changes() -> Result<()> {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let block_len = KV_HEADS * BLOCK_TOKENS * 4;
        // Each block is full of its own number.
        let values: Vec<f32> = (0..NUM_BLOCKS * block_len)
            .map(|i| (i / block_len) as f32)
            .collect();
        let shape = (NUM_BLOCKS, KV_HEADS, BLOCK_TOKENS, 4);
        let cache = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?;
        block_copy(&cache, &[(3, 5), (5, 0), (9, 9), (1, 3)])?;
        let mut expected: Vec<f32> = (0..NUM_BLOCKS).map(|block| block as f32).collect();
        (expected[5], expected[0], expected[3]) = (3.0, 3.0, 1.0);
        let expected: Vec<f32> = expected.iter().flat_map(|&b| vec![b; block_len]).collect();
        assert_eq!(flat(&cache)?, expected);
    }
    Ok(())
}

/// What came before the last step, for the sequences that have it.
fn history(sequences: &[Sequence]) -> Vec<(&Sequence, std::ops::Range<usize>)> {
    let spans = sequences.iter().map(|s| (s, 0..s.len - s.query_len));
    spans.filter(|(_, range)| !range.is_empty()).collect()
}

fn last(sequences: &[Sequence]) -> Vec<(&Sequence, std::ops::Range<usize>)> {
    let spans = sequences.iter().map(|s| (s, s.len - s.query_len..s.len));
    spans.collect()
}

fn flat(x: &Tensor) -> Result<Vec<f32>> {
    x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
