//! What verifying a log comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::{FAULTS_LISTED_MAX, Fault};
use crate::{KeyKind, Outcome, Timestamp};

/// What is in a log, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogReport {
    /// Which log, says its checkpoint; none if that cannot be believed.
    pub origin: Option<String>,
    /// Entries that were read.
    pub entries: u64,
    /// The root of their tree, in hexadecimal.
    pub root: String,
    /// Servers that began to write.
    pub starts: u64,
    /// Calls that began.
    pub calls: u64,
    /// Calls that ended, by how.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Calls that began after the last start and have not ended.
    pub under_way: u64,
    /// Every rule set that held or was observed.
    pub rulesets: Vec<RuleSetCount>,
    /// When the first entry was made.
    pub first_at: Option<Timestamp>,
    /// When the last entry was made.
    pub last_at: Option<Timestamp>,
    /// The keys that signed.
    pub keys: Vec<KeyUse>,
    /// What is no fault, and is to be known.
    pub remarks: Vec<Remark>,
    /// What is wrong, the first [`FAULTS_LISTED_MAX`] of it.
    #[serde(serialize_with = "super::with_message::serialize")]
    pub faults: Vec<Fault>,
    /// Further faults.
    pub faults_unlisted: u64,
}

impl LogReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    /// Lists further faults as long as there is room, and counts the rest.
    pub(crate) fn add_faults(&mut self, found: Vec<Fault>) {
        let room = FAULTS_LISTED_MAX - self.faults.len();
        self.faults_unlisted += found.len().saturating_sub(room) as u64;
        self.faults.extend(found.into_iter().take(room));
    }
}

/// A version of a rule set, and how many calls name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleSetCount {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// `sha256:` and the digest of the file.
    pub digest: String,
    /// Calls under it.
    pub calls: u64,
    /// Ids of the keys whose signatures the server verified, say records.
    pub signers: BTreeSet<String>,
}

/// A key, and how much it signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyUse {
    /// What it signs.
    pub kind: KeyKind,
    /// SHA-256 of its SubjectPublicKeyInfo in DER.
    pub id: String,
    /// Whether the auditor has it from elsewhere.
    pub pinned: bool,
    /// Entries or checkpoints that it signed.
    pub signatures: u64,
}

/// What is no fault, and is to be known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "remark", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Remark {
    /// The keys came with what they verify.
    NotPinned {
        /// Which keys.
        kind: KeyKind,
        /// Their ids.
        ids: Vec<String>,
    },
    /// Calls had not ended.
    UnderWay {
        /// So many.
        calls: u64,
    },
    /// A rule set that records name is not in the folder.
    RuleSetMissing {
        /// Its name.
        name: String,
        /// Its version.
        version: u32,
    },
    /// Records name a signer of a rule set, and the folder does not show the signature.
    SignerNotShown {
        /// Name of the rule set.
        name: String,
        /// Its version.
        version: u32,
        /// Id of the key, say records.
        signer: String,
        /// What is not in the folder.
        missing: &'static str,
    },
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPinned { kind, ids } => write!(
                f,
                "the {kind} keys came with what they verify, so this proves only that it is \
                 consistent in itself; compare their ids with those that the operator gave out: {}",
                ids.join(", "),
                kind = kind.as_str(),
            ),
            Self::UnderWay { calls } => write!(
                f,
                "calls that were under way: {calls}; a later state of the log has to have their ends"
            ),
            Self::RuleSetMissing { name, version } => write!(
                f,
                "rule set {name}@{version} is named by records and not in the folder; what it says \
                 can be told from elsewhere by its digest"
            ),
            Self::SignerNotShown {
                name,
                version,
                signer,
                missing,
            } => write!(
                f,
                "rule set {name}@{version}: who signed it is not shown; records name key {signer}, \
                 and {missing} is not in the folder"
            ),
        }
    }
}
