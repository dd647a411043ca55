//! Who calls, and what they may do. Identity comes from `Authorization: Bearer` alone.

use std::sync::atomic::Ordering;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use portcullis_ledger::Timestamp;
use portcullis_store::{Act, ApiKey, KeyId, KeyLimits, Role};
use portcullis_types::Tenant;
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::state::App;

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// See which models there are: any key.
    ListModels,
    /// Call a model.
    Infer,
    /// Read rule sets and their bindings.
    ReadRules,
    /// Register versions of rule sets.
    WriteRules,
    /// Add signatures to versions of rule sets.
    SignRules,
    /// Activate, retire, bind.
    PutIntoForce,
    /// Read records and usage.
    ReadRecords,
    /// Keys, signers, and the texts beside records.
    Administer,
}

/// Whoever made a request.
pub(crate) struct Caller {
    /// None where inference is open to everyone.
    key: Option<ApiKey>,
}

/// Finds out who calls and whether they may.
///
/// # Errors
/// 401 without a valid key or with one that has expired, 403 with one whose role is another.
pub(crate) async fn authorise(
    app: &App,
    headers: &HeaderMap,
    permission: Permission,
) -> Result<Caller, ApiError> {
    let key = match bearer(headers) {
        Some(secret) => app.store.find_key(secret).await?,
        None => None,
    };
    match key {
        Some(key) if key.is_expired((app.wall)()) => Err(expired(&key)),
        Some(key) if permission.is_given_to(key.role) => Ok(Caller { key: Some(key) }),
        Some(key) => Err(ApiError::forbidden(format!(
            "a key with the role `{}` may not do this; it takes {}",
            key.role,
            permission.roles()
        ))),
        None if permission.may_be_open() && is_open(app).await? => Ok(Caller { key: None }),
        None if headers.contains_key(AUTHORIZATION) => Err(ApiError::unauthenticated(
            "this API key is not known here, or was revoked",
        )),
        None => Err(ApiError::unauthenticated(
            "no API key was given; send one as `Authorization: Bearer <key>`",
        )),
    }
}

fn expired(key: &ApiKey) -> ApiError {
    let ApiKey { id, expires_at, .. } = key;
    let at = Timestamp::from_unix_ms(expires_at.unwrap_or_default().saturating_mul(1000));
    ApiError::unauthenticated(&format!(
        "this API key expired at {at}; ask your administrator for another, or to put it off with \
         `portcullis keys update {id} --expires 90d`"
    ))
    .with_code("expired_api_key")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// Open until the first key is made; keys are revoked, never deleted, so it cannot open again.
async fn is_open(app: &App) -> Result<bool, ApiError> {
    if !app.open.load(Ordering::Acquire) {
        return Ok(false);
    }
    let open = app.store.list_keys().await?.is_empty();
    if !open {
        app.open.store(false, Ordering::Release);
    }
    Ok(open)
}

impl Permission {
    fn is_given_to(self, role: Role) -> bool {
        match (self, role) {
            (_, Role::Admin) | (Self::ListModels, _) => true,
            (Self::Infer, role) => role == Role::Inference,
            (Self::WriteRules, role) => role == Role::Author,
            (Self::SignRules, role) => matches!(role, Role::Author | Role::Approver),
            (Self::PutIntoForce, role) => role == Role::Approver,
            (Self::ReadRules, role) => role != Role::Inference,
            (Self::ReadRecords, role) => role == Role::Auditor,
            (Self::Administer, _) => false,
        }
    }

    /// For people who hold a key that will not do.
    pub(crate) fn roles(self) -> &'static str {
        match self {
            Self::ListModels => "any key",
            Self::Infer => "`inference` or `admin`",
            Self::WriteRules => "`author` or `admin`",
            Self::SignRules => "`author`, `approver` or `admin`",
            Self::PutIntoForce => "`approver` or `admin`",
            Self::ReadRules => "`author`, `approver`, `auditor` or `admin`",
            Self::ReadRecords => "`auditor` or `admin`",
            Self::Administer => "`admin`",
        }
    }

    pub(crate) fn may_be_open(self) -> bool {
        matches!(self, Self::ListModels | Self::Infer)
    }
}

impl Caller {
    pub(crate) fn key_id(&self) -> Option<&KeyId> {
        self.key.as_ref().map(|key| &key.id)
    }

    /// Whose limits hold for a call, and which; none without a key.
    pub(crate) fn limits(&self) -> Option<(&KeyId, KeyLimits)> {
        self.key.as_ref().map(|key| (&key.id, key.limits))
    }

    /// Who does something to a rule set, and when.
    pub(crate) fn act(&self, app: &App) -> Act<'_> {
        Act {
            actor: self.key_id().map_or("anyone", KeyId::as_str),
            now: (app.wall)(),
        }
    }

    /// The salt of the prefix cache: callers with different keys share nothing.
    pub(crate) fn tenant(&self) -> Tenant {
        match &self.key {
            Some(key) => Tenant(Sha256::digest(key.id.as_str()).into()),
            None => Tenant::default(),
        }
    }
}
