//! API keys, their roles and secrets.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::name::{LABEL_RULE, is_label, name_type};

/// An API key as the store knows it: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The public id, safe to log.
    pub id: KeyId,
    /// What people call it.
    pub name: KeyName,
    /// What it may do.
    pub role: Role,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; from then on the key opens nothing.
    pub revoked_at: Option<i64>,
    /// Unix seconds; from then on the key opens nothing until this is put off.
    pub expires_at: Option<i64>,
    /// How much it may ask for.
    pub limits: KeyLimits,
}

/// How much a key may ask for, over all its calls of models. `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLimits {
    /// Requests in any minute.
    pub requests_per_minute: Option<NonZeroU64>,
    /// Tokens in any minute.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Tokens in a day of UTC.
    pub tokens_per_day: Option<NonZeroU64>,
    /// Requests that are under way at a time.
    pub max_concurrent_requests: Option<NonZeroU64>,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What people call it; need not be unique.
    pub name: KeyName,
    /// What it may do.
    pub role: Role,
    /// Unix seconds.
    pub expires_at: Option<i64>,
    /// How much it may ask for.
    pub limits: KeyLimits,
}

/// What becomes of a key. By default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Unix seconds.
    pub expires_at: Change<i64>,
    /// Requests in any minute.
    pub requests_per_minute: Change<NonZeroU64>,
    /// Tokens in any minute.
    pub tokens_per_minute: Change<NonZeroU64>,
    /// Tokens in a day of UTC.
    pub tokens_per_day: Change<NonZeroU64>,
    /// Requests that are under way at a time.
    pub max_concurrent_requests: Change<NonZeroU64>,
}

/// `None` leaves it as it is, `Some(None)` takes it away.
pub type Change<T> = Option<Option<T>>;

impl ApiKey {
    /// Whether it was good until now.
    #[must_use]
    pub fn is_expired(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// Whether it opens anything.
    #[must_use]
    pub fn is_usable(&self, now: i64) -> bool {
        self.revoked_at.is_none() && !self.is_expired(now)
    }
}

impl NewKey {
    /// A key for ever and without limits.
    #[must_use]
    pub fn new(name: KeyName, role: Role) -> Self {
        Self {
            name,
            role,
            expires_at: None,
            limits: KeyLimits::default(),
        }
    }

    pub(crate) fn made(self, id: KeyId, now: i64) -> ApiKey {
        ApiKey {
            id,
            name: self.name,
            role: self.role,
            created_at: now,
            revoked_at: None,
            expires_at: self.expires_at,
            limits: self.limits,
        }
    }
}

impl KeyChange {
    pub(crate) fn apply(self, key: &mut ApiKey) {
        let limits = &mut key.limits;
        set(&mut key.expires_at, self.expires_at);
        set(&mut limits.requests_per_minute, self.requests_per_minute);
        set(&mut limits.tokens_per_minute, self.tokens_per_minute);
        set(&mut limits.tokens_per_day, self.tokens_per_day);
        set(
            &mut limits.max_concurrent_requests,
            self.max_concurrent_requests,
        );
    }
}

fn set<T>(place: &mut Option<T>, change: Change<T>) {
    if let Some(changed) = change {
        *place = changed;
    }
}

name_type! {
    /// The public id of a key, `key_` and 16 hexadecimal digits. It says nothing about the secret
    /// that could be used, so it may stand in logs and addresses.
    KeyId, "a key id", "expected key_ and 16 hexadecimal digits, as listed by `portcullis keys list`",
    |text| text.strip_prefix("key_").is_some_and(|hex| {
        hex.len() == 2 * KEY_ID_BYTES && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

name_type! {
    /// What people call a key: 1 to 128 printable characters.
    KeyName, "a key name", LABEL_RULE, is_label
}

/// What a key may do. The server decides which route asks for which role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Calls models.
    Inference,
    /// Writes rule sets.
    Author,
    /// Puts rule sets into force.
    Approver,
    /// Reads records.
    Auditor,
    /// Manages keys and everything else.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] = [
        Self::Inference,
        Self::Author,
        Self::Approver,
        Self::Auditor,
        Self::Admin,
    ];

    /// The name on the wire, on the command line and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Author => "author",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no role.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a role: use inference, author, approver, auditor or admin")]
pub struct ParseRoleError(pub String);

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| ParseRoleError(text.to_owned()))
    }
}

/// What a client sends to prove that a key is its own: `pk-` and 256 random bits in hexadecimal.
/// Shown once, when the key is made.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Draws a new one from the operating system.
    pub(crate) fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("pk-{}", hex::encode(bytes))))
    }

    /// The secret itself, for the one who is to have it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(pk-…)")
    }
}

/// SHA-256 of a secret, which is what the database holds.
///
/// A fast hash without salt is right here: a slow one protects what people choose, but nobody
/// guesses 256 random bits, and every request pays for the hash.
pub(crate) struct SecretHash([u8; 32]);

/// 64 bits tell keys apart; the other 192 are compared, never published.
const KEY_ID_BYTES: usize = 8;

impl SecretHash {
    pub(crate) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The id of the key with this secret. Since it follows from the hash, a key is looked up by
    /// what is public, and what is not is compared in constant time.
    pub(crate) fn key_id(&self) -> KeyId {
        KeyId(format!("key_{}", hex::encode(&self.0[..KEY_ID_BYTES])))
    }

    /// In constant time.
    pub(crate) fn equals(&self, stored: &[u8]) -> bool {
        self.0.ct_eq(stored).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_only_when_asked() {
        let secret = Secret::generate().unwrap();
        assert_eq!(secret.expose().len(), "pk-".len() + 64);
        assert!(!format!("{secret:?}").contains(&secret.expose()[3..]));
    }

    #[test]
    fn only_the_same_secret_has_an_equal_hash() {
        let hash = SecretHash::of("pk-1");
        assert!(hash.equals(SecretHash::of("pk-1").as_bytes()));
        assert!(!hash.equals(SecretHash::of("pk-2").as_bytes()));
        // The id covers the first bytes only; the rest must count too.
        let mut almost = hash.0;
        almost[31] ^= 1;
        assert!(!hash.equals(&almost));
        assert!(!hash.equals(&hash.0[..KEY_ID_BYTES]));
    }
}
