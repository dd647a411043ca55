//! What a step does, and what became of it.

use portcullis_types::{SequenceId, TokenId};

use crate::BlockId;

/// The plan of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SchedulerOutput {
    /// Counts the steps, from 1.
    pub step: u64,
    /// What to compute, highest rank first, at most one row a sequence. Empty when nothing can
    /// run now.
    pub rows: Vec<Row>,
    /// Blocks to copy before any row is computed, as (from, to). In any order or all at once: no
    /// block is the target of two copies, and no target is the source of another.
    pub block_copies: Vec<(BlockId, BlockId)>,
    /// Sequences that lost their blocks to others of higher rank. They run again by themselves.
    pub preempted: Vec<SequenceId>,
}

impl SchedulerOutput {
    /// Tokens to compute in this step.
    pub fn num_tokens(&self) -> usize {
        self.rows.iter().map(|row| row.tokens.len()).sum()
    }
}

/// The part of a step that belongs to one sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Whose row it is.
    pub sequence: SequenceId,
    /// Changes whenever results in flight become void, so that late ones are recognised. Never
    /// repeats within a scheduler.
    pub epoch: u64,
    /// The tokens to compute now, at least one.
    pub tokens: Vec<TokenId>,
    /// The position of `tokens[0]`. Everything before it is in the blocks already.
    pub start: usize,
    /// The blocks of the positions `0..start + tokens.len()`, and no more.
    pub block_table: Vec<BlockId>,
    /// Whether a token is drawn after the last of `tokens`.
    pub samples: bool,
}

/// What became of the result of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// The tokens count as computed, and the drawn one is appended.
    Applied,
    /// Nothing changed: since the row was scheduled its sequence was rolled back, held, preempted
    /// or removed, or the row was advanced before.
    Stale,
}

/// Where the scheduler stands. Counters count from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    /// Sequences that hold no place in the batch.
    pub waiting: usize,
    /// Sequences that hold a place in the batch, held ones among them.
    pub running: usize,
    /// Blocks there are.
    pub blocks_total: usize,
    /// Blocks that at least one sequence references.
    pub blocks_used: usize,
    /// Blocks that no sequence references, kept for the prefix cache until they are needed.
    pub blocks_cached: usize,
    /// Blocks that hold nothing.
    pub blocks_free: usize,
    /// Tokens of sequences that were looked up in the prefix cache.
    pub cache_queried_tokens: u64,
    /// Of these, how many were found.
    pub cache_hit_tokens: u64,
    /// Times that a running sequence lost its blocks.
    pub preemptions: u64,
    /// Tokens handed out to be computed, those whose results became void among them.
    pub computed_tokens: u64,
}
