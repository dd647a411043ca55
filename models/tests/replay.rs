//! A decode is launches that depend on its shape alone: recorded once, they compute other steps and
//! other sequences, to the bit. That is what CUDA graphs on a card need; here the emulation
//! replays.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use common::FAMILIES;
use portcullis_kernels::{Order, Recording, emulate, record, rms_norm};
use portcullis_models::{
    Batch, DecodeShape, Decoder, KvCache, LoadFormat, LoadOptions, SequenceSpan, decode_rows,
};

const NUM_BLOCKS: usize = 20;
const VOCAB: u32 = 64;

#[derive(Clone)]
struct Sequence {
    /// Tokens in the cache.
    len: usize,
    blocks: Vec<u32>,
}

/// One whose second split begins within the test, and two short ones, of which one has the block
/// that padding is filled with.
fn three_sequences() -> Vec<Sequence> {
    let sequences: [(usize, &[u32]); 3] = [
        (255, &[5, 2, 7, 11, 3, 19, 8, 1, 14]),
        (40, &[6, 4]),
        (3, &[0]),
    ];
    let sequence = |(len, blocks): (usize, &[u32])| Sequence {
        len,
        blocks: blocks.to_vec(),
    };
    sequences.map(sequence).to_vec()
}

/// Sequences of each step, by index, in row order. The first is recorded.
const FEW: &[&[usize]] = &[&[0, 1, 2], &[0, 1, 2], &[2, 0], &[1], &[2, 1, 0]];
const MANY: &[&[usize]] = &[
    &[0, 1, 2, 3, 4, 5, 6, 7, 8],
    &[9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    &[9, 1, 3, 5, 7, 0, 2, 4, 6],
];

#[test]
fn a_recorded_decode_computes_other_steps_and_other_sequences() {
    for family in FAMILIES {
        check_replays(family, DType::F32, three_sequences(), FEW);
    }
}

/// In short numbers other kernels compute: matrix instructions, and experts by streams.
#[test]
fn so_it_does_in_short_numbers() {
    check_replays("llama3", DType::BF16, three_sequences(), FEW);
    check_replays("mixtral", DType::BF16, three_sequences(), FEW);
}

/// Beyond eight rows products are another library's on a card, and experts are computed by tiles.
/// The eager steps have more than eight too: from there on a row has other bits.
#[test]
fn so_it_does_for_more_rows_than_our_products_take() {
    let sequence = |index: u32| Sequence {
        len: 1 + index as usize,
        blocks: vec![index],
    };
    let sequences: Vec<_> = (0..10).map(sequence).collect();
    check_replays("qwen2", DType::F32, sequences.clone(), MANY);
    check_replays("mixtral", DType::BF16, sequences, MANY);
}

/// The method itself: what the host computes between launches is seen to be missing in a replay.
#[test]
fn what_the_host_computes_is_not_in_a_recording() {
    let at = |value: f32| Tensor::full(value, (1, 8), &Device::Cpu).unwrap();
    let (x, weight) = (at(1.0), Tensor::ones(8, DType::F32, &Device::Cpu).unwrap());
    let norm = |x: &Tensor| rms_norm(x, &weight, 1.0).unwrap();
    let order = Order::Ascending;
    let (ours, recording) = record(order, || norm(&x));
    let (with_host, recording_with_host) = record(order, || norm(&(&x + &x).unwrap()));
    x.slice_set(&at(3.0), 0, 0).unwrap();
    recording.replay(order).unwrap();
    recording_with_host.replay(order).unwrap();
    let expected = emulate(order, || [norm(&x), norm(&(&x + &x).unwrap())]);
    assert_eq!(bits(&ours), bits(&expected[0]));
    assert_ne!(bits(&with_host), bits(&expected[1]));
}

#[test]
fn decodes_are_padded_to_a_few_shapes() {
    let decoder = decoder("llama3", DType::F32);
    let shape = |rows: usize, context_len| {
        let mut batch = Batch::default();
        for _ in 0..rows {
            push(&mut batch, context_len - 1..context_len, &[]);
        }
        let shape = decoder.decode_shape(&batch)?;
        Some((shape.rows, shape.context_max))
    };
    assert_eq!(shape(1, 1), Some((1, 256)));
    assert_eq!(shape(7, 256), Some((7, 256)));
    assert_eq!(shape(9, 257), Some((12, 512)));
    assert_eq!(shape(200, 513), Some((256, 1000)), "as long as the model's");
    assert_eq!(shape(257, 1), None);
    let all = decoder.decode_shapes(9, 300);
    assert_eq!(all.len(), 9 * 2, "1 to 8 rows and 12; 256 and 512 tokens");
    for (rows, context) in [(1, 1), (8, 256), (9, 257), (3, 300)] {
        let (rows, context_max) = shape(rows, context).unwrap();
        assert!(all.contains(&DecodeShape { rows, context_max }));
    }
    let of_one_row: Vec<_> = decoder
        .decode_shapes(1, 1 << 20)
        .iter()
        .map(|it| it.context_max)
        .collect();
    assert_eq!(of_one_row, [256, 512, 1000]);
    assert_eq!(shape(1, 1001), None);
    let mut batch = Batch::default();
    push(&mut batch, 3..4, &[0]);
    push(&mut batch, 0..2, &[1]);
    assert_eq!(decoder.decode_shape(&batch), None, "a prefill");
    batch.sequences.truncate(1);
    batch.sample_rows = vec![0, 0];
    assert_eq!(decoder.decode_shape(&batch), None, "a row asked for twice");
}

/// Records the first of some decodes, then replays it for the others; an eager step over a cache of
/// its own says what is right.
fn check_replays(family: &str, dtype: DType, mut sequences: Vec<Sequence>, steps: &[&[usize]]) {
    let decoder = decoder(family, dtype);
    let [mut eager, mut replayed] = [0; 2].map(|_| prefilled(&decoder, &sequences));
    let order = Order::Mixed;
    let shape = DecodeShape {
        rows: decode_rows(sequences.len() + 1),
        context_max: 512,
    };
    let tables = || decoder.decode_tables(shape, &replayed).unwrap();
    let mut tables = emulate(order, tables);
    let mut recorded: Option<(Tensor, Recording)> = None;
    for rows in steps {
        let batch = next_step(&mut sequences, rows);
        decoder.write_decode(&mut tables, &batch).unwrap();
        if let Some((_, recording)) = &recorded {
            recording.replay(order).unwrap();
        }
        let record = || record(order, || decoder.decode(&tables, &mut replayed).unwrap());
        let (logits, _) = recorded.get_or_insert_with(record);
        check_rows(logits, &forward(&decoder, &batch, &mut eager), family);
    }
}

/// Small enough for the emulation, with contexts of several splits and heads for the tensor cores;
/// weights of random numbers.
fn decoder(family: &str, dtype: DType) -> Decoder {
    let golden = Path::new("tests/golden").join(family).join("config.json");
    let config = std::fs::read(golden).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config["max_position_embeddings"] = 1000.into();
    config["head_dim"] = 32.into();
    let dir = tempfile::tempdir().unwrap();
    let config = serde_json::to_vec(&config).unwrap();
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    let options = LoadOptions {
        dtype,
        format: LoadFormat::Dummy { seed: 7 },
        ..LoadOptions::default()
    };
    emulate(Order::Ascending, || Decoder::load(dir.path(), &options)).unwrap()
}

/// A cache with what came before, by the plain loops.
fn prefilled(decoder: &Decoder, sequences: &[Sequence]) -> KvCache {
    let mut cache = decoder.new_cache(NUM_BLOCKS).unwrap();
    let mut batch = Batch::default();
    for Sequence { len, blocks } in sequences {
        push(&mut batch, 0..*len, blocks);
    }
    batch.sample_rows.clear();
    decoder.forward(&batch, &mut cache).unwrap();
    cache
}

/// The next token of some sequences.
fn next_step(sequences: &mut [Sequence], rows: &[usize]) -> Batch {
    let mut batch = Batch::default();
    for &row in rows {
        let Sequence { len, blocks } = &mut sequences[row];
        push(&mut batch, *len..*len + 1, blocks);
        *len += 1;
    }
    batch
}

/// Adds tokens of a sequence, and samples the last.
fn push(batch: &mut Batch, positions: std::ops::Range<usize>, blocks: &[u32]) {
    batch.sequences.push(SequenceSpan {
        query_start: batch.tokens.len(),
        query_len: positions.len(),
        context_len: positions.end,
        block_table: blocks.to_vec(),
    });
    let first = blocks.first().map_or(0, |&block| block);
    for position in positions.map(|position| position as u32) {
        batch.positions.push(position);
        batch.tokens.push((position * 7 + first * 3) % VOCAB);
    }
    batch.sample_rows.push(batch.tokens.len() as u32 - 1);
}

fn forward(decoder: &Decoder, batch: &Batch, cache: &mut KvCache) -> Tensor {
    emulate(Order::Ascending, || decoder.forward(batch, cache)).unwrap()
}

/// The first rows of a decode are the eager ones; padding is at least numbers.
fn check_rows(logits: &Tensor, eager: &Tensor, family: &str) {
    let (logits, eager) = (bits(logits), bits(eager));
    assert_eq!(logits[..eager.len()], eager, "{family}");
    let numbers = logits.iter().flatten().map(|&bits| f32::from_bits(bits));
    assert!(numbers.into_iter().all(f32::is_finite), "{family}");
}

fn bits(x: &Tensor) -> Vec<Vec<u32>> {
    let rows = x.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
    let bits = |row: Vec<f32>| row.into_iter().map(f32::to_bits).collect();
    rows.into_iter().map(bits).collect()
}
