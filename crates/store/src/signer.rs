//! Who may sign rule sets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::RuleSetName;
use crate::name::{LABEL_RULE, is_label, name_type};

/// A public key whose signatures count, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Which key.
    pub id: SignerId,
    /// Whose it is. Two signatures of one person count once, whichever keys made them.
    pub name: SignerName,
    /// What a signature of this key says.
    pub role: SignerRole,
    /// The only rule sets that it may sign; `None`: any.
    pub rulesets: Option<Vec<RuleSetName>>,
    /// SubjectPublicKeyInfo in PEM. The store takes it as it is.
    pub public_key: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; from then on it signs nothing more.
    pub revoked_at: Option<i64>,
    /// It was in wrong hands: nothing that it ever signed counts.
    pub distrusted: bool,
}

/// A signer to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSigner {
    /// Which key.
    pub id: SignerId,
    /// Whose it is.
    pub name: SignerName,
    /// What a signature of this key says.
    pub role: SignerRole,
    /// The only rule sets that it may sign; `None`: any.
    pub rulesets: Option<Vec<RuleSetName>>,
    /// SubjectPublicKeyInfo in PEM.
    pub public_key: String,
}

impl Signer {
    /// Whether it may sign a rule set of this name.
    #[must_use]
    pub fn may_sign(&self, ruleset: &RuleSetName) -> bool {
        let only = self.rulesets.as_ref();
        only.is_none_or(|only| only.contains(ruleset))
    }
}

/// What a signature says. A key has one role for ever: so the role is bound to the signature by the
/// key that made it, and needs no word of its own in what is signed, which no other tool would
/// understand. Who has both roles has two keys, and uses the one that says what he means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignerRole {
    /// I wrote this.
    Author,
    /// I have read this, and it may be put into force.
    Approver,
}

impl SignerRole {
    /// The name on the wire, on the command line and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Author => "author",
            Self::Approver => "approver",
        }
    }
}

impl fmt::Display for SignerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no role of a signer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a role of a signer: use author or approver")]
pub struct ParseSignerRoleError(pub String);

impl FromStr for SignerRole {
    type Err = ParseSignerRoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Author, Self::Approver]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| ParseSignerRoleError(text.to_owned()))
    }
}

name_type! {
    /// The name of a public key: 64 hexadecimal digits, SHA-256 of its SubjectPublicKeyInfo.
    SignerId, "the id of a signer",
    "expected 64 hexadecimal digits, as listed by `portcullis rules signers list`",
    |text| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

name_type! {
    /// The person whose key it is: 1 to 128 printable characters.
    SignerName, "the name of a signer", LABEL_RULE, is_label
}
