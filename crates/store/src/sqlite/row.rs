//! From rows to types, which refuse what no program of ours has written.

use std::num::NonZeroU64;
use std::str::FromStr;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::{
    ApiKey, Binding, BindingTarget, KeyLimits, RuleSetEvent, RuleSetName, RuleSetState, Signer,
    StoredRuleSet, StoredSignature,
};

pub(super) fn key(row: SqliteRow) -> sqlx::Result<ApiKey> {
    Ok(ApiKey {
        id: parsed(&row, "id")?,
        name: parsed(&row, "name")?,
        role: parsed(&row, "role")?,
        created_at: row.try_get("created_at")?,
        revoked_at: row.try_get("revoked_at")?,
        expires_at: row.try_get("expires_at")?,
        limits: KeyLimits {
            requests_per_minute: limit(&row, "requests_per_minute")?,
            tokens_per_minute: limit(&row, "tokens_per_minute")?,
            tokens_per_day: limit(&row, "tokens_per_day")?,
            max_concurrent_requests: limit(&row, "max_concurrent_requests")?,
        },
    })
}

fn limit(row: &SqliteRow, column: &str) -> sqlx::Result<Option<NonZeroU64>> {
    let stored: Option<i64> = row.try_get(column)?;
    let read = |number: i64| u64::try_from(number).ok().and_then(NonZeroU64::new);
    stored
        .map(|number| {
            read(number).ok_or_else(|| undecodable(column, format!("{number} is no limit")))
        })
        .transpose()
}

pub(super) fn key_and_hash(row: SqliteRow) -> sqlx::Result<(ApiKey, Vec<u8>)> {
    let hash = row.try_get("secret_hash")?;
    Ok((key(row)?, hash))
}

pub(super) fn ruleset(row: SqliteRow) -> sqlx::Result<StoredRuleSet> {
    Ok(StoredRuleSet {
        name: parsed(&row, "name")?,
        version: row.try_get("version")?,
        digest: row.try_get("digest")?,
        source: row.try_get("source")?,
        created_at: row.try_get("created_at")?,
        state: parsed(&row, "state")?,
        in_force_since: row.try_get("in_force_since")?,
        signatures: Vec::new(),
    })
}

pub(super) fn state(row: SqliteRow) -> sqlx::Result<RuleSetState> {
    parsed(&row, "state")
}

pub(super) fn signature(row: SqliteRow) -> sqlx::Result<StoredSignature> {
    let bytes: Vec<u8> = row.try_get("signature")?;
    Ok(StoredSignature {
        signer: parsed(&row, "signer")?,
        bytes: bytes.try_into().map_err(|bytes: Vec<u8>| {
            let said = format!("a signature has {} bytes, not 64", bytes.len());
            undecodable("signature", said)
        })?,
        created_at: row.try_get("created_at")?,
    })
}

/// A signature, and which version it is of.
pub(super) fn signature_of(row: SqliteRow) -> sqlx::Result<((RuleSetName, u32), StoredSignature)> {
    let of = (parsed(&row, "name")?, row.try_get("version")?);
    Ok((of, signature(row)?))
}

pub(super) fn event(row: SqliteRow) -> sqlx::Result<RuleSetEvent> {
    Ok(RuleSetEvent {
        version: row.try_get("version")?,
        kind: parsed(&row, "event")?,
        detail: row.try_get("detail")?,
        actor: row.try_get("actor")?,
        at: row.try_get("at")?,
    })
}

pub(super) fn signer(row: SqliteRow) -> sqlx::Result<Signer> {
    let rulesets: Option<&str> = row.try_get("rulesets")?;
    let named = |names: &str| names.split(' ').map(str::parse).collect();
    let rulesets: Option<Result<Vec<RuleSetName>, _>> = rulesets.map(named);
    Ok(Signer {
        id: parsed(&row, "id")?,
        name: parsed(&row, "name")?,
        role: parsed(&row, "role")?,
        rulesets: rulesets
            .transpose()
            .map_err(|error| undecodable("rulesets", error))?,
        public_key: row.try_get("public_key")?,
        created_at: row.try_get("created_at")?,
        revoked_at: row.try_get("revoked_at")?,
        distrusted: row.try_get("distrusted")?,
    })
}

pub(super) fn binding(row: SqliteRow) -> sqlx::Result<Binding> {
    let target = match row.try_get("target_kind")? {
        KEY => BindingTarget::Key(parsed(&row, "target")?),
        // The schema allows no third kind.
        _ => BindingTarget::Deployment(parsed(&row, "target")?),
    };
    Ok(Binding {
        ruleset: parsed(&row, "ruleset")?,
        version: row.try_get("version")?,
        target,
        observe: row.try_get("observe")?,
        created_at: row.try_get("created_at")?,
    })
}

/// The columns `target_kind` and `target`.
pub(super) fn target_columns(target: &BindingTarget) -> (&'static str, &str) {
    match target {
        BindingTarget::Key(id) => (KEY, id.as_str()),
        BindingTarget::Deployment(name) => (DEPLOYMENT, name.as_str()),
    }
}

const KEY: &str = "key";
const DEPLOYMENT: &str = "deployment";

pub(super) fn parsed<T>(row: &SqliteRow, column: &str) -> sqlx::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: &str = row.try_get(column)?;
    text.parse()
        .map_err(|error: T::Err| undecodable(column, error))
}

pub(super) fn undecodable(
    column: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: error.into(),
    }
}

/// SQLite's numbers are signed; nothing is counted that far.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
