//! The log: what is written is found again, over restarts and crashes.

use portcullis_ledger::{
    KeyKind, LogStore, Outcome, Predicate, SignedCheckpoint, TokenCounts, inclusion,
    indexes_for_inclusion, unseal,
};
use portcullis_store::{PublishedKey, RecordFilter, Records, SqliteLedger};
use tempfile::TempDir;
use tlog_tiles::tlog::{check_record, record_hash};

use super::common::{ALICE, BOB, HOUR_MS, Server, at, call, end, key_id_hash, keys};

#[tokio::test]
async fn what_is_written_is_found_again() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    server.set_time(HOUR_MS);
    let asked = call(Some(ALICE), "bank", &[("cards", 3), ("advice", 1)]);
    let (id, salt) = (asked.record_id.clone(), asked.salt);
    let open = server.open(asked).await;

    let running = server.record(&id).await;
    assert_eq!(running.key.as_ref().unwrap().as_str(), ALICE);
    assert_eq!((running.seq, running.deployment.as_str()), (0, "bank"));
    assert_eq!(running.rulesets, ["cards@3", "advice@1"]);
    assert_eq!((running.opened_at, running.opened_index), (at(HOUR_MS), 1));
    assert_eq!((running.closed, running.attempts), (None, 0));
    assert_eq!(running.usage, TokenCounts::default());
    assert_eq!((running.salt, running.hold), (Some(salt), false));
    let open_calls = server.ledger.open_calls().await.unwrap();
    assert_eq!(open_calls[0].head.record_id, id);
    assert_eq!(open_calls[0].head.key_id_hash, Some(key_id_hash(ALICE)));
    assert_eq!(open_calls[0].head.replica, server.recorder.replica());

    server.set_time(2 * HOUR_MS);
    let ended = end(Outcome::Refused, 7);
    open.close(ended.clone()).durable().await.unwrap();
    let closed = server.record(&id).await;
    let expected = (at(2 * HOUR_MS), Outcome::Refused, 2);
    assert_eq!(closed.closed, Some(expected));
    assert_eq!((closed.usage, closed.attempts), (ended.usage, 7));
    assert!(server.ledger.open_calls().await.unwrap().is_empty());

    // The leaf that the close refers to is that of the opening.
    let entries = server.ledger.entries(1, 99).await.unwrap();
    assert_eq!(entries.len(), 2);
    let leaf = hex::encode(record_hash(&entries[0]).0);
    assert_eq!(open_calls[0].opened.leaf_hash, leaf);
    let (statement, _) = unseal(&entries[1], &[keys().record.public()]).unwrap();
    let Predicate::Closed(closed) = statement.predicate else {
        panic!("{statement:?}")
    };
    assert_eq!((closed.head.record_id, closed.end), (id, ended));
    assert_eq!(server.list(&RecordFilter::default()).await.records.len(), 1);
}

#[tokio::test]
async fn a_restart_goes_on_where_the_log_ends() {
    let dir = TempDir::new().unwrap();
    let mut sizes = Vec::new();
    for life in 0..4_u64 {
        let server = Server::start(dir.path()).await;
        assert_eq!(server.crashed, 0);
        for n in 0..3 {
            for key in [Some(ALICE), None] {
                let id = server
                    .call(call(key, "bank", &[]), end(Outcome::Finished, 1))
                    .await;
                assert_eq!(server.record(&id).await.seq, 3 * life + n);
            }
        }
        let tail = server.ledger.tail().await.unwrap();
        let signed =
            SignedCheckpoint::read(tail.checkpoint.as_deref().unwrap(), &[keys().log.public()])
                .unwrap();
        assert_eq!(
            (signed.size, &signed),
            (tail.size, &server.recorder.checkpoint())
        );
        assert_eq!(tail.replica.as_deref(), Some(server.recorder.replica()));
        sizes.push(tail.size);
        server.stop().await;
    }
    assert_eq!(sizes, [13, 26, 39, 52]);

    let ledger = SqliteLedger::open_existing(dir.path()).await.unwrap();
    for (key, calls) in [(Some(ALICE), 12), (None, 12), (Some(BOB), 0)] {
        let hash = key.map(key_id_hash);
        assert_eq!(ledger.calls_of(hash.as_deref()).await.unwrap(), calls);
    }
}

/// A process that ends without a word: its runtime goes with what was under way.
#[test]
fn what_a_crash_left_open_is_closed_as_crashed() {
    let dir = TempDir::new().unwrap();
    let ids = in_one_process(async {
        let server = Server::start(dir.path()).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            let open = server.open(call(Some(BOB), "bank", &[])).await;
            ids.push(open.id().clone());
            std::mem::forget(open);
        }
        let done = call(Some(BOB), "bank", &[]);
        server.call(done, end(Outcome::Finished, 5)).await;
        ids
    });
    in_one_process(async {
        let server = Server::start(dir.path()).await;
        assert_eq!(server.crashed, 3);
        for (seq, id) in (0..).zip(&ids) {
            let record = server.record(id).await;
            let (_, outcome, index) = record.closed.unwrap();
            assert_eq!((record.seq, outcome), (seq, Outcome::Crashed));
            assert!(index > record.opened_index);
        }
        let next = server.open(call(Some(BOB), "bank", &[])).await;
        assert_eq!(server.record(next.id()).await.seq, 4);
    });
}

fn in_one_process<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(life)
}

/// Subtrees of 256 and 512 leaves are completed on the way.
#[tokio::test]
async fn every_entry_is_proven_by_the_hashes_that_are_kept() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let mut size = 1;
    for wanted in [2, 3, 254, 255, 256, 257, 511, 512, 513, 600] {
        while size < wanted {
            let open = server.open(call(None, "bank", &[])).await;
            size += 1;
            if size < wanted {
                open.close(end(Outcome::Finished, 0))
                    .durable()
                    .await
                    .unwrap();
                size += 1;
            } else {
                std::mem::forget(open);
            }
        }
        check_proofs(&server).await;
    }
}

async fn check_proofs(server: &Server) {
    let checkpoint = server.recorder.checkpoint();
    let size = checkpoint.size;
    let entries = server.ledger.entries(0, size).await.unwrap();
    assert_eq!(entries.len() as u64, size);
    for (index, entry) in (0..).zip(&entries) {
        let indexes = indexes_for_inclusion(size, index).unwrap();
        let hashes = server.ledger.hashes(&indexes).await.unwrap();
        let proof = inclusion(size, index, &hashes).unwrap();
        let leaf = record_hash(entry);
        check_record(&proof, size, checkpoint.root, index, leaf)
            .unwrap_or_else(|error| panic!("entry {index} of {size}: {error}"));
    }
}

#[tokio::test]
async fn hashes_that_are_not_there_are_left_out() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let there = server.ledger.hashes(&[0]).await.unwrap();
    assert_eq!(there.len(), 1);
    for none in [1, 2, u64::MAX / 2, u64::MAX - 3] {
        let found = server.ledger.hashes(&[none, 0]).await.unwrap();
        assert_eq!(found, there, "{none}");
    }
}

#[tokio::test]
async fn keys_are_published_for_good() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let key = |digit: &str, kind, since| PublishedKey {
        id: digit.repeat(64),
        kind,
        pem: format!("the key {digit}"),
        since: at(since),
    };
    let keys = [
        key("b", KeyKind::Record, 1),
        key("a", KeyKind::Log, 2),
        key("a", KeyKind::Record, 3),
    ];
    for key in keys.iter().rev().chain(&keys) {
        server.ledger.publish_key(key.clone()).await.unwrap();
    }
    let later = key("b", KeyKind::Record, 9);
    server.ledger.publish_key(later).await.unwrap();
    assert_eq!(server.ledger.published_keys().await.unwrap(), keys);
}
