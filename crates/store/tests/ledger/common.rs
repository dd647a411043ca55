//! A server's life with a ledger, without the server.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use portcullis_ledger::{
    Call, CallEnd, LogStore, NewCall, OpenRecord, Outcome, RecordId, RecordKeys, Recorder,
    RecorderConfig, Resampling, RuleSetUsed, Salt, Started, Timestamp, TokenCounts, TrustedKeys,
    plain_digest, verify_log,
};
use portcullis_sign::SecretKey;
use portcullis_store::{RecordFilter, RecordPage, RecordSummary, Records, SqliteLedger};

/// The first moment of all: 2026-11-21T00:00:00Z.
pub(crate) const MIDNIGHT_MS: i64 = 1_795_219_200_000;
pub(crate) const HOUR_MS: i64 = 3_600_000;

pub(crate) const ALICE: &str = "key_000000000000000a";
pub(crate) const BOB: &str = "key_000000000000000b";

/// What a server has: the ledger, its recorder, and a clock that stands until it is set.
pub(crate) struct Server {
    pub(crate) ledger: Arc<SqliteLedger>,
    pub(crate) recorder: Recorder,
    pub(crate) crashed: usize,
    clock: Arc<AtomicI64>,
}

impl Server {
    pub(crate) async fn start(data_dir: &Path) -> Self {
        Self::with(SqliteLedger::open(data_dir).await.unwrap()).await
    }

    pub(crate) async fn with(ledger: SqliteLedger) -> Self {
        let ledger = Arc::new(ledger);
        let clock = Arc::new(AtomicI64::new(MIDNIGHT_MS));
        let config = config(Arc::clone(&clock));
        let store: Arc<dyn LogStore> = Arc::clone(&ledger) as _;
        let (recorder, crashed) = Recorder::start(store, config).await.unwrap();
        Self {
            ledger,
            recorder,
            crashed,
            clock,
        }
    }

    /// Sets the clock to so long after midnight.
    pub(crate) fn set_time(&self, ms: i64) {
        self.clock.store(MIDNIGHT_MS + ms, Ordering::Relaxed);
    }

    pub(crate) async fn open(&self, call: NewCall) -> OpenRecord {
        let mut record = self.recorder.open(call).unwrap();
        record.durable().await.unwrap();
        record
    }

    /// A call from its beginning to its end.
    pub(crate) async fn call(&self, call: NewCall, end: CallEnd) -> RecordId {
        let record = self.open(call).await;
        let id = record.id().clone();
        record.close(end).durable().await.unwrap();
        id
    }

    /// Ends as a server does: everything is written, and the files are closed.
    pub(crate) async fn stop(self) {
        drop(self.recorder);
        while Arc::strong_count(&self.ledger) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.ledger.close().await;
    }

    pub(crate) async fn list(&self, filter: &RecordFilter) -> RecordPage {
        self.ledger.list_records(filter, None, 1000).await.unwrap()
    }

    pub(crate) async fn record(&self, id: &RecordId) -> RecordSummary {
        self.ledger.record(id).await.unwrap().unwrap()
    }

    /// Signatures, tree, times, pairs and numbers of calls, as an auditor verifies them.
    pub(crate) async fn assert_log_is_sound(&self) {
        let checkpoint = self.recorder.checkpoint();
        let entries = self.ledger.entries(0, checkpoint.size).await.unwrap();
        let entries = entries.into_iter().map(Ok::<_, String>);
        let keys = keys();
        let keys = TrustedKeys::pinned(vec![keys.record.public()], vec![keys.log.public()]);
        let report = verify_log(entries, &checkpoint.note, &keys);
        assert!(report.is_sound(), "{report:?}");
    }
}

fn config(clock: Arc<AtomicI64>) -> RecorderConfig {
    let now = move || {
        let ms = clock.load(Ordering::Relaxed).unsigned_abs();
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    };
    RecorderConfig {
        keys: keys(),
        earlier_log_keys: Vec::new(),
        started: started(),
        max_open: 1000,
        clock: Arc::new(now),
    }
}

pub(crate) fn keys() -> RecordKeys {
    RecordKeys {
        record: SecretKey::from_seed(&[1; 32]),
        log: SecretKey::from_seed(&[2; 32]),
    }
}

fn started() -> Started {
    Started {
        replica: String::new(),
        started_at: Timestamp::default(),
        engine_build: "test".to_owned(),
        deployment: "demo".to_owned(),
        digests: Default::default(),
        record_key: String::new(),
        log_key: String::new(),
    }
}

/// A call of a key to a deployment, under versions of rule sets.
pub(crate) fn call(key: Option<&str>, deployment: &str, rulesets: &[(&str, u32)]) -> NewCall {
    let rulesets = rulesets.iter().map(|(name, version)| RuleSetUsed {
        name: (*name).to_owned(),
        version: *version,
        digest: "sha256:00".to_owned(),
        mode: "enforce".to_owned(),
        signers: Vec::new(),
    });
    NewCall {
        record_id: RecordId::draw().unwrap(),
        key: key.map(str::to_owned),
        key_id_hash: key.map(key_id_hash),
        salt: Salt::draw().unwrap(),
        call: Call {
            deployment: deployment.to_owned(),
            rulesets: rulesets.collect(),
            ..Call::default()
        },
    }
}

pub(crate) fn key_id_hash(key: &str) -> String {
    plain_digest(key.as_bytes())
}

pub(crate) fn end(outcome: Outcome, tokens: u64) -> CallEnd {
    CallEnd {
        usage: TokenCounts {
            prompt: tokens,
            cached: 2 * tokens,
            released: 3 * tokens,
            discarded: 4 * tokens,
        },
        resampling: Some(Resampling {
            attempts: tokens,
            sampling_modified: false,
            claim: portcullis_ledger::Claim::Segments,
        }),
        ..CallEnd::unknown(outcome)
    }
}

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(MIDNIGHT_MS + ms)
}

/// The pages of a list, as far as it goes.
pub(crate) async fn pages(
    ledger: &SqliteLedger,
    filter: &RecordFilter,
    limit: u32,
) -> Vec<Vec<RecordId>> {
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = ledger.list_records(filter, after, limit).await.unwrap();
        pages.push(page.records.into_iter().map(|record| record.id).collect());
        match page.next {
            Some(next) => after = Some(next),
            None => return pages,
        }
    }
}
