//! What can go wrong, grouped by who can mend it.

use std::io;

use thiserror::Error;

use crate::{BindingTarget, KeyId, RuleSetName, RuleSetState, SignerId, SignerName};

/// Why the store did not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What the caller named is not there.
    #[error(transparent)]
    NotFound(#[from] Missing),

    /// The version is there, with other bytes.
    #[error(
        "rule set {name} has a version {version} already, with other content \
         ({stored_digest}, not {given_digest}); a version never changes: raise it, \
         the newest is {newest}"
    )]
    VersionExists {
        /// The rule set.
        name: RuleSetName,
        /// The version that was put.
        version: u32,
        /// The newest version there is.
        newest: u32,
        /// What the version holds.
        stored_digest: String,
        /// What was put.
        given_digest: String,
    },

    /// Only a version that was activated can hold.
    #[error(
        "{ruleset}@{version} is {state}, and only a version that was activated can hold: \
         activate it first, or bind it to be observed"
    )]
    NotActivated {
        /// The rule set.
        ruleset: RuleSetName,
        /// The version.
        version: u32,
        /// Its state.
        state: RuleSetState,
    },

    /// A retired version has no way back.
    #[error("{ruleset}@{version} is retired; register its rules as a new version")]
    Retired {
        /// The rule set.
        ruleset: RuleSetName,
        /// The version.
        version: u32,
    },

    /// A version that is bound cannot be retired.
    #[error(
        "{ruleset}@{version} is bound to {targets}; bind another version there or unbind it, then \
         retire it", targets = listed(.targets)
    )]
    Bound {
        /// The rule set.
        ruleset: RuleSetName,
        /// The version.
        version: u32,
        /// What it is bound to.
        targets: Vec<BindingTarget>,
    },

    /// A key is trusted once, and for what it was then.
    #[error(
        "key {id} is a signer already ({name}{}); a key that should sign for somebody or something \
         else has to be another key",
        if *.revoked { ", revoked" } else { "" }
    )]
    SignerExists {
        /// The key.
        id: SignerId,
        /// Whose it is.
        name: SignerName,
        /// Whether it is revoked.
        revoked: bool,
    },

    /// A revoked key has no way back.
    #[error("{0} is revoked, and nothing changes a revoked key; make another")]
    KeyRevoked(KeyId),

    /// Nobody could administer any more.
    #[error(
        "{0} is the last key that can administer; make another first, with the role admin. After \
         it only who can write the data directory can make one"
    )]
    LastAdmin(KeyId),

    /// The operating system gave no random bytes for a secret.
    #[error("no random bytes for a new key: {0}")]
    Random(getrandom::Error),

    /// The database cannot be used: the operator has to act.
    #[error("while {operation} in {database}: {reason}")]
    Unusable {
        /// Where the database is, e.g. the path of its file.
        database: String,
        /// What was being done, e.g. `creating a key`.
        operation: &'static str,
        /// What is wrong and what to do.
        reason: Unusable,
    },
}

/// What is not there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Missing {
    /// No such key.
    #[error("there is no key {0}")]
    Key(KeyId),
    /// No version of this rule set.
    #[error("there is no rule set {0}; push it first")]
    RuleSet(RuleSetName),
    /// The rule set is there, but not in this version.
    #[error("rule set {name} has no version {version}; the newest is {newest}")]
    Version {
        /// The rule set.
        name: RuleSetName,
        /// The version that was asked for.
        version: u32,
        /// The newest there is.
        newest: u32,
    },
    /// The rule set is there, but no version of it is active.
    #[error("no version of rule set {0} is active; activate one")]
    ActiveVersion(RuleSetName),
    /// No such signer.
    #[error("there is no signer {0}")]
    Signer(SignerId),
    /// The rule set is not bound to this target.
    #[error("rule set {ruleset} is not bound to {target}")]
    Binding {
        /// The rule set.
        ruleset: RuleSetName,
        /// The target.
        target: BindingTarget,
    },
}

fn listed(targets: &[BindingTarget]) -> String {
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    targets.join(", ")
}

/// Why a database cannot be used, and what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Unusable {
    /// The data directory or the file cannot be made or opened.
    #[error("{0}; check that the path is right and that this user may write there")]
    Access(io::Error),
    /// The file or its directory is read-only.
    #[error("it cannot be written; check the permissions of the file and of its directory")]
    ReadOnly,
    /// No room.
    #[error("the disk is full; make room and try again")]
    DiskFull,
    /// Another process holds it for longer than the store waits.
    #[error("another process keeps it locked; try again, or stop that process")]
    Busy,
    /// More wait for it than it can serve in time.
    #[error("too many wait for it; try again in a moment")]
    Overloaded,
    /// The file is something else, or damaged.
    #[error("it is damaged or no database ({0}); move it away or restore a backup")]
    Corrupt(String),
    /// A later portcullis has changed the schema.
    #[error(
        "it was written by a newer portcullis (its schema is {found}, this one knows {known}); \
         use that version, or another data directory"
    )]
    Newer {
        /// The schema of the database.
        found: i64,
        /// The latest schema that this program knows.
        known: i64,
    },
    /// A schema step in the database is not the one in this program.
    #[error(
        "its schema step {0} differs from this program's, so another build made it; \
         use that build, or another data directory"
    )]
    ForeignSchema(i64),
    /// There is no such file.
    #[error("there is no such file; name the data directory of a server")]
    Absent,
    /// This portcullis has changed the schema since, and may only read.
    #[error(
        "it was written by an older portcullis (its schema is {found}, this one knows {known}); \
         start the server once, which brings it up to date"
    )]
    Older {
        /// The schema of the database.
        found: i64,
        /// The latest schema that this program knows.
        known: i64,
    },
    /// It holds what no portcullis has written.
    #[error("it is the database of another program; move it away, or use another data directory")]
    Foreign,
    /// The log has grown without its writer.
    #[error(
        "its log has {found} entries and not {expected}, so another process writes it too; stop \
         that one: a data directory belongs to one server"
    )]
    TwoWriters {
        /// Entries as its writer knows it.
        expected: u64,
        /// Entries in the database.
        found: u64,
    },
    /// Anything else that the database says.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}
