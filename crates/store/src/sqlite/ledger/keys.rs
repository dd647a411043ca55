//! Public keys that have signed something.

use sqlx::{SqliteConnection, query};

use super::row;
use crate::PublishedKey;
use crate::sqlite::work::Fault;

/// Oldest first.
pub(super) async fn list(connection: &mut SqliteConnection) -> sqlx::Result<Vec<PublishedKey>> {
    query("SELECT * FROM public_keys ORDER BY since, rowid")
        .try_map(row::published_key)
        .fetch_all(connection)
        .await
}

/// The same again changes nothing.
pub(super) async fn publish(
    connection: &mut SqliteConnection,
    key: &PublishedKey,
) -> Result<(), Fault> {
    query(
        "INSERT INTO public_keys (id, kind, pem, since) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(key.id.as_str())
    .bind(key.kind.as_str())
    .bind(key.pem.as_str())
    .bind(key.since.unix_ms())
    .execute(connection)
    .await?;
    Ok(())
}
