//! Erasing texts and salts, so that their bytes are nowhere in the files.
//!
//! SQLite overwrites what is deleted (`secure_delete`), and the write-ahead logs, which hold it as
//! it was, are folded into the files and cut off. A record's salt goes before its text: if the
//! process ends between the two, the text is still there to be found and erased.

use portcullis_ledger::{RecordId, Timestamp};
use sqlx::{Row, SqliteConnection, query, query_scalar};
use tokio::time::{sleep, timeout};

use super::{SqliteLedger, row, texts};
use crate::sqlite::database::{Database, RETRY_PAUSE, WAIT_MAX};
use crate::sqlite::row::integer;
use crate::sqlite::work::{Fault, Work};
use crate::{Erased, KeyId, StoreError, TextClass, Unusable};

const OPERATION: &str = "erasing";

/// Records that are erased in one transaction, so that the log can be written in between.
const CHUNK: u32 = 256;

/// An erasure under way.
pub(super) struct Erasure<'l> {
    ledger: &'l SqliteLedger,
    erased: Erased,
}

impl SqliteLedger {
    pub(super) fn erasure(&self) -> Erasure<'_> {
        Erasure {
            ledger: self,
            erased: Erased::default(),
        }
    }
}

impl Erasure<'_> {
    pub(super) async fn of_record(mut self, id: &RecordId) -> Result<Erased, StoreError> {
        self.erase(std::slice::from_ref(id)).await?;
        self.finish().await
    }

    pub(super) async fn of_key(mut self, key: &KeyId) -> Result<Erased, StoreError> {
        let mut before = i64::MAX;
        loop {
            let (ids, first) = self.calls_of_key(key, before).await?;
            let Some(first) = first else {
                return self.finish().await;
            };
            self.erase(&ids).await?;
            before = first;
        }
    }

    /// Some calls of a key that began before entry `before`, and the entry of the first of them.
    async fn calls_of_key(
        &self,
        key: &KeyId,
        before: i64,
    ) -> Result<(Vec<RecordId>, Option<i64>), StoreError> {
        let found = query(
            "SELECT record_id, opened_index FROM calls INDEXED BY calls_by_key
             WHERE key_id = ? AND opened_index < ? ORDER BY opened_index DESC LIMIT ?",
        )
        .bind(key.as_str())
        .bind(before)
        .bind(CHUNK)
        .try_map(|row| Ok((row::record_id(&row)?, row.try_get("opened_index")?)))
        .fetch_all(&self.ledger.log.readers)
        .await
        .map_err(self.ledger.log.failed(OPERATION))?;
        let first = found.last().map(|(_, index)| *index);
        Ok((found.into_iter().map(|(id, _)| id).collect(), first))
    }

    pub(super) async fn of_expired(
        mut self,
        classes: &[TextClass],
        now: Timestamp,
    ) -> Result<Erased, StoreError> {
        for class in classes {
            let keep_ms = integer(class.keep_s.saturating_mul(1000));
            let before = now.unix_ms().saturating_sub(keep_ms);
            self.of_class(class, before).await?;
        }
        self.finish().await
    }

    async fn of_class(&mut self, class: &TextClass, before: i64) -> Result<(), StoreError> {
        loop {
            let ids = self.expired(class, before).await?;
            if ids.is_empty() {
                break;
            }
            self.erase(&ids).await?;
        }
        let held: u64 = query_scalar(
            "SELECT count(*) FROM texts JOIN holds USING (record_id)
             WHERE class = ? AND opened_at < ?",
        )
        .bind(class.name.as_str())
        .bind(before)
        .fetch_one(&self.ledger.texts.readers)
        .await
        .map_err(self.ledger.texts.failed(OPERATION))?;
        self.erased.held += held;
        Ok(())
    }

    /// Some texts of a class that are too old and not held.
    async fn expired(&self, class: &TextClass, before: i64) -> Result<Vec<RecordId>, StoreError> {
        query(
            "SELECT record_id FROM texts WHERE class = ? AND opened_at < ?
             AND record_id NOT IN (SELECT record_id FROM holds) LIMIT ?",
        )
        .bind(class.name.as_str())
        .bind(before)
        .bind(CHUNK)
        .try_map(|row| row::record_id(&row))
        .fetch_all(&self.ledger.texts.readers)
        .await
        .map_err(self.ledger.texts.failed(OPERATION))
    }

    /// Erases these records but those that are held.
    async fn erase(&mut self, ids: &[RecordId]) -> Result<(), StoreError> {
        let mut work = Work::begin(&self.ledger.texts, OPERATION).await?;
        let done = self.erase_within(work.connection(), ids).await;
        let erased = work.finish(done).await?;
        self.erased.records += erased.records;
        self.erased.held += erased.held;
        Ok(())
    }

    async fn erase_within(
        &self,
        texts: &mut SqliteConnection,
        ids: &[RecordId],
    ) -> Result<Erased, Fault> {
        let held = texts::held(texts, &ids.iter().collect::<Vec<_>>()).await?;
        let free = ids.iter().filter(|id| !held.contains(id.as_str()));
        let free = serde_json::json!(free.collect::<Vec<_>>()).to_string();
        let mut gone = self.erase_salts(&free).await?;
        gone.extend(erase_texts(texts, &free).await?);
        gone.sort_unstable();
        gone.dedup();
        Ok(Erased {
            records: gone.len() as u64,
            held: held.len() as u64,
        })
    }

    /// Gives the records that had one.
    async fn erase_salts(&self, ids: &str) -> Result<Vec<String>, StoreError> {
        let mut work = Work::begin(&self.ledger.log, OPERATION).await?;
        let done = query_scalar(
            "DELETE FROM salts WHERE opened_index IN
                 (SELECT opened_index FROM calls
                  WHERE record_id IN (SELECT value FROM json_each(?)))
             RETURNING (SELECT record_id FROM calls
                        WHERE calls.opened_index = salts.opened_index)",
        )
        .bind(ids)
        .fetch_all(work.connection())
        .await;
        work.finish(done.map_err(Fault::from)).await
    }

    async fn finish(self) -> Result<Erased, StoreError> {
        cut_off_wal(&self.ledger.log).await?;
        cut_off_wal(&self.ledger.texts).await?;
        Ok(self.erased)
    }
}

/// Gives the records that had one.
async fn erase_texts(texts: &mut SqliteConnection, ids: &str) -> sqlx::Result<Vec<String>> {
    query_scalar(
        "DELETE FROM texts WHERE record_id IN (SELECT value FROM json_each(?)) RETURNING record_id",
    )
    .bind(ids)
    .fetch_all(texts)
    .await
}

/// Folds the write-ahead log into the file and cuts it off, as soon as no reader needs it any more.
/// In between others may write: calls wait for the log.
async fn cut_off_wal(database: &Database) -> Result<(), StoreError> {
    const OPERATION: &str = "cutting off what was erased";
    let cut_off = async {
        while !try_cut_off_wal(database).await? {
            sleep(RETRY_PAUSE).await;
        }
        Ok(())
    };
    match timeout(WAIT_MAX, cut_off).await {
        Ok(done) => done.map_err(database.failed(OPERATION)),
        Err(_) => Err(database.unusable(OPERATION, Unusable::Busy)),
    }
}

/// `false` if somebody reads what is in it.
async fn try_cut_off_wal(database: &Database) -> sqlx::Result<bool> {
    let is_busy: bool = query_scalar("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(&database.writer)
        .await?;
    Ok(!is_busy)
}
