//! Texts of calls, and legal holds.

use std::collections::BTreeSet;

use portcullis_ledger::RecordId;
use sqlx::{SqliteConnection, query, query_scalar};

use super::{SqliteLedger, row};
use crate::sqlite::row::undecodable;
use crate::sqlite::work::Fault;
use crate::{KeptText, StoreError};

pub(super) async fn find(
    connection: &mut SqliteConnection,
    id: &RecordId,
) -> sqlx::Result<Option<KeptText>> {
    query("SELECT * FROM texts WHERE record_id = ?")
        .bind(id.as_str())
        .try_map(row::text)
        .fetch_optional(connection)
        .await
}

/// What was kept of the call before is overwritten.
pub(super) async fn keep(connection: &mut SqliteConnection, text: &KeptText) -> Result<(), Fault> {
    let outputs =
        serde_json::to_string(&text.outputs).map_err(|error| undecodable("outputs", error))?;
    query(
        "INSERT INTO texts (record_id, class, opened_at, request, outputs) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (record_id) DO UPDATE SET class = excluded.class,
             opened_at = excluded.opened_at, request = excluded.request, outputs = excluded.outputs",
    )
    .bind(text.id.as_str())
    .bind(text.class.as_str())
    .bind(text.opened_at.unix_ms())
    .bind(text.request.as_deref())
    .bind(outputs)
    .execute(connection)
    .await?;
    Ok(())
}

/// Which of these records are under legal hold.
pub(super) async fn held(
    connection: &mut SqliteConnection,
    ids: &[&RecordId],
) -> sqlx::Result<BTreeSet<String>> {
    let held: Vec<String> = query_scalar(
        "SELECT record_id FROM holds WHERE record_id IN (SELECT value FROM json_each(?))",
    )
    .bind(serde_json::json!(ids).to_string())
    .fetch_all(connection)
    .await?;
    Ok(held.into_iter().collect())
}

pub(super) async fn set_hold(
    connection: &mut SqliteConnection,
    id: &RecordId,
    hold: bool,
) -> Result<(), Fault> {
    let statement = match hold {
        true => query("INSERT INTO holds (record_id) VALUES (?) ON CONFLICT DO NOTHING"),
        false => query("DELETE FROM holds WHERE record_id = ?"),
    };
    statement.bind(id.as_str()).execute(connection).await?;
    Ok(())
}

impl SqliteLedger {
    /// Whether a record has been erased: it is there, and its salt is not.
    pub(super) async fn is_erased(&self, id: &RecordId) -> Result<bool, StoreError> {
        query_scalar(
            "SELECT EXISTS (SELECT 1 FROM calls LEFT JOIN salts USING (opened_index)
                            WHERE record_id = ? AND salt IS NULL)",
        )
        .bind(id.as_str())
        .fetch_one(&self.log.readers)
        .await
        .map_err(self.log.failed("looking up a record"))
    }

    pub(super) async fn is_known(&self, id: &RecordId) -> Result<bool, StoreError> {
        query_scalar("SELECT EXISTS (SELECT 1 FROM calls WHERE record_id = ?)")
            .bind(id.as_str())
            .fetch_one(&self.log.readers)
            .await
            .map_err(self.log.failed("looking up a record"))
    }
}
