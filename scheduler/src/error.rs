//! Why a sequence is not taken.

use portcullis_types::SequenceId;

/// A new sequence that is refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// Nothing to compute, so nothing to draw from.
    #[error("the sequence has no tokens: give it at least one, such as the begin token")]
    Empty,
    /// Its tokens leave nothing to generate.
    #[error("{len} tokens leave nothing to generate within {max_len}: raise max_len above {len}")]
    NothingToGenerate {
        /// Tokens it has.
        len: usize,
        /// Tokens it may reach.
        max_len: usize,
    },
    /// Longer than the model allows.
    #[error(
        "it may grow to {len} tokens, the model takes {max}: shorten the prompt or lower max_tokens"
    )]
    TooLong {
        /// Tokens it may reach.
        len: usize,
        /// Tokens a sequence may reach here.
        max: usize,
    },
    /// Longer than the whole KV cache, so that it could not finish even alone.
    #[error(
        "it may need {needed} KV blocks and there are {total}: give the KV cache more memory or lower max_tokens"
    )]
    NeedsMoreBlocks {
        /// Blocks it may need at its longest.
        needed: usize,
        /// Blocks there are.
        total: usize,
    },
    /// Another live sequence has this id.
    #[error("there is a sequence {} already: ids are never reused", .0.0)]
    Duplicate(SequenceId),
}

/// A fork that is refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForkError {
    /// The parent has ended, or never was.
    #[error("there is no sequence {} to fork from: fork before it is removed", .0.0)]
    UnknownParent(SequenceId),
    /// The child would begin with tokens that the parent does not have.
    #[error("the fork keeps {num_tokens} tokens and the parent has {parent_len}")]
    BeyondParent {
        /// Tokens that the child would begin with.
        num_tokens: usize,
        /// Tokens that the parent has.
        parent_len: usize,
    },
    /// The child would be refused as a new sequence as well.
    #[error(transparent)]
    Child(#[from] AddError),
}
