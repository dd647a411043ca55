//! `/v1/rulesets` and `/v1/keys`: our own.

use portcullis_gate::RuleSet;
use portcullis_store::{
    ApiKey, Binding, BindingTarget, DeploymentName, KeyId, KeyName, Role, StoredRuleSet,
};
use serde::{Deserialize, Serialize};

/// `{"object": "list", "data": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct List<T> {
    object: &'static str,
    pub(crate) data: Vec<T>,
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self {
            object: "list",
            data: items.into_iter().collect(),
        }
    }
}

/// One version of a rule set.
#[derive(Debug, Serialize)]
pub(crate) struct RuleSetBody {
    object: &'static str,
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) digest: String,
    pub(crate) created: i64,
}

impl From<StoredRuleSet> for RuleSetBody {
    fn from(stored: StoredRuleSet) -> Self {
        Self {
            object: "ruleset",
            name: stored.name.to_string(),
            version: stored.version,
            digest: stored.digest,
            created: stored.created_at,
        }
    }
}

/// The answer to a rule set that was sent.
#[derive(Debug, Serialize)]
pub(crate) struct RegisteredBody {
    object: &'static str,
    name: String,
    version: u32,
    digest: String,
    mode: &'static str,
    rules: usize,
}

impl From<&RuleSet> for RegisteredBody {
    fn from(set: &RuleSet) -> Self {
        Self {
            object: "ruleset",
            name: set.name().to_owned(),
            version: set.version(),
            digest: set.digest().to_owned(),
            mode: set.mode().as_str(),
            rules: set.rules().count(),
        }
    }
}

/// What to bind a rule set to, or what to take it away from: exactly one of key and deployment.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object", deny_unknown_fields)]
pub(crate) struct TargetFields {
    pub(crate) key: Option<KeyId>,
    pub(crate) deployment: Option<DeploymentName>,
    /// Left out: the newest at any time.
    pub(crate) version: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(crate) struct BindingBody {
    object: &'static str,
    ruleset: String,
    /// Null follows the newest.
    version: Option<u32>,
    key: Option<KeyId>,
    deployment: Option<DeploymentName>,
    created: i64,
}

impl From<Binding> for BindingBody {
    fn from(binding: Binding) -> Self {
        let (key, deployment) = match binding.target {
            BindingTarget::Key(id) => (Some(id), None),
            BindingTarget::Deployment(name) => (None, Some(name)),
        };
        Self {
            object: "binding",
            ruleset: binding.ruleset.to_string(),
            version: binding.version,
            key,
            deployment,
            created: binding.created_at,
        }
    }
}

/// A key to be made.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object", deny_unknown_fields)]
pub(crate) struct NewKeyFields {
    pub(crate) name: KeyName,
    pub(crate) role: Role,
}

/// A key without its secret.
#[derive(Debug, Serialize)]
pub(crate) struct KeyBody {
    object: &'static str,
    pub(crate) id: KeyId,
    pub(crate) name: KeyName,
    pub(crate) role: Role,
    pub(crate) created: i64,
    pub(crate) revoked: Option<i64>,
}

impl From<ApiKey> for KeyBody {
    fn from(key: ApiKey) -> Self {
        Self {
            object: "key",
            id: key.id,
            name: key.name,
            role: key.role,
            created: key.created_at,
            revoked: key.revoked_at,
        }
    }
}

/// A new key: the only answer that holds a secret.
#[derive(Serialize)]
pub(crate) struct NewKeyBody {
    #[serde(flatten)]
    pub(crate) about: KeyBody,
    pub(crate) key: String,
}
