//! What the ops refuse, and in which words.

use candle_core::{DType, Device, Result, Tensor};
use portcullis_kernels::{
    AttentionParams, BLOCK_TOKENS, DecodeShape, DecodeTables, DrawRow, Order, PagedBatch,
    SequenceSpan, block_copy, emulate, paged_attention, rope_kv_write, sample,
};

const PARAMS: AttentionParams = AttentionParams {
    scale: 1.0,
    window: None,
};

#[test]
fn a_batch_that_does_not_hold_together() {
    let cases: [(&[SequenceSpan], &str); 7] = [
        (
            &[span(1, 1, 1, &[0])],
            "sequence 0 starts at row 1 of the batch, expected row 0",
        ),
        (
            &[span(0, 2, 2, &[0]), span(1, 1, 1, &[1])],
            "sequence 1 starts at row 1 of the batch, expected row 2",
        ),
        (
            &[span(0, 0, 1, &[0])],
            "sequence 0 has 0 query tokens and a context of 1",
        ),
        (
            &[span(0, 2, 1, &[0])],
            "sequence 0 has 2 query tokens and a context of 1",
        ),
        (
            &[span(0, 1, 33, &[0])],
            "sequence 0 has 1 blocks of 32 for 33 tokens",
        ),
        (
            &[span(0, 1, 1, &[4])],
            "sequence 0 names block 4, the cache has 4",
        ),
        (
            &[span(0, 1, 5, &[2]), span(1, 1, 5, &[2])],
            "two rows write slot 68 of the cache",
        ),
    ];
    for (spans, expected) in cases {
        check(PagedBatch::new(spans.to_vec(), 4, &Device::Cpu), expected);
    }
}

#[test]
fn a_decode_that_its_tables_have_no_room_for() -> Result<()> {
    let shape = |rows| DecodeShape {
        rows,
        context_max: 40,
    };
    let tables = |rows| DecodeTables::new(shape(rows), 4, &Device::Cpu);
    check(tables(2), "Cpu has no kernels to read the tables");
    emulate(Order::Ascending, || {
        check(tables(0), "has nothing to compute");
        let mut tables = tables(2)?;
        let words = |tables: &DecodeTables| tables.tokens().to_vec1::<u32>();
        tables.write(&[7], &[span(0, 1, 40, &[3, 2])])?;
        let one = span(0, 1, 41, &[3, 2]);
        let cases: [(&[u32], &[SequenceSpan], &str); 4] = [
            (
                &[5],
                &[one],
                "a context of 41 tokens for a decode of up to 40",
            ),
            (
                &[5],
                &[span(0, 2, 2, &[1])],
                "2 query tokens of one sequence are no decode",
            ),
            (
                &[5, 6],
                &[span(0, 1, 1, &[1])],
                "2 tokens of 1 sequences for a decode of 2 rows",
            ),
            (
                &[5, 5, 5],
                &[0, 1, 2].map(|row| span(row, 1, 1, &[row as u32])),
                "3 tokens of 3 sequences for a decode of 2 rows",
            ),
        ];
        for (tokens, spans, expected) in cases {
            check(tables.write(tokens, spans), expected);
        }
        check(
            tables.write(&[5], &[span(0, 1, 1, &[4])]),
            "names block 4, the cache has 4",
        );
        assert_eq!(words(&tables)?, [7, 0], "what was refused wrote nothing");
        Ok(())
    })
}

#[test]
fn shapes_that_do_not_fit() -> Result<()> {
    let batch = PagedBatch::new(vec![span(0, 3, 3, &[1])], 4, &Device::Cpu)?;
    let (q, kv, cache) = (
        ones(&[3, 4, 8])?,
        ones(&[3, 2, 8])?,
        ones(&[4, 2, BLOCK_TOKENS, 8])?,
    );
    let attend = |q: &Tensor, k: &Tensor, v: &Tensor| paged_attention(q, k, v, &batch, PARAMS);
    let angles = ones(&[32, 4])?;
    let write = |k: &Tensor, cache: &Tensor| {
        let v_cache = ones(cache.dims())?;
        rope_kv_write(&q, k, &kv, &angles, &angles, cache, &v_cache, &batch)
    };

    check(
        attend(&ones(&[3, 5, 8])?, &cache, &ones(cache.dims())?),
        "5 query heads cannot share 2",
    );
    check(
        attend(&ones(&[2, 4, 8])?, &cache, &cache),
        "2 rows for a batch of 3",
    );
    check(
        attend(&ones(&[3, 4, 16])?, &cache, &cache),
        "does not fit a cache of [4, 2, 32, 8]",
    );
    check(
        attend(&q, &cache, &ones(&[5, 2, BLOCK_TOKENS, 8])?),
        "the V cache [5, 2, 32, 8]",
    );
    check(
        attend(&q.to_dtype(DType::F16)?, &cache, &cache),
        "q is F16, the cache F32: they must be the same",
    );
    let wide = |x: &Tensor| x.to_dtype(DType::F64);
    check(
        attend(&wide(&q)?, &wide(&cache)?, &wide(&cache)?),
        "only f32, bf16 and f16 are supported",
    );
    check(
        attend(&q.t()?.contiguous()?.t()?, &cache, &cache),
        "must be contiguous",
    );
    check(
        write(&ones(&[3, 1, 8])?, &cache),
        "does not fit a cache of [4, 2, 32, 8]",
    );
    check(
        write(&ones(&[2, 2, 8])?, &cache),
        "[2, 2, 8] beside a q of [3, 4, 8]",
    );
    check(
        write(&kv.to_dtype(DType::BF16)?, &cache),
        "BF16 into a cache of F32",
    );
    check(
        block_copy(&cache, &[(0, 4)]),
        "block 0 to 4, the cache has 4",
    );
    check(
        block_copy(&ones(&[4, 2, 16, 8])?, &[]),
        "no cache with blocks of 32",
    );
    Ok(())
}

#[test]
fn a_batch_of_another_device() -> Result<()> {
    let batch = PagedBatch::new(vec![span(0, 1, 1, &[1])], 4, &Device::Cpu)?;
    let (q, cache) = (ones(&[1, 4, 8])?, ones(&[4, 2, BLOCK_TOKENS, 8])?);
    check(
        emulate(Order::Ascending, || {
            paged_attention(&q, &cache, &ones(cache.dims())?, &batch, PARAMS)
        }),
        "give PagedBatch::new the device of q and the cache",
    );
    Ok(())
}

#[test]
fn draws_that_do_not_fit_their_logits() -> Result<()> {
    let logits = ones(&[1, 8])?;
    let draw = DrawRow::default();
    check(sample(&logits, &[draw, draw]), "2 draws from logits [1, 8]");
    check(
        sample(&logits.to_dtype(DType::BF16)?, &[draw]),
        "logits [1, 8] of BF16; expected f32",
    );
    let rows = [
        (
            DrawRow {
                watch: &[[0, 7, 8].into()],
                ..draw
            },
            "draw 0 names token 8 of a vocabulary of 8",
        ),
        (
            DrawRow {
                top_k: Some(0),
                ..draw
            },
            "its top_k is 0",
        ),
        (
            DrawRow {
                top_logprobs: 257,
                ..draw
            },
            "asks for 257 of the likeliest tokens; at most 256",
        ),
        (
            DrawRow {
                weights: &[(3, 0.0), (3, 0.0)],
                ..draw
            },
            "must be sorted by token, each token once",
        ),
        (
            DrawRow {
                weights: &[(3, f32::NAN)],
                ..draw
            },
            "is no number",
        ),
    ];
    for (row, expected) in rows {
        check(sample(&logits, &[row]), expected);
    }
    Ok(())
}

fn check<T>(result: Result<T>, expected: &str) {
    let message = result
        .err()
        .expect("it should have been refused")
        .to_string();
    assert!(
        message.contains(expected),
        "{message:?} does not say {expected:?}"
    );
}

fn span(query_start: usize, query_len: usize, context_len: usize, table: &[u32]) -> SequenceSpan {
    SequenceSpan {
        query_start,
        query_len,
        context_len,
        block_table: table.to_vec(),
    }
}

fn ones(shape: &[usize]) -> Result<Tensor> {
    Tensor::ones(shape, DType::F32, &Device::Cpu)
}
