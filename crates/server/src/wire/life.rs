//! Rule sets and those who sign them: our own.

use portcullis_gate::RuleSet;
use portcullis_store::{
    EventKind, RuleSetEvent, RuleSetName, RuleSetState, Signer, SignerId, SignerName, SignerRole,
    StoredRuleSet, StoredSignature,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words::{RuleSetStateSchema, SignerRoleSchema};

/// One version of a rule set.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RuleSetBody {
    object: &'static str,
    pub(crate) name: String,
    version: u32,
    digest: String,
    #[schemars(with = "RuleSetStateSchema")]
    state: RuleSetState,
    signatures: Vec<SignatureBody>,
    created: i64,
}

/// Who signed, and as what. Whether it counts depends on the name of the set and the time.
#[derive(Debug, Serialize, JsonSchema)]
struct SignatureBody {
    #[schemars(with = "String")]
    key: SignerId,
    /// Null where the store knows no such signer.
    #[schemars(with = "Option<String>")]
    name: Option<SignerName>,
    #[schemars(with = "Option<SignerRoleSchema>")]
    role: Option<SignerRole>,
    created: i64,
}

impl RuleSetBody {
    pub(crate) fn new(stored: StoredRuleSet, signers: &[Signer]) -> Self {
        let signatures = stored.signatures.into_iter();
        Self {
            object: "ruleset",
            name: stored.name.to_string(),
            version: stored.version,
            digest: stored.digest,
            state: stored.state,
            signatures: signatures
                .map(|signature| SignatureBody::new(signature, signers))
                .collect(),
            created: stored.created_at,
        }
    }
}

impl SignatureBody {
    fn new(signature: StoredSignature, signers: &[Signer]) -> Self {
        let signer = signers.iter().find(|signer| signer.id == signature.signer);
        Self {
            key: signature.signer,
            name: signer.map(|signer| signer.name.clone()),
            role: signer.map(|signer| signer.role),
            created: signature.created_at,
        }
    }
}

/// The answer to a rule set that was sent.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RegisteredBody {
    #[serde(flatten)]
    about: RuleSetBody,
    mode: &'static str,
    rules: usize,
}

impl RegisteredBody {
    pub(crate) fn new(about: RuleSetBody, set: &RuleSet) -> Self {
        Self {
            about,
            mode: set.mode().as_str(),
            rules: set.rules().count(),
        }
    }
}

/// Something that happened to a rule set.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EventBody {
    object: &'static str,
    #[schemars(with = "String")]
    event: EventKind,
    /// Null where it happened to a binding that follows the active version.
    version: Option<u32>,
    /// Who signed, or what it was bound to.
    detail: Option<String>,
    actor: String,
    at: i64,
}

impl From<RuleSetEvent> for EventBody {
    fn from(event: RuleSetEvent) -> Self {
        Self {
            object: "event",
            event: event.kind,
            version: event.version,
            detail: event.detail,
            actor: event.actor,
            at: event.at,
        }
    }
}

/// A signer to be trusted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(expecting = "a JSON object", deny_unknown_fields)]
pub(crate) struct NewSignerFields {
    #[schemars(with = "String")]
    pub(crate) name: SignerName,
    #[schemars(with = "SignerRoleSchema")]
    pub(crate) role: SignerRole,
    /// In PEM.
    pub(crate) public_key: String,
    /// The only ones that it may sign; left out: any.
    #[schemars(with = "Option<Vec<String>>")]
    pub(crate) rulesets: Option<Vec<RuleSetName>>,
}

/// Who may sign, or could once.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SignerBody {
    object: &'static str,
    #[schemars(with = "String")]
    id: SignerId,
    #[schemars(with = "String")]
    name: SignerName,
    #[schemars(with = "SignerRoleSchema")]
    role: SignerRole,
    #[schemars(with = "Option<Vec<String>>")]
    rulesets: Option<Vec<RuleSetName>>,
    public_key: String,
    created: i64,
    revoked: Option<i64>,
    distrusted: bool,
}

impl From<Signer> for SignerBody {
    fn from(signer: Signer) -> Self {
        Self {
            object: "signer",
            id: signer.id,
            name: signer.name,
            role: signer.role,
            rulesets: signer.rulesets,
            public_key: signer.public_key,
            created: signer.created_at,
            revoked: signer.revoked_at,
            distrusted: signer.distrusted,
        }
    }
}
