//! The two keys of a server: one for records, one for the log.

use portcullis_sign::SecretKey;
use serde::Serialize;

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// Entries.
    Record,
    /// Checkpoints.
    Log,
}

impl KeyKind {
    /// The word in file names, on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Log => "log",
        }
    }
}

/// The keys that sign from now on.
#[derive(Debug)]
pub struct RecordKeys {
    /// Signs entries.
    pub record: SecretKey,
    /// Signs checkpoints.
    pub log: SecretKey,
}
