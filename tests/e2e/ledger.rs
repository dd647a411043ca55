//! The ledger of a server that has stopped: verified as an auditor does, and call by call.

use std::collections::BTreeMap;
use std::path::Path;

use portcullis_ledger::{
    Audit, CallEnd, Closed, KeyKind, LogReport, LogStore, Predicate, RecordId, Salt, TrustedKeys,
    unseal,
};
use portcullis_sign::PublicKey;
use portcullis_store::{Records, SqliteLedger};

use crate::calls::{Choice, Heard};

pub(crate) struct Ledger {
    pub(crate) calls: BTreeMap<RecordId, Recorded>,
    pub(crate) report: LogReport,
    pub(crate) checkpoint: String,
    /// The entry with which the last server began to write.
    pub(crate) last_start: u64,
    store: SqliteLedger,
}

/// What the log says of a call.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) index: u64,
    pub(crate) closed: Vec<Closed>,
}

impl Ledger {
    /// Reads the ledger and verifies it: whole, in order, every call with its end, and, if an older
    /// checkpoint is given, grown from what that one signed.
    pub(crate) async fn read(data_dir: &Path, older: Option<&str>) -> Self {
        let store = SqliteLedger::open_existing(data_dir).await.unwrap();
        let tail = store.tail().await.unwrap();
        let entries = store.entries(0, tail.size).await.unwrap();
        let checkpoint = tail.checkpoint.unwrap();
        let keys = keys(&store).await;
        let mut audit = Audit::new(&checkpoint, &keys);
        older.into_iter().for_each(|older| audit.witnessed(older));
        entries.iter().for_each(|entry| drop(audit.entry(entry)));
        let mut ledger = Self {
            calls: BTreeMap::new(),
            report: audit.finish(),
            checkpoint,
            last_start: 0,
            store,
        };
        assert_eq!(ledger.report.faults, [], "{}", data_dir.display());
        for (index, entry) in (0..).zip(&entries) {
            ledger.take(index, entry, keys.of(KeyKind::Record));
        }
        ledger
    }

    fn take(&mut self, index: u64, entry: &[u8], keys: &[PublicKey]) {
        let (statement, _) = unseal(entry, keys).unwrap();
        match statement.predicate {
            Predicate::Started(_) => self.last_start = index,
            Predicate::Opened(opened) => {
                let id = opened.head.record_id.clone();
                let closed = Vec::new();
                let call = Recorded { index, closed };
                assert!(self.calls.insert(id, call).is_none(), "opened twice");
            }
            Predicate::Closed(closed) => {
                let call = self.calls.get_mut(&closed.head.record_id);
                call.expect("opened before").closed.push(closed);
            }
        }
    }

    /// What the log says of the call that a client heard.
    pub(crate) fn of(&self, heard: &Heard) -> &Recorded {
        let id = heard.record.as_ref().expect("an answer names its record");
        let call = self.calls.get(id);
        call.unwrap_or_else(|| panic!("{id} is not on record"))
    }

    /// That what was released begins with what the client heard, and, if the client heard `all`, is
    /// that.
    pub(crate) async fn check_released(&self, heard: &Heard, all: &[Choice]) {
        let salt = self.salt(heard.record.as_ref().unwrap()).await;
        let end = self.of(heard).end();
        assert_eq!(end.choices.len(), all.len());
        let choices = end.choices.iter().zip(all).zip(heard.choices());
        for (number, ((end, all), heard)) in choices.enumerate() {
            let salt = salt.of(&format!("choice/{number}"));
            let released = end.released_bytes as usize;
            let text = &all.text.as_bytes()[..released];
            assert_eq!(end.output_commitment, salt.commit(text), "{all:?}");
            assert!(
                text.starts_with(heard.text.as_bytes()),
                "{heard:?}, {released} of {all:?}"
            );
        }
    }

    /// What the commitments of a call are salted with.
    pub(crate) async fn salt(&self, id: &RecordId) -> Salt {
        let record = self.store.record(id).await.unwrap();
        record.expect("listed").salt.expect("not erased")
    }
}

impl Recorded {
    /// How the call ended.
    pub(crate) fn end(&self) -> &CallEnd {
        match self.closed.as_slice() {
            [closed] => &closed.end,
            ends => panic!("{} ends", ends.len()),
        }
    }
}

async fn keys(store: &SqliteLedger) -> TrustedKeys {
    let published = store.published_keys().await.unwrap();
    let of = |kind| {
        let keys = published.iter().filter(move |key| key.kind == kind);
        keys.map(|key| PublicKey::from_pem(&key.pem).unwrap())
            .collect()
    };
    TrustedKeys::pinned(of(KeyKind::Record), of(KeyKind::Log))
}
