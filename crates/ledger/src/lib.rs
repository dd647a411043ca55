//! Admissibility records: what was said to the model and what left, under which rules, signed and
//! in a log that cannot be changed without being seen.
//!
//! A call has two entries, [`Opened`] before its first released byte and [`Closed`] after its last.
//! Each is an in-toto statement in a DSSE envelope, signed by the record key, and a leaf of a Merkle
//! tree (RFC 6962) whose size and root the log key signs: a [`SignedCheckpoint`]. Whoever keeps a
//! checkpoint can prove later that nothing before it was changed, left out or put in between.
//!
//! Where to read on: `entry` is what a record says, `statement` how it is signed, `tree` and
//! `checkpoint` the log, `tiles` how the log is laid out (C2SP tlog-tiles), `recorder` how calls get
//! their records in time, `verify` what an auditor's questions come to, `export` the folder that
//! answers them without a server.
//!
//! Sources: in-toto attestation v1 (<https://github.com/in-toto/attestation>), C2SP signed-note,
//! tlog-checkpoint and tlog-tiles (<https://c2sp.org>), RFC 6962 section 2.1.

mod checkpoint;
mod commitment;
mod entry;
mod export;
mod keys;
mod proof;
mod recorder;
mod staging;
mod statement;
mod store;
mod tiles;
mod time;
mod tree;
mod verify;

pub use checkpoint::{CheckpointError, LogSigner, LogVerifier, SignedCheckpoint};
pub use commitment::{Commitment, Salt, plain_digest};
pub use entry::{
    Action, Call, CallEnd, Checks, ChoiceEnd, Claim, Closed, Found, Head, LeafRef, Matched,
    ModelDigests, Opened, Outcome, RecordId, RefusedBy, Resampling, RuleSetUsed, SamplingUsed,
    Side, Started, TokenCounts,
};
pub use export::{
    CHECKPOINT_BYTES_MAX, Export, ExportError, ExportWriter, RULESET_TYPE, read_text_bounded,
};
pub use keys::{KeyKind, RecordKeys};
pub use proof::{
    EntryProof, RecordProof, consistency, inclusion, indexes_for_consistency, indexes_for_inclusion,
};
pub use recorder::{
    Closing, NewCall, OpenRecord, Recorder, RecorderConfig, StartError, Unrecorded,
};
pub use staging::{Appended, Batch, LogEvent};
pub use statement::{Predicate, STATEMENT_TYPE, Statement, StatementError, peek, seal, unseal};
pub use store::{LogStore, LogTail, OpenCall, StorageError};
pub use tiles::{BUNDLE_MAX, ENTRY_MAX_BYTES, TilePath, bundle, split_bundle};
pub use time::Timestamp;
pub use tlog_tiles::tlog::Hash;
pub use tree::Tree;
pub use verify::{
    Audit, FAULTS_LISTED_MAX, Fault, KeyUse, LogReport, RecordReport, Remark, RuleSetCount,
    TrustedKeys, verify_consistency, verify_log, verify_record,
};
