//! A folder that verifies without a server.
//!
//! ```text
//! checkpoint                      the signed note
//! entries.jsonl                   one entry a line, the bytes of its leaf
//! tile/…, tile/entries/…          as C2SP tlog-tiles serves them
//! keys/record-ID.pem, log-ID.pem  public keys; ID is the beginning of the key's id
//! keys/signer-ID.pem              public keys of those who signed rule sets
//! keys/log.vkey                   the log keys, as C2SP signed-note writes them
//! rulesets/NAME@VERSION.yaml      rule sets that records name
//! rulesets/NAME@VERSION.dsse.json their signatures
//! README.txt                      what this is, and how to verify it by hand
//! ```
//!
//! [`Export::create`] writes one, entry by entry; [`Export::open`] reads it. Memory is flat in both.

mod reader;
mod rulesets;
mod stranger;
mod tiler;
mod writer;

pub use reader::Export;
pub use stranger::read_text_bounded;
pub use writer::ExportWriter;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

const CHECKPOINT: &str = "checkpoint";
const ENTRIES: &str = "entries.jsonl";
const KEYS: &str = "keys";
const RULESETS: &str = "rulesets";

/// A checkpoint is a few lines and a few signatures.
pub const CHECKPOINT_BYTES_MAX: usize = 64 << 10;

/// An Ed25519 key in PEM has 113 bytes.
const KEY_BYTES_MAX: usize = 16 << 10;

/// What the names of the files of signers' keys begin with.
const SIGNER: &str = "signer";

/// What the signatures of rule sets are made over (DSSE's payload type).
pub const RULESET_TYPE: &str = "application/vnd.portcullis.ruleset+yaml";

/// Digits of a key's id in the name of its file.
const ID_DIGITS: usize = 16;

/// The name of a key's file: what the key is for, and the beginning of its id.
fn key_file(what: &str, id: &str) -> String {
    let id: String = id.chars().take(ID_DIGITS).collect();
    format!("{what}-{id}.pem")
}

/// Whether a file may have the name of this rule set.
fn is_file_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain)
}

/// Why a folder cannot be written, or is no export.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The file system says no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something in the folder.
    #[error("{} is not empty; an export needs a new folder", .0.display())]
    NotEmpty(PathBuf),
    /// The folder has no checkpoint.
    #[error(
        "{} is no export: it has no file `checkpoint`. If it was being written, it was not finished",
        .0.display()
    )]
    NotAnExport(PathBuf),
    /// A key that is none, or not the one of its name.
    #[error("{}: {reason}; take the key from the operator", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An entry that cannot stand in a line, or in a bundle.
    #[error("entry {0} is too long or has a line break in it; no server wrote it")]
    Entry(u64),
    /// Other entries than the checkpoint is of.
    #[error("the checkpoint is of {wanted} entries, and {given} were given")]
    Size {
        /// Entries of the checkpoint.
        wanted: u64,
        /// Entries that were given.
        given: u64,
    },
    /// A name that is no file name.
    #[error("{0:?} cannot be the name of a rule set's file")]
    RuleSetName(String),
}

impl ExportError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
