//! Where a log is kept.

use async_trait::async_trait;
use thiserror::Error;
use tlog_tiles::tlog::Hash;

use crate::{Batch, Head, LeafRef, Timestamp};

/// Keeps one log.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// Where the log ends.
    async fn tail(&self) -> Result<LogTail, StorageError>;

    /// Adds a batch, all of it or nothing. What was added is durable when this returns.
    async fn append(&self, batch: &Batch) -> Result<(), StorageError>;

    /// Writes something that says nothing, to find out whether an append would be durable.
    async fn check_writable(&self) -> Result<(), StorageError>;

    /// Calls that began and have not ended, in the order in which they began.
    async fn open_calls(&self) -> Result<Vec<OpenCall>, StorageError>;

    /// Calls that the log has of a key; `None` is the callers without one.
    async fn calls_of(&self, key_id_hash: Option<&str>) -> Result<u64, StorageError>;
}

/// Where a log ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogTail {
    /// Who writes it; `None` if nobody has yet.
    pub replica: Option<String>,
    /// Entries.
    pub size: u64,
    /// Roots of the whole subtrees, the largest first.
    pub edge: Vec<Hash>,
    /// When the last entry was made.
    pub last_at: Timestamp,
    /// The checkpoint of the last batch, as it was signed.
    pub checkpoint: Option<String>,
}

/// A call that began and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCall {
    /// What both its entries say.
    pub head: Head,
    /// The entry with which it began.
    pub opened: LeafRef,
}

/// The storage does not do what it should. Shown, it says all that is known, for the operator.
#[derive(Debug, Error)]
#[error("{reason}")]
pub struct StorageError {
    reason: Box<dyn std::error::Error + Send + Sync>,
    in_short: String,
}

impl StorageError {
    /// With any reason, of which callers learn nothing.
    pub fn new(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::told_as("the server's log says why", reason)
    }

    /// With what callers may learn, who need not know where things are on this machine.
    pub fn told_as(
        in_short: impl Into<String>,
        reason: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            reason: reason.into(),
            in_short: in_short.into(),
        }
    }

    /// What callers may learn.
    #[must_use]
    pub fn in_short(&self) -> &str {
        &self.in_short
    }
}
