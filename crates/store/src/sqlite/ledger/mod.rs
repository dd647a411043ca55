//! The ledger in two SQLite files: the log, which is only added to, and texts, which can be erased.

mod append;
mod erase;
mod keys;
mod list;
mod lock;
mod log;
mod row;
#[cfg(test)]
mod tests;
mod texts;
mod usage;

use std::collections::BTreeSet;
use std::path::Path;

use async_trait::async_trait;
use portcullis_ledger::{
    Batch, Hash, LogStore, LogTail, OpenCall, RecordId, StorageError, Timestamp,
};
use sqlx::Connection;

use super::database::{Database, Schema};
use super::work::Work;
use crate::{
    Cursor, Erased, KeptText, KeyId, PublishedKey, RecordFilter, RecordPage, RecordSummary,
    Records, StoreError, TextClass, Unusable, UsageFilter, UsageRow,
};
use lock::Lock;

/// The name of the log in a data directory.
pub const LEDGER_FILE: &str = "ledger.db";

/// The name of the texts in a data directory.
pub const TEXTS_FILE: &str = "texts.db";

const LOG: Schema = Schema {
    file: LEDGER_FILE,
    steps: &[(
        "log",
        include_str!("../../../migrations/ledger/0001_log.sql"),
    )],
    // Salts are.
    erasable: true,
};

const TEXTS: Schema = Schema {
    file: TEXTS_FILE,
    steps: &[(
        "texts",
        include_str!("../../../migrations/texts/0001_texts.sql"),
    )],
    erasable: true,
};

/// The ledger in [`LEDGER_FILE`] and [`TEXTS_FILE`] of a data directory.
#[derive(Debug)]
pub struct SqliteLedger {
    log: Database,
    texts: Database,
    /// None where it is only read.
    _lock: Option<Lock>,
}

impl SqliteLedger {
    /// Opens the ledger in `data_dir` to write it, and brings its schema up to date; makes what is
    /// not there, readable for this user alone.
    ///
    /// One process writes a log: another that took it up would take calls under way for crashed.
    ///
    /// # Errors
    /// [`StoreError::Unusable`], with the path and what to do; [`Busy`](crate::Unusable::Busy) if
    /// another process writes it.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let lock = Lock::take(data_dir).await?;
        Ok(Self {
            log: Database::open(data_dir, &LOG).await?,
            texts: Database::open(data_dir, &TEXTS).await?,
            _lock: Some(lock),
        })
    }

    /// Opens the ledger that is in `data_dir` to read it, also while a server writes it.
    ///
    /// # Errors
    /// [`StoreError::Unusable`], with the path and what to do;
    /// [`Absent`](crate::Unusable::Absent) if there is none.
    pub async fn open_existing(data_dir: &Path) -> Result<Self, StoreError> {
        let log = Database::open_existing(data_dir, &LOG).await?;
        let texts = match Database::open_existing(data_dir, &TEXTS).await {
            Err(StoreError::Unusable {
                reason: Unusable::Absent,
                ..
            }) => Database::empty(data_dir, &TEXTS).await?,
            opened => opened?,
        };
        Ok(Self {
            log,
            texts,
            _lock: None,
        })
    }

    /// The file of the log.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.log.path
    }

    /// Waits for what is under way and closes the files. Nothing is lost without it; it folds the
    /// write-ahead logs back into the files.
    pub async fn close(&self) {
        self.log.close().await;
        self.texts.close().await;
    }

    async fn held(&self, ids: &[&RecordId]) -> Result<BTreeSet<String>, StoreError> {
        const OPERATION: &str = "looking up legal holds";
        let mut connection = self.texts.reader(OPERATION).await?;
        let held = texts::held(&mut connection, ids).await;
        held.map_err(self.texts.failed(OPERATION))
    }
}

impl From<StoreError> for StorageError {
    /// The path of the database is for the operator alone.
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unusable { reason, .. } => Self::told_as(reason.to_string(), error),
            _ => Self::new(error),
        }
    }
}

#[async_trait]
impl LogStore for SqliteLedger {
    async fn tail(&self) -> Result<LogTail, StorageError> {
        const OPERATION: &str = "reading the end of the log";
        let failed = self.log.failed(OPERATION);
        let mut connection = self.log.reader(OPERATION).await?;
        let mut snapshot = connection.begin().await.map_err(&failed)?;
        Ok(log::tail(&mut snapshot).await.map_err(&failed)?)
    }

    async fn append(&self, batch: &Batch) -> Result<(), StorageError> {
        let mut work = Work::begin(&self.log, "writing the log").await?;
        let done = append::append(work.connection(), batch).await;
        Ok(work.finish(done).await?)
    }

    async fn check_writable(&self) -> Result<(), StorageError> {
        let mut work = Work::begin(&self.log, "trying to write the log").await?;
        let done = log::touch(work.connection()).await;
        Ok(work.finish(done.map_err(Into::into)).await?)
    }

    async fn open_calls(&self) -> Result<Vec<OpenCall>, StorageError> {
        const OPERATION: &str = "looking for open records";
        let mut connection = self.log.reader(OPERATION).await?;
        let open = log::open_calls(&mut connection).await;
        Ok(open.map_err(self.log.failed(OPERATION))?)
    }

    async fn calls_of(&self, key_id_hash: Option<&str>) -> Result<u64, StorageError> {
        const OPERATION: &str = "counting the calls of a key";
        let mut connection = self.log.reader(OPERATION).await?;
        let calls = log::calls_of(&mut connection, key_id_hash).await;
        Ok(calls.map_err(self.log.failed(OPERATION))?)
    }
}

#[async_trait]
impl Records for SqliteLedger {
    async fn list_records(
        &self,
        filter: &RecordFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<RecordPage, StoreError> {
        const OPERATION: &str = "listing the records";
        let mut connection = self.log.reader(OPERATION).await?;
        let page = list::page(&mut connection, filter, after, limit).await;
        let mut page = page.map_err(self.log.failed(OPERATION))?;
        let ids: Vec<_> = page.records.iter().map(|record| &record.id).collect();
        let held = self.held(&ids).await?;
        for record in &mut page.records {
            record.hold = held.contains(record.id.as_str());
        }
        Ok(page)
    }

    async fn record(&self, id: &RecordId) -> Result<Option<RecordSummary>, StoreError> {
        const OPERATION: &str = "looking up a record";
        let mut connection = self.log.reader(OPERATION).await?;
        let found = list::record(&mut connection, id).await;
        let Some(mut found) = found.map_err(self.log.failed(OPERATION))? else {
            return Ok(None);
        };
        found.hold = !self.held(&[id]).await?.is_empty();
        Ok(Some(found))
    }

    async fn entries(&self, first: u64, end: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        const OPERATION: &str = "reading entries";
        let mut connection = self.log.reader(OPERATION).await?;
        let entries = log::entries(&mut connection, first, end).await;
        entries.map_err(self.log.failed(OPERATION))
    }

    async fn hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, StoreError> {
        const OPERATION: &str = "reading hashes of the log";
        let mut connection = self.log.reader(OPERATION).await?;
        let hashes = log::hashes(&mut connection, indexes).await;
        hashes.map_err(self.log.failed(OPERATION))
    }

    async fn usage(&self, filter: &UsageFilter) -> Result<Vec<UsageRow>, StoreError> {
        const OPERATION: &str = "adding up usage";
        let mut connection = self.log.reader(OPERATION).await?;
        let usage = usage::rows(&mut connection, filter).await;
        usage.map_err(self.log.failed(OPERATION))
    }

    async fn published_keys(&self) -> Result<Vec<PublishedKey>, StoreError> {
        const OPERATION: &str = "listing the published keys";
        let mut connection = self.log.reader(OPERATION).await?;
        let keys = keys::list(&mut connection).await;
        keys.map_err(self.log.failed(OPERATION))
    }

    async fn publish_key(&self, key: PublishedKey) -> Result<(), StoreError> {
        let mut work = Work::begin(&self.log, "publishing a key").await?;
        let done = keys::publish(work.connection(), &key).await;
        work.finish(done).await
    }

    async fn keep_text(&self, text: KeptText) -> Result<bool, StoreError> {
        // The lock on the texts comes first, as in an erasure: so neither misses the other.
        let mut work = Work::begin(&self.texts, "keeping a text").await?;
        let done = match self.is_erased(&text.id).await? {
            true => Ok(false),
            false => texts::keep(work.connection(), &text).await.map(|()| true),
        };
        work.finish(done).await
    }

    async fn text(&self, id: &RecordId) -> Result<Option<KeptText>, StoreError> {
        const OPERATION: &str = "reading a text";
        let mut connection = self.texts.reader(OPERATION).await?;
        let found = texts::find(&mut connection, id).await;
        found.map_err(self.texts.failed(OPERATION))
    }

    async fn erase_record(&self, id: &RecordId) -> Result<Erased, StoreError> {
        self.erasure().of_record(id).await
    }

    async fn erase_key(&self, key: &KeyId) -> Result<Erased, StoreError> {
        self.erasure().of_key(key).await
    }

    async fn erase_expired(
        &self,
        classes: &[TextClass],
        now: Timestamp,
    ) -> Result<Erased, StoreError> {
        self.erasure().of_expired(classes, now).await
    }

    async fn set_hold(&self, id: &RecordId, hold: bool) -> Result<bool, StoreError> {
        if !self.is_known(id).await? {
            return Ok(false);
        }
        let mut work = Work::begin(&self.texts, "setting a legal hold").await?;
        let done = texts::set_hold(work.connection(), id, hold).await;
        work.finish(done.map(|()| true)).await
    }
}
