//! Which sequence gets how much of the next step, and which KV blocks hold it: pure.
//!
//! There is no prefill phase and no decode phase. A [`Sequence`] has tokens, and a counter of how
//! many of them are computed; a step gives each sequence some of the token budget so that the
//! counter catches up. Chunked prefill, prefix cache, rollback, fork and preemption are all that
//! one rule: they only move the counter.
//!
//! The caller's loop, once a step:
//!
//! 1. [`Scheduler::schedule`] plans the step; the runner does the copies, then computes the rows.
//! 2. While it runs, verdicts on the step before arrive: [`truncate`](Scheduler::truncate),
//!    [`hold`](Scheduler::hold), [`fork`](Scheduler::fork), [`remove`](Scheduler::remove).
//! 3. [`Scheduler::advance`] takes the result of each row, unless it has become
//!    [`Advance::Stale`] meanwhile.
//!
//! # Invariants
//!
//! - Every block is either free, or cached without a reference, or referenced.
//! - A row writes only into blocks that nobody else references and that the prefix cache does not
//!   offer; see [`SchedulerOutput::block_copies`].
//! - Between a sequence's rows its block table covers exactly the positions that are computed.
//!   What a void row has written lies beyond them, so nothing reads it.
//! - A sequence whose row is in flight is not scheduled again before that row is advanced or void.
//! - The first sequence in the order (class, then arrival) that is not held gets on at every step,
//!   unless held ones before it have the blocks: everything behind it can be preempted for it, and
//!   [`Scheduler::add`] has refused what could not run alone. Waiting raises the class for good, so
//!   every sequence becomes the first.
//!
//! Deliberately absent: clocks (steps are the time), randomness, I/O, tensors, async. Nothing here
//! depends on the iteration order of a hash map.

mod block_pool;
mod error;
mod output;
mod planning;
mod prefix_cache;
mod queue;
mod scheduler;
mod sequence;

pub use block_pool::BlockId;
pub use error::{AddError, ForkError};
pub use output::{Advance, Row, SchedulerOutput, SchedulerStats};
pub use scheduler::{NewSequence, Scheduler, SchedulerConfig};
pub use sequence::Sequence;

/// Tokens that one block holds the keys and values of.
pub const BLOCK_TOKENS: usize = 32;
