//! The first step, and the largest: what it needs, a device's pool keeps for the later ones.

use candle_core::{Result, Tensor};
use portcullis_kernels::{DrawRow, sample};
use portcullis_models::{BLOCK_TOKENS, Batch, Decoder, ModelError, SequenceSpan};

/// Computes a step of `max_batched_tokens` tokens of which `max_num_seqs` are sampled, with a cache
/// that is gone afterwards. What the device's memory has free then is free for the KV cache.
///
/// # Errors
/// The device has no memory for such a step.
pub fn warm_up(
    decoder: &Decoder,
    max_batched_tokens: usize,
    max_num_seqs: usize,
) -> std::result::Result<(), ModelError> {
    let batch = largest_step(
        max_batched_tokens,
        max_num_seqs,
        decoder.config().max_position,
    );
    let blocks: usize = batch.sequences.iter().map(|s| s.block_table.len()).sum();
    let mut cache = decoder.new_cache(blocks)?;
    let logits = decoder.forward(&batch, &mut cache)?;
    Ok(finish(&logits)?)
}

/// Draws as if each row had its logits adjusted, which takes their memory once more, and waits for
/// the device, which may fail only now.
fn finish(logits: &Tensor) -> Result<()> {
    let draw = DrawRow {
        banned: &[0],
        ..DrawRow::default()
    };
    // What is drawn does not matter, nor that a model of random weights may give NaN.
    drop(sample(logits, &vec![draw; logits.dim(0)?])?);
    logits.device().synchronize()
}

fn largest_step(tokens: usize, samples: usize, max_position: usize) -> Batch {
    let mut batch = Batch {
        tokens: vec![0; tokens],
        sample_rows: (0..samples.min(tokens) as u32).collect(),
        ..Batch::default()
    };
    let mut blocks = 0u32..;
    for query_start in (0..tokens).step_by(max_position) {
        let query_len = max_position.min(tokens - query_start);
        batch.positions.extend(0..query_len as u32);
        batch.sequences.push(SequenceSpan {
            query_start,
            query_len,
            context_len: query_len,
            block_table: blocks
                .by_ref()
                .take(query_len.div_ceil(BLOCK_TOKENS))
                .collect(),
        });
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_step_is_one_that_could_come() {
        let batch = largest_step(100, 7, 40);
        let lens: Vec<usize> = batch.sequences.iter().map(|s| s.query_len).collect();
        assert_eq!(lens, [40, 40, 20]);
        assert_eq!(batch.positions.len(), 100);
        assert_eq!(batch.sample_rows.len(), 7);
        assert_eq!(batch.sequences[2].block_table, [4]);
    }
}
