//! What the rest of the process may see of the engine: counters, published once a step.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

macro_rules! status {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {
        /// A snapshot of the engine's counters. `_total` only ever grows.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct EngineStatus { $($(#[$doc])* pub $field: u64,)* }

        /// The cells behind [`EngineStatus`]: written by the engine thread, read by anyone.
        #[derive(Debug, Default)]
        pub(crate) struct StatusCells { $($field: AtomicU64,)* pub(crate) queue: AtomicUsize }

        impl StatusCells {
            pub(crate) fn publish(&self, status: &EngineStatus) {
                $(self.$field.store(status.$field, Ordering::Relaxed);)*
            }

            pub(crate) fn snapshot(&self) -> EngineStatus {
                EngineStatus { $($field: self.$field.load(Ordering::Relaxed),)* }
            }
        }
    };
}

status! {
    /// Steps of the loop: it advances while there is work, or something is wrong.
    steps_total,
    /// Sequences that hold blocks.
    running,
    /// Calls that wait for their first step.
    waiting,
    /// Blocks of the KV cache.
    blocks_total,
    /// Blocks that sequences hold.
    blocks_used,
    /// Prompt tokens of calls that have begun.
    prompt_tokens_total,
    /// Tokens that were released, also of calls that still run.
    generation_tokens_total,
    /// Tokens that were drawn and thrown away after a refusal.
    discarded_tokens_total,
    /// Tokens computed by the model, prompts included.
    computed_tokens_total,
    /// Prompt tokens looked up in the prefix cache.
    cache_queries_total,
    /// Prompt tokens found there.
    cache_hits_total,
    /// Sequences set back to make room.
    preemptions_total,
    /// Times that the gate looked at a sequence.
    gate_evaluations_total,
    /// Rollbacks.
    gate_attempts_total,
    /// Choices that the gate refused.
    gate_refusals_total,
    /// Time spent in the gate.
    gate_us_total,
    /// Choices that ended on their own or at a stop string.
    finished_stop_total,
    /// Choices that ended by length.
    finished_length_total,
    /// Choices that the gate ended.
    finished_content_filter_total,
    /// Choices that their reader cancelled, most often by going away.
    cancelled_total,
    /// Choices that failed.
    failed_total,
}
