//! Rule sets as stored, and what they are bound to.

use std::fmt;

use crate::KeyId;
use crate::name::{LABEL_RULE, is_label, name_type};

/// One version of a rule set. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRuleSet {
    /// What it is called.
    pub name: RuleSetName,
    /// Chosen by its author; the highest is the newest.
    pub version: u32,
    /// `sha256:<hex>` of `source`.
    pub digest: String,
    /// The bytes as they were pushed.
    pub source: Vec<u8>,
    /// Unix seconds.
    pub created_at: i64,
}

/// A version of a rule set to be stored. The store takes it as it is: whoever calls has had it
/// validated by the gate, which is also where `digest` comes from.
#[derive(Clone, Debug)]
pub struct NewRuleSet {
    /// What it is called.
    pub name: RuleSetName,
    /// Chosen by its author.
    pub version: u32,
    /// `sha256:<hex>` of `source`.
    pub digest: String,
    /// The bytes of the file.
    pub source: Vec<u8>,
}

/// What became of a rule set that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The version is new.
    Added,
    /// The version was there already, with the same bytes.
    Unchanged,
}

/// A rule set in force for a key or a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Which rule set.
    pub ruleset: RuleSetName,
    /// Which version of it; `None` follows the newest.
    pub version: Option<u32>,
    /// For whose calls.
    pub target: BindingTarget,
    /// Unix seconds.
    pub created_at: i64,
}

/// What a rule set can be bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindingTarget {
    /// All calls made with a key.
    Key(KeyId),
    /// All calls to a deployment. It need not exist yet.
    Deployment(DeploymentName),
}

impl fmt::Display for BindingTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key {id}"),
            Self::Deployment(name) => write!(f, "deployment {name}"),
        }
    }
}

name_type! {
    /// What a rule set is called: 1 to 64 of a-z, 0-9 and `-`, the first no `-`.
    RuleSetName, "a rule-set name",
    "use 1 to 64 of a-z, 0-9 and -, and do not begin with -",
    |text| (1..=64).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

name_type! {
    /// What users name in `model`: 1 to 128 printable characters.
    DeploymentName, "a deployment name", LABEL_RULE, is_label
}
