//! The scheduler: sequences come, advance, roll back, fork and go.
//!
//! How a step is planned is in `planning`.

use portcullis_types::{Priority, SequenceId, Tenant, TokenId};

use crate::block_pool::BlockPool;
use crate::queue::{Queue, Rank, Standing};
use crate::sequence::{Sequence, Sequences, blocks_for};
use crate::{AddError, Advance, BlockId, ForkError, Row, SchedulerOutput, SchedulerStats};

/// Limits of a [`Scheduler`]. All at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Blocks of [`BLOCK_TOKENS`](crate::BLOCK_TOKENS) tokens in the KV cache.
    pub num_blocks: u32,
    /// Tokens that one step computes at most.
    pub max_batched_tokens: usize,
    /// Sequences in the batch at most; never more than `max_batched_tokens`, so that each gets
    /// at least one token a step.
    pub max_num_seqs: usize,
    /// Tokens of one sequence at most, prompt and completion together.
    pub max_model_len: usize,
    /// A waiting sequence rises a class after so many steps.
    pub ageing_steps: u64,
}

/// A sequence to schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSequence {
    /// Its identity, not in use by another one.
    pub id: SequenceId,
    /// The prompt, at least one token.
    pub tokens: Vec<TokenId>,
    /// How urgent it is.
    pub priority: Priority,
    /// Whose prefix cache it uses.
    pub tenant: Tenant,
    /// Prompt + max_tokens: the longest it can become. It is held when it gets there.
    pub max_len: usize,
}

/// Decides what each step computes, and owns the block tables.
///
/// How many sequences wait is not bounded here: whoever takes requests bounds it.
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) config: SchedulerConfig,
    pub(crate) sequences: Sequences,
    pub(crate) pool: BlockPool,
    pub(crate) waiting: Queue,
    /// The batch, the highest rank first. At most `max_num_seqs`.
    pub(crate) running: Vec<Rank>,
    /// Sequences that hold blocks without being in the batch, the latest last: only forks do.
    pub(crate) waiting_forks: Vec<SequenceId>,
    pub(crate) step: u64,
    arrivals: u64,
    epochs: u64,
    /// Its counters count; the rest is filled in when asked for.
    pub(crate) counters: SchedulerStats,
}

impl Scheduler {
    /// An empty scheduler.
    ///
    /// # Panics
    ///
    /// When a limit is 0.
    pub fn new(config: SchedulerConfig) -> Self {
        assert!(config.num_blocks > 0, "num_blocks must be at least 1");
        assert!(
            config.max_batched_tokens > 0,
            "max_batched_tokens must be at least 1"
        );
        assert!(config.max_num_seqs > 0, "max_num_seqs must be at least 1");
        assert!(config.max_model_len > 0, "max_model_len must be at least 1");
        assert!(config.ageing_steps > 0, "ageing_steps must be at least 1");
        Self {
            config: SchedulerConfig {
                max_num_seqs: config.max_num_seqs.min(config.max_batched_tokens),
                ..config
            },
            sequences: Sequences::default(),
            pool: BlockPool::new(config.num_blocks),
            waiting: Queue::new(config.ageing_steps),
            running: Vec::new(),
            waiting_forks: Vec::new(),
            step: 0,
            arrivals: 0,
            epochs: 0,
            counters: SchedulerStats::default(),
        }
    }

    /// Takes a sequence. It waits until a step has room for it.
    ///
    /// # Errors
    ///
    /// A sequence that could not run to its end even alone is refused.
    pub fn add(&mut self, new: NewSequence) -> Result<(), AddError> {
        self.check_new(new.id, new.tokens.len(), new.max_len)?;
        self.arrivals += 1;
        let standing = Standing {
            class: new.priority,
            arrival: self.arrivals,
            steps_to_rise: self.config.ageing_steps,
        };
        self.insert_waiting(new, standing);
        Ok(())
    }

    /// Plans the next step.
    ///
    /// Every sequence of the batch gets at least one token, and in order of rank as many as it
    /// needs and the budget allows; then waiting ones join while budget, places and blocks last.
    /// One whose row is in flight gets none.
    pub fn schedule(&mut self) -> SchedulerOutput {
        self.step += 1;
        self.waiting.age(self.step);
        self.plan_step()
    }

    /// After the step: the tokens of the row count as computed, and `sampled` is appended.
    ///
    /// A result counts only if nothing happened to the sequence since the row was scheduled:
    /// [`truncate`](Self::truncate), [`hold`](Self::hold), [`remove`](Self::remove) and preemption
    /// make it void. [`fork`](Self::fork) does not: the child shares what was computed before.
    ///
    /// # Panics
    ///
    /// Unless `sampled` is given exactly if `row.samples`.
    pub fn advance(&mut self, row: &Row, sampled: Option<TokenId>) -> Advance {
        assert_eq!(
            sampled.is_some(),
            row.samples,
            "a token is drawn exactly for the rows that sample"
        );
        let sequence = self.sequences.0.get_mut(&row.sequence);
        let Some(sequence) = sequence.filter(|sequence| sequence.awaits(row)) else {
            return Advance::Stale;
        };
        sequence.finish_row(row.tokens.len(), &mut self.pool);
        if let Some(token) = sampled {
            sequence.push(token);
        }
        Advance::Applied
    }

    /// Rolls back to the first `num_tokens` tokens; all of them if there are fewer.
    ///
    /// The last kept token is computed anew, since its logits are needed again; what comes before
    /// stays computed. Blocks beyond are freed, a row in flight is void, and a held sequence runs
    /// again. False when there is no such sequence.
    ///
    /// # Panics
    ///
    /// When `num_tokens` is 0.
    pub fn truncate(&mut self, id: SequenceId, num_tokens: usize) -> bool {
        assert!(num_tokens > 0, "a sequence keeps at least one token");
        let epoch = self.next_epoch();
        let Some(sequence) = self.sequences.0.get_mut(&id) else {
            return false;
        };
        let was_held = sequence.held;
        sequence.truncate(num_tokens, epoch, &mut self.pool);
        if was_held && !sequence.held && !sequence.running {
            self.waiting.push(id, sequence.standing, self.step);
        }
        true
    }

    /// The runner had no memory for a step: steps become half as large from here on, and the batch
    /// is computed anew within that, since it is not known what the step still wrote.
    ///
    /// Returns the tokens that a step may have now; `None`, and nothing is changed, if this one had
    /// a single token: no smaller step can be planned.
    pub fn give_way(&mut self, plan: &SchedulerOutput) -> Option<usize> {
        let tokens = plan.num_tokens();
        if tokens <= 1 {
            return None;
        }
        let max_batched_tokens = tokens / 2;
        self.config.max_batched_tokens = max_batched_tokens;
        self.config.max_num_seqs = self.config.max_num_seqs.min(max_batched_tokens);
        self.empty_batch();
        Some(max_batched_tokens)
    }

    /// Not scheduled until it is truncated or removed: its last token ended it, but the verdict is
    /// still out. A row in flight is void.
    ///
    /// It keeps its place in the batch and its blocks, but can be preempted like others. False
    /// when there is no such sequence.
    pub fn hold(&mut self, id: SequenceId) -> bool {
        let epoch = self.next_epoch();
        let Some(sequence) = self.sequences.0.get_mut(&id) else {
            return false;
        };
        sequence.void_row(epoch, &mut self.pool);
        sequence.held = true;
        if let Some(standing) = self.waiting.remove(id, self.step) {
            sequence.standing = standing;
        }
        true
    }

    /// A child that begins with the first `num_tokens` tokens of its parent, and may become
    /// `max_len` long.
    ///
    /// It shares the blocks of all that its parent has computed of these, save the last token,
    /// whose logits it needs itself. The block that both would write into is copied by whoever
    /// writes first. The child waits with the class and the arrival of its parent, so it is
    /// admitted next. The parent may be running, waiting, held, or in flight.
    ///
    /// # Errors
    ///
    /// When there is no such parent, it is shorter, or the child could not run alone.
    pub fn fork(
        &mut self,
        parent: SequenceId,
        child: SequenceId,
        num_tokens: usize,
        max_len: usize,
    ) -> Result<(), ForkError> {
        let source = self.sequences.0.get(&parent);
        let source = source.ok_or(ForkError::UnknownParent(parent))?;
        let parent_len = source.tokens.len();
        if num_tokens > parent_len {
            return Err(ForkError::BeyondParent {
                num_tokens,
                parent_len,
            });
        }
        self.check_new(child, num_tokens, max_len)?;
        let new = NewSequence {
            id: child,
            tokens: source.tokens[..num_tokens].to_vec(),
            priority: source.priority,
            tenant: source.tenant,
            max_len,
        };
        let num_computed = source.num_computed.min(num_tokens - 1);
        let shared = source.block_table[..blocks_for(num_computed)].to_vec();
        let standing = self.waiting.standing(parent, self.step);
        self.insert_waiting(new, standing.unwrap_or(source.standing));
        self.share_waiting(child, &shared, num_computed);
        Ok(())
    }

    /// Ends or cancels a sequence at any point: everything it holds is freed now, and a row in
    /// flight is void. False when there is no such sequence.
    pub fn remove(&mut self, id: SequenceId) -> bool {
        let epoch = self.next_epoch();
        let Some(mut sequence) = self.sequences.0.remove(&id) else {
            return false;
        };
        sequence.reset(epoch, &mut self.pool);
        self.waiting.remove(id, self.step);
        self.waiting_forks.retain(|&fork| fork != id);
        if sequence.running {
            self.leave_batch(sequence.rank());
        }
        true
    }

    /// A live sequence.
    pub fn sequence(&self, id: SequenceId) -> Option<&Sequence> {
        self.sequences.0.get(&id)
    }

    /// Where things stand.
    pub fn stats(&self) -> SchedulerStats {
        SchedulerStats {
            waiting: self.sequences.0.len() - self.running.len(),
            running: self.running.len(),
            blocks_total: self.pool.num_total(),
            blocks_used: self.pool.num_used(),
            blocks_cached: self.pool.num_cached(),
            blocks_free: self.pool.num_free(),
            ..self.counters
        }
    }

    /// Whether there is nothing to schedule until a sequence comes or is truncated: all that are
    /// there, if any, are held.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.iter().all(|rank| self.sequences[rank.id].held)
    }

    fn check_new(&self, id: SequenceId, len: usize, max_len: usize) -> Result<(), AddError> {
        if len == 0 {
            return Err(AddError::Empty);
        }
        if len >= max_len {
            return Err(AddError::NothingToGenerate { len, max_len });
        }
        let max = self.config.max_model_len;
        if max_len > max {
            return Err(AddError::TooLong { len: max_len, max });
        }
        // Nothing follows the last token, so it is never computed.
        let needed = blocks_for(max_len - 1);
        let total = self.pool.num_total();
        if needed > total {
            return Err(AddError::NeedsMoreBlocks { needed, total });
        }
        if self.sequences.0.contains_key(&id) {
            return Err(AddError::Duplicate(id));
        }
        Ok(())
    }

    fn insert_waiting(&mut self, new: NewSequence, standing: Standing) {
        let id = new.id;
        let epoch = self.next_epoch();
        let sequence = Sequence::new(new, standing, epoch);
        self.sequences.0.insert(id, sequence);
        self.waiting.push(id, standing, self.step);
    }

    fn share_waiting(&mut self, child: SequenceId, blocks: &[BlockId], num_computed: usize) {
        if blocks.is_empty() {
            return;
        }
        self.sequences[child].share(blocks, num_computed, &mut self.pool);
        self.waiting_forks.push(child);
    }

    pub(crate) fn leave_batch(&mut self, rank: Rank) {
        if let Ok(index) = self.running.binary_search(&rank) {
            self.running.remove(index);
        }
    }

    /// Epochs count for the whole scheduler, so that not even a reused id repeats one.
    pub(crate) fn next_epoch(&mut self) -> u64 {
        self.epochs += 1;
        self.epochs
    }
}
