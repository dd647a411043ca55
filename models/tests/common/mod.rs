//! The golden checkpoints, and ways to run them.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use portcullis_models::{BLOCK_TOKENS, Batch, Decoder, KvCache, LoadOptions, SequenceSpan};

/// The folders below `tests/golden`.
pub(crate) const FAMILIES: [&str; 7] = [
    "llama2",
    "llama3",
    "llama-bias",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen3",
];

/// A tiny checkpoint and what transformers computes with it.
pub(crate) struct Golden {
    pub(crate) dir: PathBuf,
    pub(crate) tokens: Vec<u32>,
    /// `[num_tokens, vocab]`
    pub(crate) logits: Tensor,
}

/// How a sequence is cut into steps.
#[derive(Clone, Copy)]
pub(crate) struct Pieces(usize);

impl Pieces {
    pub(crate) fn of(tokens: usize) -> Self {
        Self(tokens)
    }
}

impl Golden {
    pub(crate) fn load(family: &str) -> Self {
        // From the crate's folder, where tests run, and not from where they were compiled: they run
        // on machines with a card, too.
        let dir = Path::new("tests/golden").join(family);
        let golden: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.join("golden.json")).unwrap()).unwrap();
        let tokens = serde_json::from_value(golden["tokens"].clone()).unwrap();
        let tensors =
            candle_core::safetensors::load(dir.join("golden.safetensors"), &Device::Cpu).unwrap();
        Self {
            dir,
            tokens,
            logits: tensors["logits"].clone(),
        }
    }

    /// The same sequence for a model in another folder.
    pub(crate) fn moved(&self, dir: &Path) -> Self {
        Self {
            dir: dir.into(),
            tokens: self.tokens.clone(),
            logits: self.logits.clone(),
        }
    }

    pub(crate) fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.dir.join(file)).unwrap()
    }

    /// The logits at every position, the sequence cut into pieces.
    pub(crate) fn compute(&self, options: &LoadOptions, Pieces(size): Pieces) -> Tensor {
        let decoder = Decoder::load(&self.dir, options).unwrap();
        let mut cache = decoder.new_cache(8).unwrap();
        let mut logits = Vec::new();
        let mut start = 0;
        while start < self.tokens.len() {
            let end = self.tokens.len().min(start.saturating_add(size));
            let mut batch = Batch::default();
            push(&mut batch, &self.tokens, start..end, &[5, 2, 7]);
            batch.sample_rows = (0..(end - start) as u32).collect();
            logits.push(forward(&decoder, &batch, &mut cache));
            start = end;
        }
        Tensor::cat(&logits, 0).unwrap()
    }

    /// The same token by token after a prefill of half, while two other sequences are prefilled
    /// and decoded in the same batches.
    pub(crate) fn compute_in_company(&self, options: &LoadOptions) -> Tensor {
        let decoder = Decoder::load(&self.dir, options).unwrap();
        let mut cache = decoder.new_cache(16).unwrap();
        let others = [self.reversed(), self.tokens[10..].to_vec()];
        let half = self.tokens.len() / 2;
        let mut logits = vec![self.step(&decoder, &mut cache, &others, 0..half, 0)];
        for position in half..self.tokens.len() {
            let turn = position - half + 1;
            logits.push(self.step(&decoder, &mut cache, &others, position..position + 1, turn));
        }
        Tensor::cat(&logits, 0).unwrap()
    }

    fn reversed(&self) -> Vec<u32> {
        self.tokens.iter().rev().copied().collect()
    }

    /// One step: the second other in chunks of three before, the first token by token behind.
    fn step(
        &self,
        decoder: &Decoder,
        cache: &mut KvCache,
        others: &[Vec<u32>; 2],
        ours: std::ops::Range<usize>,
        turn: usize,
    ) -> Tensor {
        let mut batch = Batch::default();
        let chunk = (3 * turn).min(others[1].len() - 3);
        if chunk == 3 * turn {
            push(&mut batch, &others[1], chunk..chunk + 3, &[9, 4, 10]);
        }
        let first = batch.tokens.len() as u32;
        push(&mut batch, &self.tokens, ours.clone(), &[5, 2, 7]);
        batch.sample_rows = (first..first + ours.len() as u32).collect();
        push(&mut batch, &others[0], turn..turn + 1, &[0, 1, 3]);
        forward(decoder, &batch, cache)
    }
}

/// The logits in the host's memory.
fn forward(decoder: &Decoder, batch: &Batch, cache: &mut KvCache) -> Tensor {
    let logits = decoder.forward(batch, cache).unwrap();
    logits.to_device(&Device::Cpu).unwrap()
}

fn push(batch: &mut Batch, tokens: &[u32], range: std::ops::Range<usize>, blocks: &[u32]) {
    assert!(range.end <= blocks.len() * BLOCK_TOKENS);
    batch.sequences.push(SequenceSpan {
        query_start: batch.tokens.len(),
        query_len: range.len(),
        context_len: range.end,
        block_table: blocks.to_vec(),
    });
    batch.positions.extend(range.clone().map(|p| p as u32));
    batch.tokens.extend(&tokens[range]);
}

/// The largest difference between two tensors of one shape.
pub(crate) fn worst_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let difference = (a - b).unwrap().abs().unwrap();
    difference
        .flatten_all()
        .unwrap()
        .max(0)
        .unwrap()
        .to_scalar()
        .unwrap()
}
