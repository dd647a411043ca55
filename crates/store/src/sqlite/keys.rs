//! API keys.

use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection, query, query_scalar};

use super::row;
use super::work::Fault;
use crate::key::SecretHash;
use crate::{ApiKey, KeyChange, KeyId, Missing, Role, StoreError};

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    key: &ApiKey,
    hash: &SecretHash,
) -> sqlx::Result<()> {
    let insert = query(
        "INSERT INTO api_keys (expires_at, requests_per_minute, tokens_per_minute, tokens_per_day,
                               max_concurrent_requests, id, name, role, secret_hash, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    );
    bind_changeable(insert, key)
        .bind(key.id.as_str())
        .bind(key.name.as_str())
        .bind(key.role.as_str())
        .bind(hash.as_bytes())
        .bind(key.created_at)
        .execute(connection)
        .await
        .map(drop)
}

pub(super) async fn find_by_hash(
    connection: &mut SqliteConnection,
    hash: &SecretHash,
) -> sqlx::Result<Option<ApiKey>> {
    let found = query("SELECT * FROM api_keys WHERE id = ?")
        .bind(hash.key_id().as_str())
        .try_map(row::key_and_hash)
        .fetch_optional(connection)
        .await?;
    Ok(found
        .filter(|(key, stored)| hash.equals(stored) && key.revoked_at.is_none())
        .map(|(key, _)| key))
}

/// All of them, oldest first.
pub(super) async fn list(connection: &mut SqliteConnection) -> sqlx::Result<Vec<ApiKey>> {
    query("SELECT * FROM api_keys ORDER BY created_at, rowid")
        .try_map(row::key)
        .fetch_all(connection)
        .await
}

pub(super) async fn update(
    connection: &mut SqliteConnection,
    id: &KeyId,
    change: KeyChange,
) -> Result<ApiKey, Fault> {
    let mut key = find(connection, id).await?;
    if key.revoked_at.is_some() {
        return Err(StoreError::KeyRevoked(key.id).into());
    }
    change.apply(&mut key);
    let update = query(
        "UPDATE api_keys SET expires_at = ?, requests_per_minute = ?, tokens_per_minute = ?,
                             tokens_per_day = ?, max_concurrent_requests = ? WHERE id = ?",
    );
    bind_changeable(update, &key)
        .bind(id.as_str())
        .execute(connection)
        .await?;
    Ok(key)
}

pub(super) async fn revoke(
    connection: &mut SqliteConnection,
    id: &KeyId,
    even_the_last: bool,
    now: i64,
) -> Result<ApiKey, Fault> {
    let mut key = find(connection, id).await?;
    if key.revoked_at.is_some() {
        return Ok(key);
    }
    let is_admin = key.role == Role::Admin && key.is_usable(now);
    if is_admin && !even_the_last && !has_other_admin(connection, id, now).await? {
        return Err(StoreError::LastAdmin(key.id).into());
    }
    query("UPDATE api_keys SET revoked_at = ? WHERE id = ?")
        .bind(now)
        .bind(id.as_str())
        .execute(connection)
        .await?;
    key.revoked_at = Some(now);
    Ok(key)
}

async fn find(connection: &mut SqliteConnection, id: &KeyId) -> Result<ApiKey, Fault> {
    let found = query("SELECT * FROM api_keys WHERE id = ?")
        .bind(id.as_str())
        .try_map(row::key)
        .fetch_optional(connection)
        .await?;
    found.ok_or_else(|| Missing::Key(id.clone()).into())
}

async fn has_other_admin(
    connection: &mut SqliteConnection,
    id: &KeyId,
    now: i64,
) -> sqlx::Result<bool> {
    query_scalar(
        "SELECT EXISTS (SELECT 1 FROM api_keys WHERE role = ? AND id <> ?
                        AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?))",
    )
    .bind(Role::Admin.as_str())
    .bind(id.as_str())
    .bind(now)
    .fetch_one(connection)
    .await
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// What may change, in the order in which both statements name it.
fn bind_changeable<'q>(query: Query<'q>, key: &ApiKey) -> Query<'q> {
    let limits = &key.limits;
    let query = query.bind(key.expires_at);
    [
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.tokens_per_day,
        limits.max_concurrent_requests,
    ]
    .into_iter()
    .fold(query, |query, limit| {
        query.bind(limit.map(|limit| row::integer(limit.get())))
    })
}
