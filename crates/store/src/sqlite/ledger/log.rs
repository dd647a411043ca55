//! Reading the log: its end, its entries, the hashes of its tree.

use portcullis_ledger::{Hash, LogTail, OpenCall, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, query, query_scalar};
use tlog_tiles::tlog::{split_stored_hash_index, sub_tree_index};

use super::row;
use crate::sqlite::row::integer;

/// Entries.
pub(super) async fn size(connection: &mut SqliteConnection) -> sqlx::Result<u64> {
    query_scalar("SELECT coalesce(max(idx) + 1, 0) FROM entries")
        .fetch_one(connection)
        .await
}

/// Where it ends, as of the snapshot of `connection`.
pub(super) async fn tail(connection: &mut SqliteConnection) -> sqlx::Result<LogTail> {
    let size = size(connection).await?;
    let edge = hashes(connection, &sub_tree_index(0, size, Vec::new())).await?;
    let tail = LogTail {
        size,
        edge,
        ..LogTail::default()
    };
    let end = |row: SqliteRow| {
        Ok(LogTail {
            replica: row.try_get("replica")?,
            last_at: Timestamp::from_unix_ms(row.try_get("last_at")?),
            checkpoint: row.try_get("checkpoint")?,
            ..tail.clone()
        })
    };
    let written = query("SELECT * FROM log")
        .try_map(end)
        .fetch_optional(connection)
        .await?;
    Ok(written.unwrap_or(tail))
}

/// Writes the first page as it is: SQLite's header has a number that nobody reads.
pub(super) async fn touch(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let touched = query("PRAGMA user_version = 0").execute(connection).await;
    touched.map(drop)
}

/// In the order in which they began.
pub(super) async fn open_calls(connection: &mut SqliteConnection) -> sqlx::Result<Vec<OpenCall>> {
    query(
        "SELECT record_id, log.replica, key_id_hash, seq, opened_index,
                substr(hashes, 1, 32) AS leaf_hash
         FROM calls INDEXED BY calls_open
         JOIN entries ON idx = opened_index
         CROSS JOIN log
         WHERE closed_index IS NULL ORDER BY opened_index",
    )
    .try_map(row::open_call)
    .fetch_all(connection)
    .await
}

/// No number is left out, so the next one is how many there are.
pub(super) async fn calls_of(
    connection: &mut SqliteConnection,
    key_id_hash: Option<&str>,
) -> sqlx::Result<u64> {
    query_scalar("SELECT coalesce(max(seq) + 1, 0) FROM calls WHERE key_id_hash = ?")
        .bind(row::key_id_hash(key_id_hash))
        .fetch_one(connection)
        .await
}

/// From `first` to before `end`.
pub(super) async fn entries(
    connection: &mut SqliteConnection,
    first: u64,
    end: u64,
) -> sqlx::Result<Vec<Vec<u8>>> {
    query_scalar("SELECT bytes FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx")
        .bind(integer(first))
        .bind(integer(end))
        .fetch_all(connection)
        .await
}

/// Those that are there, in the order of `indexes`.
pub(super) async fn hashes(
    connection: &mut SqliteConnection,
    indexes: &[u64],
) -> sqlx::Result<Vec<Hash>> {
    let places: Vec<_> = indexes.iter().copied().filter_map(place).collect();
    let places = serde_json::json!(places).to_string();
    query(
        "SELECT substr(hashes, 1 + 32 * (wanted.value ->> 1), 32) AS hash
         FROM json_each(?) AS wanted CROSS JOIN entries ON idx = wanted.value ->> 0
         ORDER BY wanted.key",
    )
    .bind(places)
    .try_map(row::hash)
    .fetch_all(connection)
    .await
}

/// The entry that completes a subtree, and the level of the subtree. Of subtrees that end later
/// than any log, none.
fn place(index: u64) -> Option<(i64, u8)> {
    let (level, n) = split_stored_hash_index(index);
    let entry = u128::from(n + 1) << level;
    Some((i64::try_from(entry - 1).ok()?, level))
}
