//! Bindings and keys: our own.

use portcullis_store::{ApiKey, Binding, BindingTarget, DeploymentName, KeyId, KeyName, Role};
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

/// What to bind a rule set to, or what to take it away from: exactly one of key and deployment.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object", deny_unknown_fields)]
pub(crate) struct TargetFields {
    pub(crate) key: Option<KeyId>,
    pub(crate) deployment: Option<DeploymentName>,
    /// Left out: the active one at any time.
    pub(crate) version: Option<u32>,
    /// Whether it is only observed.
    #[serde(default)]
    pub(crate) observe: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct BindingBody {
    object: &'static str,
    ruleset: String,
    /// Null follows the active one.
    version: Option<u32>,
    observe: bool,
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
            observe: binding.observe,
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
