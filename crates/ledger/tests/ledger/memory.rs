//! A log in memory, whose storage fails when it is told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use portcullis_ledger::{
    Batch, Hash, LeafRef, LogEvent, LogStore, LogTail, OpenCall, RecordId, StorageError, Timestamp,
};
use tokio::time::sleep;

#[derive(Default)]
pub(crate) struct MemoryStore {
    kept: Mutex<Kept>,
    pub(crate) trouble: Mutex<Option<Trouble>>,
    /// How long an append takes.
    pub(crate) append_ms: AtomicU64,
}

/// How the storage fails.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Trouble {
    /// Whatever is asked of it.
    Always,
    /// Whatever is to be written; it can be read.
    Writing,
    /// The next append fails and is written all the same.
    OnceThoughWritten,
}

#[derive(Clone, Default)]
pub(crate) struct Kept {
    pub(crate) replica: Option<String>,
    pub(crate) entries: Vec<Vec<u8>>,
    /// The hashes of the tree, by their index in it.
    pub(crate) hashes: Vec<Hash>,
    pub(crate) edge: Vec<Hash>,
    pub(crate) last_at: Timestamp,
    /// After each append.
    pub(crate) checkpoints: Vec<String>,
    open: BTreeMap<u64, OpenCall>,
    calls: BTreeMap<Option<String>, u64>,
}

impl MemoryStore {
    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// What the next process finds if this one dies now.
    pub(crate) fn after_a_crash(&self) -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::new(self.kept().clone()),
            ..Self::default()
        })
    }

    pub(crate) fn fail(&self, trouble: impl Into<Option<Trouble>>) {
        *self.trouble.lock().unwrap() = trouble.into();
    }

    fn answer(&self) -> Result<(), StorageError> {
        self.answer_unless(|trouble| trouble == Trouble::Always)
    }

    fn answer_writer(&self) -> Result<(), StorageError> {
        self.answer_unless(|trouble| matches!(trouble, Trouble::Always | Trouble::Writing))
    }

    fn answer_unless(&self, fails: impl Fn(Trouble) -> bool) -> Result<(), StorageError> {
        match self.trouble.lock().unwrap().is_some_and(fails) {
            true => Err(StorageError::told_as(
                "the disk is full",
                "in a test: the disk is full",
            )),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl LogStore for MemoryStore {
    async fn tail(&self) -> Result<LogTail, StorageError> {
        self.answer()?;
        let kept = self.kept();
        Ok(LogTail {
            replica: kept.replica.clone(),
            size: kept.entries.len() as u64,
            edge: kept.edge.clone(),
            last_at: kept.last_at,
            checkpoint: kept.checkpoints.last().cloned(),
        })
    }

    async fn append(&self, batch: &Batch) -> Result<(), StorageError> {
        sleep(Duration::from_millis(
            self.append_ms.load(Ordering::Relaxed),
        ))
        .await;
        self.answer_writer()?;
        self.kept().take(batch);
        let trouble = self.trouble.lock().unwrap().take();
        match trouble {
            Some(_) => Err(StorageError::new("the disk did not answer")),
            None => Ok(()),
        }
    }

    async fn check_writable(&self) -> Result<(), StorageError> {
        self.answer_writer()
    }

    async fn open_calls(&self) -> Result<Vec<OpenCall>, StorageError> {
        self.answer()?;
        Ok(self.kept().open.values().cloned().collect())
    }

    async fn calls_of(&self, key_id_hash: Option<&str>) -> Result<u64, StorageError> {
        self.answer()?;
        let key = key_id_hash.map(ToOwned::to_owned);
        Ok(self.kept().calls.get(&key).copied().unwrap_or(0))
    }
}

impl Kept {
    fn take(&mut self, batch: &Batch) {
        assert_eq!(
            batch.first,
            self.entries.len() as u64,
            "nothing is overwritten"
        );
        for entry in &batch.entries {
            let index = self.entries.len() as u64;
            self.grow_edge(&entry.hashes);
            match &entry.event {
                LogEvent::Started(started) => self.replica = Some(started.replica.clone()),
                LogEvent::Opened { opened, .. } => {
                    *self
                        .calls
                        .entry(opened.head.key_id_hash.clone())
                        .or_default() += 1;
                    let call = OpenCall {
                        head: opened.head.clone(),
                        opened: LeafRef {
                            index,
                            leaf_hash: hex::encode(entry.hashes[0].0),
                        },
                    };
                    self.open.insert(index, call);
                }
                LogEvent::Closed(closed) => {
                    self.open.remove(&closed.opened.index).unwrap();
                }
            }
            self.hashes.extend(&entry.hashes);
            self.entries.push(entry.bytes.clone());
        }
        self.last_at = batch.last_at;
        self.checkpoints.push(batch.checkpoint.note.clone());
    }

    fn grow_edge(&mut self, hashes: &[Hash]) {
        self.edge.truncate(self.edge.len() + 1 - hashes.len());
        self.edge.extend(hashes.last());
    }

    pub(crate) fn open_ids(&self) -> Vec<RecordId> {
        let open = self.open.values();
        open.map(|call| call.head.record_id.clone()).collect()
    }
}
