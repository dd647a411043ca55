//! How large the KV cache becomes.

use bytesize::ByteSize;
use portcullis_scheduler::BLOCK_TOKENS;
use thiserror::Error;

use crate::config::EngineLimits;
use crate::machine::Machine;

/// On the CPU, unless told otherwise, the cache takes a part of the memory that is free, and no more
/// than this.
const USUAL_BYTES_MAX: u64 = 1 << 30;
const USUAL_PART_OF_FREE: u64 = 4;
/// A card's memory serves nothing else. What is left is for what the driver takes later: compiled
/// kernels, libraries' workspaces.
const LEFT_ON_CARD: u64 = 512 << 20;
/// What CUDA graphs are left besides what attention needs in the largest: some 150 shapes of some
/// 330 launches, and the logits. An assumption; no card has told.
const LEFT_FOR_GRAPHS: u64 = 1 << 30;

/// Bytes of the cache on the CPU unless told otherwise.
pub(crate) fn usual_bytes(machine: Machine) -> u64 {
    (machine.available_bytes / USUAL_PART_OF_FREE).min(USUAL_BYTES_MAX)
}

/// Bytes of the cache on a card unless told otherwise, when weights and the largest step have
/// what they need; `for_graphs` is what CUDA graphs are left.
pub(crate) fn usual_bytes_on_card(free_bytes: u64, for_graphs: u64) -> u64 {
    free_bytes.saturating_sub(LEFT_ON_CARD + for_graphs)
}

/// Bytes that CUDA graphs of decodes take on a card, up to `rows` sequences of `tokens`.
pub(crate) fn graph_bytes(shape: &portcullis_models::Config, rows: usize, tokens: usize) -> u64 {
    // By the run before the recording, and by the graph.
    LEFT_FOR_GRAPHS + 2 * shape.decode_scratch_bytes(rows, tokens) as u64
}

/// Blocks of the cache, and what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvPlan {
    pub(crate) num_blocks: u32,
    pub(crate) bytes: u64,
    pub(crate) tokens: u64,
    /// Prompt and completion of one sequence, at most.
    pub(crate) max_model_len: usize,
}

/// Not even one sequence of full length fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a KV cache of {} holds {held_tokens} tokens, and one sequence may have {max_model_len}; raise \
     --kv-cache-memory to {} or more, or lower --max-model-len to {held_tokens} or less",
    ByteSize(*.bytes), ByteSize(*.needed_bytes)
)]
pub(crate) struct KvTooSmall {
    bytes: u64,
    needed_bytes: u64,
    held_tokens: u64,
    max_model_len: usize,
}

impl KvPlan {
    /// Takes what the configuration says, or else `usual_bytes`; never more than all sequences at
    /// full length can use. Where neither their length nor the cache's size is configured, they are
    /// as long as the model's, `len_max`, or as the cache holds.
    ///
    /// # Errors
    /// Not even one of them fits.
    pub(crate) fn new(
        limits: &EngineLimits,
        usual_bytes: u64,
        len_max: usize,
        bytes_per_block: u64,
    ) -> Result<Self, KvTooSmall> {
        let bytes = limits.kv_cache_bytes.unwrap_or(usual_bytes);
        let affordable = bytes / bytes_per_block;
        let max_model_len = match (limits.max_model_len, limits.kv_cache_bytes) {
            (Some(asked), _) => asked,
            (None, Some(_)) => len_max,
            // A block at the least, so that none is an error.
            (None, None) => len_max.min((affordable as usize * BLOCK_TOKENS).max(BLOCK_TOKENS)),
        };
        let per_sequence = max_model_len.div_ceil(BLOCK_TOKENS) as u64;
        if affordable < per_sequence {
            return Err(KvTooSmall {
                bytes,
                needed_bytes: per_sequence * bytes_per_block,
                held_tokens: affordable * BLOCK_TOKENS as u64,
                max_model_len,
            });
        }
        let useful = per_sequence.saturating_mul(limits.max_num_seqs as u64);
        let num_blocks = u32::try_from(affordable.min(useful)).unwrap_or(u32::MAX);
        Ok(Self {
            num_blocks,
            bytes: u64::from(num_blocks) * bytes_per_block,
            tokens: u64::from(num_blocks) * BLOCK_TOKENS as u64,
            max_model_len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 1 << 20;

    fn plan(
        kv_cache_bytes: Option<u64>,
        available: u64,
        seqs: usize,
        len: usize,
    ) -> Result<KvPlan, KvTooSmall> {
        let limits = limits(seqs, kv_cache_bytes);
        let machine = Machine {
            cores: 1,
            memory_bytes: available,
            available_bytes: available,
        };
        KvPlan::new(&limits, usual_bytes(machine), len, BLOCK)
    }

    fn limits(max_num_seqs: usize, kv_cache_bytes: Option<u64>) -> EngineLimits {
        EngineLimits {
            max_model_len: None,
            max_num_seqs,
            max_batched_tokens: 1024,
            kv_cache_bytes,
            cuda_graphs: false,
            max_waiting: 1,
        }
    }

    #[test]
    fn takes_what_it_is_told_or_a_quarter_of_what_is_free_up_to_a_bound() {
        let blocks = |told, available| plan(told, available, 4096, 2048).unwrap().num_blocks;
        assert_eq!(blocks(Some(100 * BLOCK), 1), 100);
        assert_eq!(blocks(None, 400 * BLOCK), 100);
        assert_eq!(blocks(None, 1 << 40), 1024);
    }

    #[test]
    fn on_a_card_libraries_and_graphs_are_left_their_part() {
        assert_eq!(usual_bytes_on_card(8 << 30, 0), (8 << 30) - (512 << 20));
        assert_eq!(usual_bytes_on_card(8 << 30, 1 << 30), (13 << 30) / 2);
        assert_eq!(usual_bytes_on_card(1, 0), 0);
    }

    #[test]
    fn sequences_are_as_long_as_the_cache_holds_where_nobody_says_more() {
        let len = |told, available| plan(told, available, 4, 1000).map(|it| it.max_model_len);
        assert_eq!(len(None, 1 << 40), Ok(1000));
        assert_eq!(len(None, 12 * BLOCK), Ok(96), "a quarter of what is free");
        assert!(len(Some(3 * BLOCK), 1).is_err(), "so large was asked for");
        assert!(len(None, BLOCK).is_err(), "not even a block");
        let asked = EngineLimits {
            max_model_len: Some(1000),
            ..limits(4, None)
        };
        let error = KvPlan::new(&asked, 3 * BLOCK, 5000, BLOCK).unwrap_err();
        assert_eq!(error.max_model_len, 1000, "so long were asked for");
    }

    #[test]
    fn takes_no_more_than_can_be_used() {
        // 3 sequences of 33 tokens: two blocks each.
        let plan = plan(Some(1 << 40), 1, 3, 33).unwrap();
        assert_eq!(
            plan,
            KvPlan {
                num_blocks: 6,
                bytes: 6 * BLOCK,
                tokens: 192,
                max_model_len: 33
            }
        );
    }

    #[test]
    fn says_what_to_change_when_one_sequence_does_not_fit() {
        let error = plan(Some(3 * BLOCK), 1, 4, 129).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a KV cache of 3.0 MiB holds 96 tokens, and one sequence may have 129; raise \
             --kv-cache-memory to 5.0 MiB or more, or lower --max-model-len to 96 or less"
        );
        assert!(plan(Some(3 * BLOCK), 1, 4, 96).is_ok());
    }
}
