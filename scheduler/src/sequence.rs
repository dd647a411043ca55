//! One sequence: its tokens, how many of them are computed, and the blocks that hold them.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};

use portcullis_types::{Priority, SequenceId, Tenant, TokenId};

use crate::block_pool::BlockPool;
use crate::prefix_cache::BlockHash;
use crate::queue::{Rank, Standing};
use crate::{BLOCK_TOKENS, BlockId, NewSequence, Row};

/// A sequence between [`Scheduler::add`](crate::Scheduler::add) and
/// [`Scheduler::remove`](crate::Scheduler::remove).
#[derive(Debug)]
pub struct Sequence {
    pub(crate) id: SequenceId,
    pub(crate) tokens: Vec<TokenId>,
    /// Positions `0..num_computed` are in the blocks. Always less than `tokens.len()`: there is
    /// always something to compute, for a draw needs the logits of the last token.
    pub(crate) num_computed: usize,
    /// Hits when it was first admitted.
    pub(crate) num_cached: Option<usize>,
    pub(crate) priority: Priority,
    pub(crate) tenant: Tenant,
    pub(crate) max_len: usize,
    pub(crate) epoch: u64,
    /// Covers exactly `num_computed` positions, and those in flight.
    pub(crate) block_table: Vec<BlockId>,
    /// Names of the full blocks of `tokens`, as far as they were needed.
    block_hashes: Vec<BlockHash>,
    /// Up to date unless it waits: then the queue has it.
    pub(crate) standing: Standing,
    pub(crate) in_flight: bool,
    /// Has a place in the batch.
    pub(crate) running: bool,
    pub(crate) held: bool,
}

impl Sequence {
    pub(crate) fn new(new: NewSequence, standing: Standing, epoch: u64) -> Self {
        Self {
            id: new.id,
            tokens: new.tokens,
            num_computed: 0,
            num_cached: None,
            priority: new.priority,
            tenant: new.tenant,
            max_len: new.max_len,
            epoch,
            block_table: Vec::new(),
            block_hashes: Vec::new(),
            standing,
            in_flight: false,
            running: false,
            held: false,
        }
    }

    /// Its identity.
    pub fn id(&self) -> SequenceId {
        self.id
    }

    /// Prompt and completion so far.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// How many of the tokens have their keys and values in the blocks.
    pub fn num_computed(&self) -> usize {
        self.num_computed
    }

    /// How many tokens the prefix cache spared it when it was first admitted. What a preempted
    /// sequence finds again on its return is not counted.
    pub fn num_cached(&self) -> usize {
        self.num_cached.unwrap_or(0)
    }

    /// The class it came with, before any ageing.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Whose prefix cache it uses.
    pub fn tenant(&self) -> Tenant {
        self.tenant
    }

    /// The longest it can become, in tokens.
    pub fn max_len(&self) -> usize {
        self.max_len
    }

    /// The epoch that a row in flight must have to count.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The blocks of the computed positions and of those in flight.
    pub fn block_table(&self) -> &[BlockId] {
        &self.block_table
    }

    /// Whether it has a place in the batch.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Whether it is not scheduled until it is truncated or removed.
    pub fn is_held(&self) -> bool {
        self.held
    }

    pub(crate) fn rank(&self) -> Rank {
        self.standing.rank(self.id)
    }

    /// Whether it wants a row in the next step.
    pub(crate) fn is_schedulable(&self) -> bool {
        !self.held && !self.in_flight
    }

    /// Tokens that are not computed yet.
    pub(crate) fn num_pending(&self) -> usize {
        self.tokens.len() - self.num_computed
    }

    /// Blocks that it lacks to compute all its tokens.
    pub(crate) fn num_lacking_blocks(&self) -> usize {
        blocks_for(self.tokens.len()).saturating_sub(self.block_table.len())
    }

    /// Makes room for `wanted` more tokens, and says for how many there is room: fewer when blocks
    /// run out, none when nothing could be written.
    pub(crate) fn grow(
        &mut self,
        wanted: usize,
        pool: &mut BlockPool,
        copies: &mut Vec<(BlockId, BlockId)>,
    ) -> usize {
        if !self.make_tail_writable(pool, copies) {
            return 0;
        }
        let end = self.num_computed + wanted;
        while self.block_table.len() < blocks_for(end)
            && let Some(block) = pool.take()
        {
            self.block_table.push(block);
        }
        let capacity = self.block_table.len() * BLOCK_TOKENS;
        capacity.min(end) - self.num_computed
    }

    /// Sees to it that nobody else has the block that the next token goes into, when that block
    /// holds computed tokens already. All or nothing: false when there is no block for a copy.
    ///
    /// It can be someone else's after a fork, or when a rollback ended inside a block that others
    /// found in the prefix cache.
    fn make_tail_writable(
        &mut self,
        pool: &mut BlockPool,
        copies: &mut Vec<(BlockId, BlockId)>,
    ) -> bool {
        let Some(tail) = self.partial_tail() else {
            return true;
        };
        if !pool.is_shared(tail) {
            pool.uncache(tail);
            return true;
        }
        let Some(copy) = pool.take_copy(tail) else {
            return false;
        };
        copies.push((tail, copy));
        self.block_table[self.num_computed / BLOCK_TOKENS] = copy;
        true
    }

    /// The block that is computed in part.
    fn partial_tail(&self) -> Option<BlockId> {
        let partial = !self.num_computed.is_multiple_of(BLOCK_TOKENS);
        partial.then(|| self.block_table[self.num_computed / BLOCK_TOKENS])
    }

    /// Whether its next token needs a copy of the block it goes into.
    pub(crate) fn needs_copy(&self, pool: &BlockPool) -> bool {
        self.partial_tail().is_some_and(|tail| pool.is_shared(tail))
    }

    /// The row that computes the next `num_tokens`, for which there must be room.
    pub(crate) fn start_row(&mut self, num_tokens: usize) -> Row {
        let start = self.num_computed;
        let end = start + num_tokens;
        self.in_flight = true;
        Row {
            sequence: self.id,
            epoch: self.epoch,
            tokens: self.tokens[start..end].to_vec(),
            start,
            block_table: self.block_table.clone(),
            samples: end == self.tokens.len(),
        }
    }

    /// Whether the result of a row still counts.
    pub(crate) fn awaits(&self, row: &Row) -> bool {
        self.in_flight && self.epoch == row.epoch
    }

    /// The row in flight is done: counts its tokens, and offers the blocks it filled to others.
    pub(crate) fn finish_row(&mut self, num_tokens: usize, pool: &mut BlockPool) {
        let first_filled = self.num_computed / BLOCK_TOKENS;
        self.in_flight = false;
        self.num_computed += num_tokens;
        let end = self.num_computed / BLOCK_TOKENS;
        self.hash_blocks(end);
        for index in first_filled..end {
            pool.cache(self.block_table[index], self.block_hashes[index]);
        }
    }

    /// Appends a drawn token. A sequence that has reached its length holds itself.
    pub(crate) fn push(&mut self, token: TokenId) {
        self.tokens.push(token);
        self.held |= self.is_full();
    }

    /// Forgets what comes after the first `num_tokens`; what is in flight is void.
    pub(crate) fn truncate(&mut self, num_tokens: usize, epoch: u64, pool: &mut BlockPool) {
        self.tokens.truncate(num_tokens);
        self.block_hashes.truncate(self.tokens.len() / BLOCK_TOKENS);
        self.num_computed = self.num_computed.min(self.tokens.len() - 1);
        self.held = self.is_full();
        self.void_row(epoch, pool);
    }

    /// Begins a new epoch: the row in flight, if any, no longer counts, and blocks that were to
    /// hold it alone are given back.
    pub(crate) fn void_row(&mut self, epoch: u64, pool: &mut BlockPool) {
        self.epoch = epoch;
        self.in_flight = false;
        self.release_blocks(blocks_for(self.num_computed), pool);
    }

    /// Gives back all blocks: everything will be computed anew.
    pub(crate) fn reset(&mut self, epoch: u64, pool: &mut BlockPool) {
        self.num_computed = 0;
        self.void_row(epoch, pool);
    }

    /// Gives back the blocks from index `keep` on, the last one first: who evicts the oldest then
    /// evicts the ends of chains, and what is left of a chain can still be found.
    fn release_blocks(&mut self, keep: usize, pool: &mut BlockPool) {
        while self.block_table.len() > keep
            && let Some(block) = self.block_table.pop()
        {
            pool.release(block);
        }
    }

    /// Cached blocks to begin with. At least the last token is left to compute.
    pub(crate) fn match_prefix(&mut self, pool: &BlockPool) -> Vec<BlockId> {
        let num_blocks = (self.tokens.len() - 1) / BLOCK_TOKENS;
        self.hash_blocks(num_blocks);
        pool.longest_match(&self.block_hashes[..num_blocks])
    }

    /// Begins with blocks that are computed already, with a reference of its own to each.
    pub(crate) fn share(&mut self, blocks: &[BlockId], num_computed: usize, pool: &mut BlockPool) {
        blocks.iter().for_each(|&block| pool.retain(block));
        self.block_table = blocks.to_vec();
        self.num_computed = num_computed;
    }

    fn hash_blocks(&mut self, num_blocks: usize) {
        for index in self.block_hashes.len()..num_blocks {
            let tokens = &self.tokens[index * BLOCK_TOKENS..(index + 1) * BLOCK_TOKENS];
            let parent = self.block_hashes.last().copied();
            let parent = parent.unwrap_or_else(|| BlockHash::root(self.tenant));
            self.block_hashes.push(parent.child(tokens));
        }
    }

    fn is_full(&self) -> bool {
        self.tokens.len() >= self.max_len
    }
}

/// Blocks that hold `num_tokens`.
pub(crate) fn blocks_for(num_tokens: usize) -> usize {
    num_tokens.div_ceil(BLOCK_TOKENS)
}

/// The live sequences. Indexing is for ids from the scheduler's own lists.
#[derive(Debug, Default)]
pub(crate) struct Sequences(pub(crate) HashMap<SequenceId, Sequence>);

impl Index<SequenceId> for Sequences {
    type Output = Sequence;

    fn index(&self, id: SequenceId) -> &Sequence {
        &self.0[&id]
    }
}

impl IndexMut<SequenceId> for Sequences {
    fn index_mut(&mut self, id: SequenceId) -> &mut Sequence {
        self.0
            .get_mut(&id)
            .expect("queue, batch and forks list live sequences only")
    }
}
