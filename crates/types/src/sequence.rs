//! Identity and end of a sequence.

use serde::{Deserialize, Serialize};

/// An index into the vocabulary of the model.
pub type TokenId = u32;

/// One sequence in the engine: a choice of a call. Never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Who a call belongs to, as far as caches are concerned: the salt of the prefix cache, so that
/// one tenant cannot learn from timing what another has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tenant(pub [u8; 32]);

/// How urgent a call is. Within a class, first come, first served; a class that waits too long
/// ages into the next, so that nothing starves.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Nobody waits at a screen.
    Batch,
    /// The default.
    #[default]
    Standard,
    /// Somebody speaks with it.
    Realtime,
}

/// Why a choice ended, in the words of the OpenAI wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its answer, or a stop string or stop token was met.
    Stop,
    /// `max_tokens` or the context length was reached.
    Length,
    /// The gate refused what came next.
    ContentFilter,
}

/// What a call cost, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Of these, how many came from the prefix cache.
    pub cached_tokens: u64,
    /// Tokens generated and kept.
    pub completion_tokens: u64,
    /// Tokens generated and thrown away, because the gate refused what they would have said.
    pub discarded_tokens: u64,
}
