//! From what happened to the next entries of the log. Pure: nothing is written here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tlog_tiles::tlog::Hash;

use crate::{
    CallEnd, CheckpointError, Closed, ENTRY_MAX_BYTES, Head, LeafRef, LogSigner, NewCall, OpenCall,
    Opened, Predicate, RecordId, RecordKeys, Salt, SignedCheckpoint, Started, Timestamp, Tree,
    seal,
};

/// Entries that are added together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The log before it, in entries.
    pub first: u64,
    /// The entries.
    pub entries: Vec<Appended>,
    /// The log after it.
    pub checkpoint: SignedCheckpoint,
    /// When the last of them was made.
    pub last_at: Timestamp,
}

/// An entry, and what is to be found again by it.
#[derive(Clone, Debug)]
pub struct Appended {
    /// The entry: a DSSE envelope in one line of JSON.
    pub bytes: Vec<u8>,
    /// The hash of its leaf and of each subtree that it completes, from the leaf upwards.
    pub hashes: Vec<Hash>,
    /// What it says.
    pub event: LogEvent,
}

/// What an entry says, with what is kept beside the log.
#[derive(Clone, Debug)]
pub enum LogEvent {
    /// A server began to write.
    Started(Started),
    /// A call began.
    Opened {
        /// What the entry says.
        opened: Opened,
        /// Id of the API key.
        key: Option<String>,
        /// What the commitments of the call are salted with.
        salt: Salt,
    },
    /// A call ended.
    Closed(Closed),
}

/// What a log is to take up next.
#[derive(Clone, Debug)]
pub(crate) enum Draft {
    Started(Started),
    Open(Box<NewCall>),
    Close(RecordId, CallEnd),
}

/// A log as its writer knows it.
#[derive(Clone, Debug)]
pub(crate) struct LogState {
    replica: String,
    tree: Tree,
    last_at: Timestamp,
    /// Calls of each key, as far as they were asked for.
    calls: HashMap<Option<String>, u64>,
    open: BTreeMap<RecordId, OpenCall>,
}

/// Entries that are not written yet, and the log with them.
pub(crate) struct Staging<'s> {
    state: &'s LogState,
    keys: &'s RecordKeys,
    now: Timestamp,
    tree: Tree,
    entries: Vec<Appended>,
    /// What differs from the state.
    calls: HashMap<Option<String>, u64>,
    began: BTreeMap<RecordId, OpenCall>,
    ended: BTreeSet<RecordId>,
}

/// A batch with what it changes.
pub(crate) struct Staged {
    pub(crate) batch: Batch,
    change: Change,
}

struct Change {
    tree: Tree,
    calls: HashMap<Option<String>, u64>,
    began: BTreeMap<RecordId, OpenCall>,
    ended: BTreeSet<RecordId>,
}

/// Why an entry cannot be in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotStaged {
    /// The call never began, or has ended.
    NotOpen,
    /// It says too much.
    TooLong,
}

impl LogState {
    pub(crate) fn new(
        replica: String,
        tree: Tree,
        last_at: Timestamp,
        open: Vec<OpenCall>,
    ) -> Self {
        let open = open
            .into_iter()
            .map(|call| (call.head.record_id.clone(), call));
        Self {
            replica,
            tree,
            last_at,
            calls: HashMap::new(),
            open: open.collect(),
        }
    }

    pub(crate) fn replica(&self) -> &str {
        &self.replica
    }

    pub(crate) fn open_ids(&self) -> Vec<RecordId> {
        self.open.keys().cloned().collect()
    }

    /// Whether the calls of a key still have to be asked for.
    pub(crate) fn knows_calls_of(&self, key_id_hash: &Option<String>) -> bool {
        self.calls.contains_key(key_id_hash)
    }

    pub(crate) fn note_calls_of(&mut self, key_id_hash: Option<String>, calls: u64) {
        self.calls.insert(key_id_hash, calls);
    }

    /// Begins a batch. Time does not go back in a log, whatever the clock says.
    pub(crate) fn stage<'s>(&'s self, keys: &'s RecordKeys, now: Timestamp) -> Staging<'s> {
        Staging {
            now: now.max(self.last_at),
            tree: self.tree.clone(),
            entries: Vec::new(),
            calls: HashMap::new(),
            began: BTreeMap::new(),
            ended: BTreeSet::new(),
            state: self,
            keys,
        }
    }

    /// The batch is durable.
    pub(crate) fn apply(&mut self, staged: Staged) {
        let Staged { batch, change } = staged;
        self.last_at = batch.last_at;
        self.tree = change.tree;
        self.calls.extend(change.calls);
        self.open.extend(change.began);
        for ended in change.ended {
            self.open.remove(&ended);
        }
    }
}

impl Staging<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn add(&mut self, draft: &Draft) -> Result<(), NotStaged> {
        match draft {
            Draft::Started(started) => self.start(started),
            Draft::Open(call) => self.open(call),
            Draft::Close(id, end) => self.close(id, end),
        }
    }

    fn start(&mut self, started: &Started) -> Result<(), NotStaged> {
        let started = Started {
            replica: self.state.replica.clone(),
            started_at: self.now,
            record_key: self.keys.record.public().id().to_string(),
            ..started.clone()
        };
        self.append(
            Predicate::Started(started.clone()),
            LogEvent::Started(started),
        )?;
        Ok(())
    }

    fn open(&mut self, new: &NewCall) -> Result<(), NotStaged> {
        let key = &new.key_id_hash;
        let seq = *self
            .calls
            .get(key)
            .or(self.state.calls.get(key))
            .unwrap_or(&0);
        let head = Head {
            record_id: new.record_id.clone(),
            replica: self.state.replica.clone(),
            key_id_hash: key.clone(),
            seq,
        };
        let opened = Opened {
            head: head.clone(),
            opened_at: self.now,
            call: new.call.clone(),
        };
        let event = LogEvent::Opened {
            opened: opened.clone(),
            key: new.key.clone(),
            salt: new.salt,
        };
        let opened = self.append(Predicate::Opened(opened), event)?;
        self.calls.insert(key.clone(), seq + 1);
        self.began
            .insert(head.record_id.clone(), OpenCall { head, opened });
        Ok(())
    }

    fn close(&mut self, id: &RecordId, end: &CallEnd) -> Result<(), NotStaged> {
        if self.ended.contains(id) {
            return Err(NotStaged::NotOpen);
        }
        let open = self.began.get(id).or_else(|| self.state.open.get(id));
        let OpenCall { head, opened } = open.cloned().ok_or(NotStaged::NotOpen)?;
        let closed = Closed {
            head,
            closed_at: self.now,
            opened,
            end: end.clone(),
        };
        self.append(Predicate::Closed(closed.clone()), LogEvent::Closed(closed))?;
        self.ended.insert(id.clone());
        Ok(())
    }

    fn append(&mut self, predicate: Predicate, event: LogEvent) -> Result<LeafRef, NotStaged> {
        let bytes = seal(predicate, &self.keys.record);
        if bytes.len() > ENTRY_MAX_BYTES {
            return Err(NotStaged::TooLong);
        }
        let index = self.tree.size();
        let hashes = self.tree.push_entry(&bytes);
        let leaf_hash = hex::encode(hashes[0].0);
        self.entries.push(Appended {
            bytes,
            hashes,
            event,
        });
        Ok(LeafRef { index, leaf_hash })
    }

    /// The batch with its checkpoint.
    pub(crate) fn finish(self, signer: &LogSigner<'_>) -> Result<Staged, CheckpointError> {
        let batch = Batch {
            first: self.state.tree.size(),
            checkpoint: signer.sign(&self.tree)?,
            entries: self.entries,
            last_at: self.now,
        };
        let change = Change {
            tree: self.tree,
            calls: self.calls,
            began: self.began,
            ended: self.ended,
        };
        Ok(Staged { batch, change })
    }
}
