//! What can be wrong with a log, in words for people.

use portcullis_sign::{KeyId, VerifyError};
use serde::Serialize;
use thiserror::Error;

use crate::{LeafRef, RecordId, Timestamp};

/// Faults that are listed; further ones are counted.
pub const FAULTS_LISTED_MAX: usize = 100;

/// Something that is wrong with a log, and what it means. Entries are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// The checkpoint is not one that a trusted key has signed.
    #[error("{which}: {reason}; nothing vouches for the size and the root of the log")]
    Checkpoint {
        /// Which checkpoint, where there are several.
        which: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The checkpoint is that of something else.
    #[error("the checkpoint is of {origin:?}, which is not the log of a replica (portcullis/…)")]
    Origin {
        /// What the checkpoint says.
        origin: String,
    },
    /// The log key is not the one that the log names.
    #[error(
        "the checkpoint is not signed by the key that the log announced for it ({announced}): \
         somebody else closed this log off"
    )]
    LogKeyNotAnnounced {
        /// The key of the last `started` entry, as C2SP signed-note writes it.
        announced: String,
    },
    /// Entries are missing at the end.
    #[error(
        "the checkpoint is of {signed} entries and there are {found}: the log was cut off at its \
         end, or the checkpoint is of a later time"
    )]
    Truncated {
        /// Entries, says the checkpoint.
        signed: u64,
        /// Entries that are there.
        found: u64,
    },
    /// Entries that no checkpoint vouches for.
    #[error(
        "the checkpoint is of {signed} entries and there are {found}: nothing vouches for those \
         after it. They were added, or the checkpoint was replaced by an older one"
    )]
    Uncovered {
        /// Entries, says the checkpoint.
        signed: u64,
        /// Entries that are there.
        found: u64,
    },
    /// The tree is not the one that was signed.
    #[error(
        "the first {size} entries do not have the root that the checkpoint signs: an entry was \
         changed, left out, added or moved since"
    )]
    Root {
        /// Entries, says the checkpoint.
        size: u64,
    },
    /// Reading stopped.
    #[error("{what} cannot be read: {reason}")]
    Unreadable {
        /// An entry or a file.
        what: String,
        /// Why.
        reason: String,
    },
    /// Bytes that are no entry.
    #[error("entry {entry} is no record: {reason}")]
    Malformed {
        /// Which entry.
        entry: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// An envelope that is written otherwise than records are.
    #[error(
        "entry {entry} is not written as records are (one line of JSON without spaces, no other \
         fields): it was rewritten"
    )]
    Form {
        /// Which entry.
        entry: u64,
    },
    /// The signature is not of these bytes.
    #[error(
        "entry {entry}: the signature of key {key} does not match: the entry was changed after it \
         was signed"
    )]
    Signature {
        /// Which entry.
        entry: u64,
        /// The key that is said to have signed.
        key: String,
    },
    /// Signed by somebody, not by a key that is trusted.
    #[error("entry {entry} is not signed by a trusted record key; it names {named}")]
    Untrusted {
        /// Which entry.
        entry: u64,
        /// The key that it names.
        named: String,
    },
    /// The statement is about something else than its predicate.
    #[error("entry {entry}: the statement's subjects are not what its predicate is about")]
    Subject {
        /// Which entry.
        entry: u64,
    },
    /// From another log.
    #[error("entry {entry} is of replica {said:?}, and the log is of {of:?}: it is from elsewhere")]
    Replica {
        /// Which entry.
        entry: u64,
        /// What the entry says.
        said: String,
        /// What the checkpoint says.
        of: String,
    },
    /// Earlier than the entry before it.
    #[error("entry {entry} says {at}, and the one before it {before}: time went back")]
    TimeWentBack {
        /// Which entry.
        entry: u64,
        /// Its time.
        at: Timestamp,
        /// That of the entry before it.
        before: Timestamp,
    },
    /// Entries before any server began to write.
    #[error("the log does not begin with a `started` entry: its beginning is missing")]
    NoStart,
    /// Signed by a key that is trusted, but not here.
    #[error(
        "entry {entry} is signed by {signed}, and here the log announced record key {announced}: \
         somebody with another key wrote it"
    )]
    KeyNotAnnounced {
        /// Which entry.
        entry: u64,
        /// The key of the `started` entry.
        announced: String,
        /// The key that signed.
        signed: String,
    },
    /// A call that is said to have crashed while the server ran.
    #[error(
        "entry {entry} closes record {record} as crashed, and no server started after it: only a \
         start may say so"
    )]
    CrashWithoutStart {
        /// Which entry.
        entry: u64,
        /// Which record.
        record: RecordId,
    },
    /// Calls of a key that are not there.
    #[error(
        "entry {entry}, record {record}: call {seq} of {caller}, and the next one had to be call \
         {wanted}: calls before it are missing"
    )]
    SeqGap {
        /// Which entry.
        entry: u64,
        /// Which record.
        record: RecordId,
        /// Whose calls.
        caller: String,
        /// What the entry says.
        seq: u64,
        /// What had to come.
        wanted: u64,
    },
    /// A call of a key that was there before.
    #[error(
        "entry {entry}, record {record}: call {seq} of {caller} was there before (the next one had \
         to be call {wanted}): the entry is repeated, or was moved"
    )]
    SeqRepeated {
        /// Which entry.
        entry: u64,
        /// Which record.
        record: RecordId,
        /// Whose calls.
        caller: String,
        /// What the entry says.
        seq: u64,
        /// What had to come.
        wanted: u64,
    },
    /// Two calls of one name.
    #[error("entry {entry} opens record {record}, which has been open since entry {opened}")]
    RecordIdTaken {
        /// Which entry.
        entry: u64,
        /// Which record.
        record: RecordId,
        /// The entry that opened it first.
        opened: u64,
    },
    /// The end of a call without its beginning.
    #[error(
        "entry {entry} closes record {record}, which was never opened: its beginning is missing"
    )]
    NeverOpened {
        /// Which entry.
        entry: u64,
        /// Which record.
        record: RecordId,
    },
    /// The second end of a call.
    #[error("entry {entry} closes record {record}, which is closed: two ends of one call")]
    ClosedTwice {
        /// Which entry.
        entry: u64,
        /// Which record.
        record: RecordId,
    },
    /// The end of a call points to another beginning.
    #[error(
        "entry {entry} closes record {record} as opened by entry {} with leaf hash {}, and it was \
         entry {} with {}: its beginning was changed or moved",
        said.index, said.leaf_hash, is.index, is.leaf_hash
    )]
    WrongReference {
        /// Which entry.
        entry: u64,
        /// Which record.
        record: RecordId,
        /// What the entry says.
        said: LeafRef,
        /// What the log says.
        is: LeafRef,
    },
    /// The two entries of a call disagree about whose it is.
    #[error(
        "entry {entry} closes record {record} with another replica, key or number than entry \
         {opened} opened it with"
    )]
    HeadDiffers {
        /// Which entry.
        entry: u64,
        /// Which record.
        record: RecordId,
        /// The entry that opened it.
        opened: u64,
    },
    /// A call without an end.
    #[error(
        "record {record} of entry {opened} was not closed before the next server started (entry \
         {started}): its end is missing"
    )]
    LeftOpen {
        /// Which record.
        record: RecordId,
        /// The entry that opened it.
        opened: u64,
        /// The `started` entry.
        started: u64,
    },
    /// A checkpoint of another log.
    #[error("the older checkpoint is of {old:?}, the newer of {new:?}: these are two logs")]
    OtherLog {
        /// Origin of the older one.
        old: String,
        /// Origin of the newer one.
        new: String,
    },
    /// A log that had more entries before.
    #[error(
        "the log had {old} entries when the older checkpoint was kept, and has {new} now: entries \
         were taken away"
    )]
    Shrunken {
        /// Entries of the older checkpoint.
        old: u64,
        /// Entries of the newer one.
        new: u64,
    },
    /// A log that was rewritten.
    #[error(
        "the log does not begin with the {old} entries that it had when the older checkpoint was \
         kept: it was rewritten"
    )]
    Fork {
        /// Entries of the older checkpoint.
        old: u64,
    },
    /// An entry that the log does not have.
    #[error(
        "entry {entry} is not in the log of the checkpoint: it was changed, or was never there"
    )]
    NotIncluded {
        /// Which entry.
        entry: u64,
    },
    /// A proof of one record with an entry of another.
    #[error("entry {entry} is not the {wanted} of record {record}")]
    WrongEntry {
        /// Which entry.
        entry: u64,
        /// Which record.
        record: RecordId,
        /// `opened` or `closed`.
        wanted: &'static str,
    },
    /// A tile or a bundle that is not made of the entries.
    #[error(
        "{path} does not agree with entries.jsonl, first at entry {entry}: one of the two was \
         changed; the one that leads to the signed root is right"
    )]
    TileDiffers {
        /// Which file.
        path: String,
        /// The first entry that differs.
        entry: u64,
    },
    /// Another rule set than the records name.
    #[error(
        "the exported rule set {name}@{version} has digest {exported}, and records say {recorded}: \
         these are not the rules that held"
    )]
    RuleSet {
        /// Its name.
        name: String,
        /// Its version.
        version: u32,
        /// Digest of the file.
        exported: String,
        /// Digest in the records.
        recorded: String,
    },
    /// A signature that records speak of is not there, or does not match.
    #[error(
        "rule set {name}@{version} has no signature of key {signer} that matches, and records say \
         that this key signed it: its signatures were changed or taken out"
    )]
    RuleSetSignature {
        /// Name of the rule set.
        name: String,
        /// Its version.
        version: u32,
        /// Id of the key, say records.
        signer: String,
    },
    /// Signatures of something else.
    #[error("the envelope of rule set {name}@{version} does not hold the exported file")]
    RuleSetEnvelope {
        /// Its name.
        name: String,
        /// Its version.
        version: u32,
    },
}

impl Fault {
    pub(super) fn signature(entry: u64, error: &VerifyError, named: Option<&str>) -> Self {
        let named = || named.map_or_else(|| "none".to_owned(), ToOwned::to_owned);
        match error {
            VerifyError::Mismatch(key) => Self::Signature {
                entry,
                key: key.to_string(),
            },
            VerifyError::Untrusted => Self::Untrusted {
                entry,
                named: named(),
            },
            other => Self::Malformed {
                entry,
                reason: other.to_string(),
            },
        }
    }

    pub(super) fn key(entry: u64, announced: &str, signed: &KeyId) -> Self {
        Self::KeyNotAnnounced {
            entry,
            announced: announced.to_owned(),
            signed: signed.to_string(),
        }
    }
}

/// The first faults, and how many more there were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) listed: Vec<Fault>,
    pub(crate) unlisted: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        match self.listed.len() < FAULTS_LISTED_MAX {
            true => self.listed.push(fault),
            false => self.unlisted += 1,
        }
    }

    /// What `found` says is wrong, if it does.
    pub(crate) fn ok<T>(&mut self, found: Result<T, Fault>) -> Option<T> {
        found.map_err(|fault| self.add(fault)).ok()
    }
}
