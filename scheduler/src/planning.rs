//! How a step is planned: first the batch, in order of rank, then those that wait.
//!
//! Blocks go by rank. A sequence that cannot write a single token takes blocks from whoever ranks
//! behind it, so those that are planned already never change, and the first one always gets on.

use portcullis_types::SequenceId;

use crate::queue::Rank;
use crate::scheduler::Scheduler;
use crate::{BLOCK_TOKENS, BlockId, SchedulerOutput};

impl Scheduler {
    pub(crate) fn plan_step(&mut self) -> SchedulerOutput {
        let mut plan = Plan {
            budget: self.config.max_batched_tokens,
            output: SchedulerOutput {
                step: self.step,
                ..SchedulerOutput::default()
            },
        };
        self.plan_running(&mut plan);
        self.plan_waiting(&mut plan);
        self.pool.end_copies(&plan.output.block_copies);
        plan.output
    }

    /// Preempts every sequence of the batch.
    pub(crate) fn empty_batch(&mut self) {
        let mut preempted = Vec::new();
        while !self.running.is_empty() {
            self.preempt_last(&mut preempted);
        }
    }

    /// Rows for the batch. Each sequence leaves one token of the budget to each one behind it, so
    /// that a long prompt stalls nobody.
    fn plan_running(&mut self, plan: &mut Plan) {
        let schedulable = |rank: &&Rank| self.sequences[rank.id].is_schedulable();
        let mut behind = self.running.iter().filter(schedulable).count();
        let mut index = 0;
        while let Some(rank) = self.running.get(index) {
            let id = rank.id;
            index += 1;
            if !self.sequences[id].is_schedulable() {
                continue;
            }
            behind -= 1;
            self.plan_row(id, plan.budget - behind, plan);
        }
    }

    /// A row of at most `budget` tokens, taking blocks from others where it must. It takes its own
    /// in the end, and then it has no row.
    fn plan_row(&mut self, id: SequenceId, budget: usize, plan: &mut Plan) {
        let copies = &mut plan.output.block_copies;
        let mut room = self.make_room(id, budget, copies);
        while room == 0 {
            if !self.reclaim_fork(id) && self.preempt_last(&mut plan.output.preempted) == id {
                return;
            }
            room = self.make_room(id, budget, copies);
        }
        self.push_row(id, room, plan);
    }

    fn make_room(
        &mut self,
        id: SequenceId,
        budget: usize,
        copies: &mut Vec<(BlockId, BlockId)>,
    ) -> usize {
        let sequence = &mut self.sequences[id];
        let wanted = sequence.num_pending().min(budget);
        sequence.grow(wanted, &mut self.pool, copies)
    }

    fn push_row(&mut self, id: SequenceId, num_tokens: usize, plan: &mut Plan) {
        let row = self.sequences[id].start_row(num_tokens);
        plan.output.rows.push(row);
        plan.budget -= num_tokens;
        self.counters.computed_tokens += num_tokens as u64;
    }

    /// Takes the blocks of the latest fork that waits, other than `keep`, and says whether there
    /// was one. It costs less than a preemption: most of them are its parent's too, or are found
    /// again in the prefix cache.
    fn reclaim_fork(&mut self, keep: SequenceId) -> bool {
        let latest = self.waiting_forks.iter().rposition(|&fork| fork != keep);
        let Some(index) = latest else {
            return false;
        };
        let fork = self.waiting_forks.remove(index);
        let epoch = self.next_epoch();
        self.sequences[fork].reset(epoch, &mut self.pool);
        true
    }

    /// Takes the blocks and the place of the last in the batch. With its arrival it comes back
    /// ahead of whoever came later; if it is held, it waits outside of the queue.
    fn preempt_last(&mut self, preempted: &mut Vec<SequenceId>) -> SequenceId {
        let victim = self.running.pop();
        let id = victim.expect("who looks for a victim is in the batch").id;
        let epoch = self.next_epoch();
        let sequence = &mut self.sequences[id];
        sequence.reset(epoch, &mut self.pool);
        sequence.running = false;
        if !sequence.held {
            self.waiting.push(id, sequence.standing, self.step);
        }
        preempted.push(id);
        self.counters.preemptions += 1;
        id
    }

    /// Admits in order until one finds no room: nobody overtakes, so nobody starves.
    fn plan_waiting(&mut self, plan: &mut Plan) {
        while plan.budget > 0
            && self.running.len() < self.config.max_num_seqs
            && let Some(id) = self.waiting.first()
            && self.admit(id)
        {
            let room = self.make_room(id, plan.budget, &mut plan.output.block_copies);
            assert!(
                room > 0,
                "a sequence is admitted only if there are blocks for it"
            );
            self.push_row(id, room, plan);
        }
    }

    /// Moves a waiting sequence into the batch if there are blocks for all of its tokens: who
    /// starts should not be preempted before it is done with its prompt.
    ///
    /// The batch itself lacks no block at this point: as long as any of it does, it has used up
    /// either the budget or the blocks.
    fn admit(&mut self, id: SequenceId) -> bool {
        let cached = self.cached_prefix(id);
        while !self.has_room_for(id, &cached) {
            // With nobody in the batch, only forks that wait can have the blocks.
            if !self.running.is_empty() || !self.reclaim_fork(id) {
                return false;
            }
        }
        self.use_cached_prefix(id, &cached);
        self.enter_batch(id);
        true
    }

    /// Blocks of the prefix cache to begin with. A fork has its parent's instead.
    fn cached_prefix(&mut self, id: SequenceId) -> Vec<BlockId> {
        let sequence = &mut self.sequences[id];
        if sequence.block_table.is_empty() {
            sequence.match_prefix(&self.pool)
        } else {
            Vec::new()
        }
    }

    fn has_room_for(&self, id: SequenceId, cached: &[BlockId]) -> bool {
        let sequence = &self.sequences[id];
        let copies = usize::from(sequence.needs_copy(&self.pool));
        let lacking = sequence.num_lacking_blocks() - cached.len() + copies;
        let unreferenced = |block: &&BlockId| !self.pool.is_referenced(**block);
        let revived = cached.iter().filter(unreferenced).count();
        lacking + revived <= self.pool.num_available()
    }

    fn use_cached_prefix(&mut self, id: SequenceId, cached: &[BlockId]) {
        let sequence = &mut self.sequences[id];
        let num_hits = cached.len() * BLOCK_TOKENS;
        if sequence.block_table.is_empty() {
            sequence.share(cached, num_hits, &mut self.pool);
            self.counters.cache_queried_tokens += sequence.tokens.len() as u64;
            self.counters.cache_hit_tokens += num_hits as u64;
        }
        sequence.num_cached.get_or_insert(num_hits);
    }

    fn enter_batch(&mut self, id: SequenceId) {
        let standing = self.waiting.remove(id, self.step);
        let sequence = &mut self.sequences[id];
        sequence.standing = standing.expect("only waiting sequences are admitted");
        sequence.running = true;
        let rank = sequence.rank();
        let index = self.running.partition_point(|other| *other < rank);
        self.running.insert(index, rank);
        self.waiting_forks.retain(|&fork| fork != id);
    }
}

struct Plan {
    /// Tokens that the step can still take.
    budget: usize,
    output: SchedulerOutput,
}
