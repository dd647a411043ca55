//! Servers, calls and logs to look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use portcullis_ledger::{
    Call, CallEnd, ChoiceEnd, LogReport, LogSigner, NewCall, OpenRecord, Outcome, Predicate,
    RecordId, RecordKeys, Recorder, RecorderConfig, RuleSetUsed, Salt, StartError, Started, Tree,
    TrustedKeys, plain_digest, seal, unseal, verify_log,
};
use portcullis_sign::{PublicKey, SecretKey};

use crate::memory::MemoryStore;

pub(crate) const RULESET: &[u8] = b"ruleset: retail-advice\nversion: 3\n";

pub(crate) const RECORD: u8 = 1;
pub(crate) const LOG: u8 = 2;
/// Of who signed the rule set.
pub(crate) const AUTHOR: u8 = 5;
/// Of somebody else.
pub(crate) const STRANGER: u8 = 9;

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub(crate) fn public(seeds: &[u8]) -> Vec<PublicKey> {
    seeds.iter().map(|&seed| key(seed).public()).collect()
}

/// What an auditor has from the operator.
pub(crate) fn pinned() -> TrustedKeys {
    TrustedKeys::pinned(public(&[RECORD]), public(&[LOG]))
}

/// Each look at it is a second later.
#[derive(Clone, Default)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    fn now(&self) -> Duration {
        Duration::from_secs(1_700_000_000 + self.0.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn set_back(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

pub(crate) fn config(clock: &TestClock) -> RecorderConfig {
    let clock = clock.clone();
    RecorderConfig {
        keys: RecordKeys {
            record: key(RECORD),
            log: key(LOG),
        },
        earlier_log_keys: Vec::new(),
        started: Started {
            replica: String::new(),
            started_at: UNIX_EPOCH.into(),
            engine_build: "0.1.0".to_owned(),
            deployment: "demo".to_owned(),
            digests: Default::default(),
            record_key: String::new(),
            log_key: String::new(),
        },
        max_open: 100,
        clock: Arc::new(move || UNIX_EPOCH + clock.now()),
    }
}

pub(crate) async fn start(
    store: &Arc<MemoryStore>,
    config: RecorderConfig,
) -> Result<(Recorder, usize), StartError> {
    Recorder::start(store.clone(), config).await
}

/// A call of this API key; `None` is nobody's.
pub(crate) fn call(number: u64, api_key: Option<&str>) -> NewCall {
    let salt = Salt::from_bytes([7; 32]);
    NewCall {
        record_id: RecordId::parse(&format!("rec_{number:032x}")).unwrap(),
        key: api_key.map(ToOwned::to_owned),
        key_id_hash: api_key.map(|key| plain_digest(key.as_bytes())),
        salt,
        call: Call {
            endpoint: "/v1/completions".to_owned(),
            deployment: "demo".to_owned(),
            request_commitment: salt.commit(b"{}"),
            rulesets: vec![RuleSetUsed {
                name: "retail-advice".to_owned(),
                version: 3,
                digest: format!("sha256:{}", plain_digest(RULESET)),
                mode: "enforce".to_owned(),
                signers: vec![key(AUTHOR).public().id().to_string()],
            }],
            ..Call::default()
        },
    }
}

pub(crate) fn end(outcome: Outcome) -> CallEnd {
    CallEnd {
        choices: vec![ChoiceEnd {
            finish_reason: Some("stop".to_owned()),
            output_commitment: Salt::from_bytes([7; 32]).commit(b"Yes."),
            released_bytes: 4,
        }],
        ..CallEnd::unknown(outcome)
    }
}

pub(crate) async fn opened(recorder: &Recorder, number: u64, key: Option<&str>) -> OpenRecord {
    let mut record = recorder.open(call(number, key)).unwrap();
    record.durable().await.unwrap();
    record
}

pub(crate) async fn closed(record: OpenRecord, outcome: Outcome) {
    record.close(end(outcome)).durable().await.unwrap();
}

/// Entries of a log with the checkpoint over them.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) checkpoint: String,
}

/// Two servers, one after the other: the first crashed with a call open, the second still has one.
///
/// 0 started; 1, 2 call 0 of ada; 3 call 0 of nobody; 4, 5 call 1 of ada; 6 the crash of 3;
/// 7 started; 8, 9 call 2 of ada; 10 call 1 of nobody.
pub(crate) async fn store_of_two_servers() -> Arc<MemoryStore> {
    let (store, clock) = (Arc::new(MemoryStore::default()), TestClock::default());
    let (first, _) = start(&store, config(&clock)).await.unwrap();
    closed(opened(&first, 0, Some("ada")).await, Outcome::Finished).await;
    let _never_ends = opened(&first, 1, None).await;
    closed(opened(&first, 2, Some("ada")).await, Outcome::Refused).await;

    let store = store.after_a_crash();
    let (second, crashed) = start(&store, config(&clock)).await.unwrap();
    assert_eq!(crashed, 1);
    closed(opened(&second, 3, Some("ada")).await, Outcome::Finished).await;
    let _under_way = opened(&second, 4, None).await;
    store.after_a_crash()
}

pub(crate) async fn two_servers() -> Log {
    let store = store_of_two_servers().await;
    Log::of(&store)
}

/// One server and so many calls: an entry, and two for each.
pub(crate) async fn many_calls(calls: u64) -> Log {
    let store = Arc::new(MemoryStore::default());
    let (recorder, _) = start(&store, config(&TestClock::default())).await.unwrap();
    for number in 0..calls {
        closed(
            opened(&recorder, number, Some("ada")).await,
            Outcome::Finished,
        )
        .await;
    }
    Log::of(&store)
}

impl Log {
    pub(crate) fn of(store: &MemoryStore) -> Self {
        let kept = store.kept();
        Self {
            entries: kept.entries.clone(),
            checkpoint: kept.checkpoints.last().unwrap().clone(),
        }
    }

    pub(crate) fn verify(&self) -> LogReport {
        self.verify_with(&pinned())
    }

    pub(crate) fn verify_with(&self, keys: &TrustedKeys) -> LogReport {
        let entries = self.entries.iter().cloned().map(Ok::<_, String>);
        verify_log(entries, &self.checkpoint, keys)
    }

    /// With these entries instead, and the checkpoint that is there.
    pub(crate) fn with(&self, entries: Vec<Vec<u8>>) -> Self {
        Self {
            entries,
            checkpoint: self.checkpoint.clone(),
        }
    }

    pub(crate) fn predicates(&self) -> Vec<Predicate> {
        let entries = self.entries.iter();
        let read = entries.map(|entry| unseal(entry, &public(&[RECORD])).unwrap().0.predicate);
        read.collect()
    }

    pub(crate) fn origin(&self) -> String {
        self.checkpoint.lines().next().unwrap().to_owned()
    }

    /// What somebody makes of it who has both keys and builds the tree anew. Each end of a call
    /// refers to its beginning where that is now.
    pub(crate) fn rewritten(&self, change: impl FnOnce(&mut Vec<Predicate>)) -> Self {
        let mut predicates = self.predicates();
        change(&mut predicates);
        Self::written(&self.origin(), predicates, &key(RECORD), &key(LOG))
    }

    pub(crate) fn written(
        origin: &str,
        predicates: Vec<Predicate>,
        record: &SecretKey,
        log: &SecretKey,
    ) -> Self {
        let (mut tree, mut entries) = (Tree::default(), Vec::new());
        let mut began = std::collections::BTreeMap::new();
        for mut predicate in predicates {
            if let Predicate::Closed(closed) = &mut predicate
                && let Some(leaf) = began.get(&closed.head.record_id)
            {
                closed.opened = Clone::clone(leaf);
            }
            let id = match &predicate {
                Predicate::Opened(opened) => Some(opened.head.record_id.clone()),
                _ => None,
            };
            let index = tree.size();
            let entry = seal(predicate, record);
            let leaf_hash = hex::encode(tree.push_entry(&entry)[0].0);
            if let Some(id) = id {
                began.insert(id, portcullis_ledger::LeafRef { index, leaf_hash });
            }
            entries.push(entry);
        }
        let checkpoint = LogSigner::new(origin, log).sign(&tree).unwrap().note;
        Self {
            entries,
            checkpoint,
        }
    }
}
