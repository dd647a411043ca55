//! Rule sets as stored, and what they are bound to.

use std::fmt;

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::{LABEL_RULE, is_label, name_type};
use crate::{KeyId, Signer, SignerId};

/// One version of a rule set. What it says never changes; its state and signatures do.
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
    /// Where it is in its life.
    pub state: RuleSetState,
    /// When it was first activated or bound, in unix seconds.
    pub in_force_since: Option<i64>,
    /// In the order in which they came. The store takes them as they are.
    pub signatures: Vec<StoredSignature>,
}

/// A signature over the bytes of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSignature {
    /// Whose.
    pub signer: SignerId,
    /// Of Ed25519.
    pub bytes: [u8; 64],
    /// When the store got it, in unix seconds.
    pub created_at: i64,
}

/// The life of a version: registered, active, superseded, retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleSetState {
    /// It is here, and holds for nobody; it may be observed.
    Registered,
    /// The one version that bindings without a version follow.
    Active,
    /// Another version was activated. Bindings that name this one keep it; it may be activated
    /// again.
    Superseded,
    /// Over: it can be neither activated nor bound again.
    Retired,
}

impl RuleSetState {
    /// Every state.
    pub const ALL: [Self; 4] = [
        Self::Registered,
        Self::Active,
        Self::Superseded,
        Self::Retired,
    ];

    /// The name on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Active => "active",
            Self::Superseded => "superseded",
            Self::Retired => "retired",
        }
    }

    /// Whether somebody has put it into force and nobody has ended that.
    #[must_use]
    pub fn may_hold(self) -> bool {
        matches!(self, Self::Active | Self::Superseded)
    }
}

impl fmt::Display for RuleSetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no state, or no event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not known here")]
pub struct UnknownWord(pub String);

impl FromStr for RuleSetState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

/// Something that happened to a rule set, and who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSetEvent {
    /// To which version; `None`: to a binding that follows the active one.
    pub version: Option<u32>,
    /// What.
    pub kind: EventKind,
    /// Who signed, or what it was bound to.
    pub detail: Option<String>,
    /// Who did it: the id of an API key, or what else may act.
    pub actor: String,
    /// Unix seconds.
    pub at: i64,
}

/// What can happen to a rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A version was added.
    Registered,
    /// A version got a signature.
    Signed,
    /// A version was put into force.
    Activated,
    /// Another version took its place.
    Superseded,
    /// A version's life ended.
    Retired,
    /// It holds for a target, or is observed there.
    Bound,
    /// It does so no more.
    Unbound,
}

impl EventKind {
    /// The name on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Signed => "signed",
            Self::Activated => "activated",
            Self::Superseded => "superseded",
            Self::Retired => "retired",
            Self::Bound => "bound",
            Self::Unbound => "unbound",
        }
    }
}

impl FromStr for EventKind {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use EventKind::{Activated, Bound, Registered, Retired, Signed, Superseded, Unbound};
        let all = [
            Registered, Signed, Activated, Superseded, Retired, Bound, Unbound,
        ];
        let mut all = all.into_iter();
        all.find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

/// Who does something to a rule set, and when.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// The id of an API key, or what else may act.
    pub actor: &'a str,
    /// Unix seconds.
    pub now: i64,
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
    /// Of signers that the store knows.
    pub signatures: Vec<NewSignature>,
}

/// A signature to be kept.
#[derive(Clone, Debug)]
pub struct NewSignature {
    /// Whose.
    pub signer: SignerId,
    /// Of Ed25519.
    pub bytes: [u8; 64],
}

/// What became of a rule set that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The version is new.
    Added,
    /// The version was there already with the same bytes, and has got another signature.
    Signed,
    /// The version was there already, with the same bytes.
    Unchanged,
}

/// A rule set in force for a key or a deployment, or observed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Which rule set.
    pub ruleset: RuleSetName,
    /// Which version of it; `None` follows the active one.
    pub version: Option<u32>,
    /// For whose calls.
    pub target: BindingTarget,
    /// Whether it is only observed, whatever its own mode: it is evaluated and changes nothing.
    pub observe: bool,
    /// Unix seconds.
    pub created_at: i64,
}

/// A rule set to be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBinding {
    /// Which rule set.
    pub ruleset: RuleSetName,
    /// Which version of it; `None` follows the active one.
    pub version: Option<u32>,
    /// For whose calls.
    pub target: BindingTarget,
    /// Whether it is only observed.
    pub observe: bool,
}

/// A rule set that a call names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRuleSet {
    /// Which rule set.
    pub name: RuleSetName,
    /// Which version of it; `None`: the active one.
    pub version: Option<u32>,
}

/// Everything about rules that a call needs to know, as it was at one moment: of an activation that
/// happens meanwhile it sees either all or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesFor {
    /// The bindings of its key and its deployment, by rule set, each with the version that it comes
    /// to; `None` where there is none.
    pub bound: Vec<(Binding, Option<StoredRuleSet>)>,
    /// The sets that the call names, in its order; `None` where there is none.
    pub named: Vec<Option<StoredRuleSet>>,
    /// Everyone who ever could sign; empty where the call has no rule sets.
    pub signers: Vec<Signer>,
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
