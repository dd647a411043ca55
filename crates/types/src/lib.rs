//! What every layer shares: ids, sampling parameters, samples and results.
//!
//! Plain data without behaviour that could differ between layers: no clock, no randomness, no I/O.

mod sampling;
mod sequence;
mod token_set;

pub use sampling::{
    History, PromptScore, Sample, SamplingParams, StopParams, TokenLogprob, TokenMask,
    derive_choice_seed,
};
pub use sequence::{FinishReason, Priority, SequenceId, Tenant, TokenId, Usage};
pub use token_set::{TokenBitSet, TokenBytes};
