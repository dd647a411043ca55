//! From rows to types, which refuse what no program of ours has written.

use std::str::FromStr;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::{ApiKey, Binding, BindingTarget, StoredRuleSet};

pub(super) fn key(row: SqliteRow) -> sqlx::Result<ApiKey> {
    Ok(ApiKey {
        id: parsed(&row, "id")?,
        name: parsed(&row, "name")?,
        role: parsed(&row, "role")?,
        created_at: row.try_get("created_at")?,
        revoked_at: row.try_get("revoked_at")?,
    })
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

fn parsed<T>(row: &SqliteRow, column: &str) -> sqlx::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: &str = row.try_get(column)?;
    text.parse()
        .map_err(|error: T::Err| sqlx::Error::ColumnDecode {
            index: column.to_owned(),
            source: Box::new(error),
        })
}
