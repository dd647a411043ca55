//! Bindings and keys: our own.

use std::num::NonZeroU64;

use portcullis_store::{
    ApiKey, Binding, BindingTarget, Change, DeploymentName, KeyChange, KeyId, KeyLimits, KeyName,
    NewKey, Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::words::{KeyLimitsSchema, KeyRoleSchema};

/// `{"object": "list", "data": […]}`
#[derive(Debug, Serialize, JsonSchema)]
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
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(expecting = "a JSON object", deny_unknown_fields)]
pub(crate) struct TargetFields {
    #[schemars(with = "Option<String>")]
    pub(crate) key: Option<KeyId>,
    #[schemars(with = "Option<String>")]
    pub(crate) deployment: Option<DeploymentName>,
    /// Left out: the active one at any time.
    pub(crate) version: Option<u32>,
    /// Whether it is only observed.
    #[serde(default)]
    pub(crate) observe: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BindingBody {
    object: &'static str,
    ruleset: String,
    /// Null follows the active one.
    version: Option<u32>,
    observe: bool,
    #[schemars(with = "Option<String>")]
    key: Option<KeyId>,
    #[schemars(with = "Option<String>")]
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
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(expecting = "a JSON object", deny_unknown_fields)]
pub(crate) struct NewKeyFields {
    #[schemars(with = "String")]
    name: KeyName,
    #[schemars(with = "KeyRoleSchema")]
    role: Role,
    /// Unix seconds.
    pub(crate) expires_at: Option<i64>,
    // Not `KeyLimits`: a mistake in what is flattened has lost its name.
    requests_per_minute: Option<NonZeroU64>,
    tokens_per_minute: Option<NonZeroU64>,
    tokens_per_day: Option<NonZeroU64>,
    max_concurrent_requests: Option<NonZeroU64>,
}

impl From<NewKeyFields> for NewKey {
    fn from(fields: NewKeyFields) -> Self {
        Self {
            name: fields.name,
            role: fields.role,
            expires_at: fields.expires_at,
            limits: KeyLimits {
                requests_per_minute: fields.requests_per_minute,
                tokens_per_minute: fields.tokens_per_minute,
                tokens_per_day: fields.tokens_per_day,
                max_concurrent_requests: fields.max_concurrent_requests,
            },
        }
    }
}

/// What is to become of a key: null takes something away, and what is left out stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(expecting = "a JSON object", deny_unknown_fields)]
pub(crate) struct KeyChangeFields {
    /// Unix seconds.
    #[serde(default, deserialize_with = "given")]
    pub(crate) expires_at: Change<i64>,
    #[serde(default, deserialize_with = "given")]
    requests_per_minute: Change<NonZeroU64>,
    #[serde(default, deserialize_with = "given")]
    tokens_per_minute: Change<NonZeroU64>,
    #[serde(default, deserialize_with = "given")]
    tokens_per_day: Change<NonZeroU64>,
    #[serde(default, deserialize_with = "given")]
    max_concurrent_requests: Change<NonZeroU64>,
}

/// Serde would take null for a field that was left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(field: D) -> Result<Change<T>, D::Error> {
    Option::deserialize(field).map(Some)
}

impl From<KeyChangeFields> for KeyChange {
    fn from(fields: KeyChangeFields) -> Self {
        Self {
            expires_at: fields.expires_at,
            requests_per_minute: fields.requests_per_minute,
            tokens_per_minute: fields.tokens_per_minute,
            tokens_per_day: fields.tokens_per_day,
            max_concurrent_requests: fields.max_concurrent_requests,
        }
    }
}

/// A key without its secret.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeyBody {
    object: &'static str,
    #[schemars(with = "String")]
    pub(crate) id: KeyId,
    #[schemars(with = "String")]
    pub(crate) name: KeyName,
    #[schemars(with = "KeyRoleSchema")]
    pub(crate) role: Role,
    pub(crate) created: i64,
    pub(crate) revoked: Option<i64>,
    expires_at: Option<i64>,
    #[serde(flatten)]
    #[schemars(with = "KeyLimitsSchema")]
    limits: KeyLimits,
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
            expires_at: key.expires_at,
            limits: key.limits,
        }
    }
}

/// A new key: the only answer that holds a secret.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NewKeyBody {
    #[serde(flatten)]
    pub(crate) about: KeyBody,
    pub(crate) key: String,
}
