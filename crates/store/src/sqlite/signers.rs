//! Who may sign.

use sqlx::{SqliteConnection, query};

use super::row;
use super::work::Fault;
use crate::{Missing, NewSigner, RuleSetName, Signer, SignerId, StoreError};

pub(super) async fn add(
    connection: &mut SqliteConnection,
    new: NewSigner,
    now: i64,
) -> Result<Signer, Fault> {
    let Some(there) = find(connection, &new.id).await? else {
        return Ok(insert(connection, &new, now).await?);
    };
    let is_same = there.name == new.name
        && there.role == new.role
        && there.rulesets == new.rulesets
        && there.public_key == new.public_key;
    match is_same && there.revoked_at.is_none() {
        true => Ok(there),
        false => Err(Fault::Refused(StoreError::SignerExists {
            id: there.id,
            name: there.name,
            revoked: there.revoked_at.is_some(),
        })),
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    new: &NewSigner,
    now: i64,
) -> sqlx::Result<Signer> {
    let rulesets = new.rulesets.as_ref().map(|names| {
        let names: Vec<&str> = names.iter().map(RuleSetName::as_str).collect();
        names.join(" ")
    });
    query(
        "INSERT INTO signers (id, name, role, rulesets, public_key, created_at)
         VALUES (?, ?, ?, ?, ?, ?) RETURNING *",
    )
    .bind(new.id.as_str())
    .bind(new.name.as_str())
    .bind(new.role.as_str())
    .bind(rulesets)
    .bind(new.public_key.as_str())
    .bind(now)
    .try_map(row::signer)
    .fetch_one(connection)
    .await
}

async fn find(connection: &mut SqliteConnection, id: &SignerId) -> sqlx::Result<Option<Signer>> {
    query("SELECT * FROM signers WHERE id = ?")
        .bind(id.as_str())
        .try_map(row::signer)
        .fetch_optional(connection)
        .await
}

/// All of them, oldest first.
pub(super) async fn list(connection: &mut SqliteConnection) -> sqlx::Result<Vec<Signer>> {
    query("SELECT * FROM signers ORDER BY created_at, rowid")
        .try_map(row::signer)
        .fetch_all(connection)
        .await
}

pub(super) async fn revoke(
    connection: &mut SqliteConnection,
    id: &SignerId,
    distrust: bool,
    now: i64,
) -> Result<Signer, Fault> {
    let revoked = query(
        "UPDATE signers SET revoked_at = coalesce(revoked_at, ?), distrusted = max(distrusted, ?)
         WHERE id = ? RETURNING *",
    )
    .bind(now)
    .bind(distrust)
    .bind(id.as_str())
    .try_map(row::signer)
    .fetch_optional(connection)
    .await?;
    revoked.ok_or_else(|| Missing::Signer(id.clone()).into())
}
