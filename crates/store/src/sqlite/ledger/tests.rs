//! What needs a hand on the connection: a disk that is full, a file that turns read-only, and the
//! plans of lists.

#[expect(dead_code, reason = "the tests from outside need more of it")]
#[path = "../../../tests/ledger/common.rs"]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_ledger::{CallEnd, Checks, NewCall, Outcome, Side, Unrecorded};
use sqlx::{Row, query};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::*;
use crate::sqlite::database::pool_options;
use common::{ALICE, Server, call, end};

/// A server whose writing connection, and each that follows it, has `pragma` set while `trouble`.
async fn server_in_trouble(
    dir: &TempDir,
    pragma: &'static str,
    trouble: &Arc<AtomicBool>,
) -> Server {
    let mut ledger = SqliteLedger::open(dir.path()).await.unwrap();
    let options = ledger.log.writer.connect_options();
    ledger.log.writer.close().await;
    let is_trouble = Arc::clone(trouble);
    ledger.log.writer = pool_options(1)
        .max_lifetime(None)
        .after_connect(move |connection, _| {
            let is_trouble = is_trouble.load(Ordering::Relaxed);
            Box::pin(async move {
                if is_trouble {
                    query(pragma).execute(connection).await?;
                }
                Ok(())
            })
        })
        .connect_lazy_with((*options).clone());
    Server::with(ledger).await
}

/// Runs a pragma on the connection that writes the log.
async fn set(server: &Server, pragma: &'static str) {
    query(pragma)
        .execute(&server.ledger.log.writer)
        .await
        .unwrap();
}

/// A call of which so much is said that it takes pages of its own.
fn long_call() -> NewCall {
    let mut new = call(Some(ALICE), "bank", &[("cards", 1)]);
    new.call.request_id = Some("r".repeat(20_000));
    new
}

fn long_end() -> CallEnd {
    CallEnd {
        checks: vec![Checks {
            ruleset: "cards".to_owned(),
            version: 1,
            on: Side::Output,
            pass: vec!["p".repeat(20_000)],
            fail: Vec::new(),
            error: Vec::new(),
            not_run: Vec::new(),
            pass_unlisted: 0,
            not_run_unlisted: 0,
            fail_unlisted: 0,
        }],
        ..end(Outcome::Finished, 7)
    }
}

/// While `trouble` holds, calls are refused with `advice` and ends are owed; once `mended`, what is
/// owed is written and calls go on, with no number left out.
async fn check_trouble(trouble: &'static str, mended: &'static str, advice: &str) {
    let dir = TempDir::new().unwrap();
    let is_trouble = Arc::new(AtomicBool::new(false));
    let server = server_in_trouble(&dir, trouble, &is_trouble).await;
    let owed = server.open(long_call()).await;
    let id = owed.id().clone();
    let before = server.ledger.tail().await.unwrap();

    is_trouble.store(true, Ordering::Relaxed);
    set(&server, trouble).await;
    let refused = owed.close(long_end()).durable().await.unwrap_err();
    assert_trouble(&refused, advice);
    let mut second = server.recorder.open(long_call()).unwrap();
    assert_trouble(&second.durable().await.unwrap_err(), advice);
    drop(second);
    assert!(server.recorder.trouble().unwrap().contains(advice));
    // Nothing of what failed can be seen.
    assert_eq!(server.ledger.tail().await.unwrap(), before);
    let page = server.list(&RecordFilter::default()).await;
    assert_eq!(page.records.len(), 1);
    assert_eq!(page.records[0].closed, None);
    assert_eq!(
        server.ledger.usage(&UsageFilter::default()).await.unwrap(),
        []
    );

    is_trouble.store(false, Ordering::Relaxed);
    set(&server, mended).await;
    let written = async {
        while server.record(&id).await.closed.is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), written).await.unwrap();
    assert_eq!(
        server.record(&id).await.closed.unwrap().1,
        Outcome::Finished
    );
    let third = server.open(long_call()).await;
    assert_eq!(server.record(third.id()).await.seq, 1);
    assert_eq!(server.recorder.trouble(), None);
    third.close(long_end()).durable().await.unwrap();
    server.assert_log_is_sound().await;
}

fn assert_trouble(refused: &Unrecorded, advice: &str) {
    assert!(matches!(refused, Unrecorded::Storage(_)), "{refused}");
    assert!(refused.to_string().contains(advice), "{refused}");
}

#[tokio::test]
async fn calls_are_refused_while_the_disk_is_full() {
    // Lowering it below the size of the file sets it to that size.
    let full = "PRAGMA max_page_count = 1";
    check_trouble(full, "PRAGMA max_page_count = 1000000", "make room").await;
}

#[tokio::test]
async fn calls_are_refused_while_the_file_is_read_only() {
    let read_only = "PRAGMA query_only = ON";
    check_trouble(
        read_only,
        "PRAGMA query_only = OFF",
        "check the permissions",
    )
    .await;
}

/// Another process that has taken the lock file away, and writes.
#[tokio::test]
async fn a_log_that_grew_without_its_writer_is_not_written() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    query("INSERT INTO entries VALUES (1, x'00', zeroblob(64))")
        .execute(&server.ledger.log.writer)
        .await
        .unwrap();
    let mut record = server.recorder.open(call(None, "bank", &[])).unwrap();
    let refused = record.durable().await.unwrap_err();
    assert_trouble(&refused, "another process writes it too");
    assert_eq!(server.ledger.tail().await.unwrap().size, 2);
}

/// Every way to ask for a list.
fn filters() -> Vec<RecordFilter> {
    let mut filters = Vec::new();
    for conditions in 0..1_u32 << 8 {
        let has = |bit: u32| conditions & (1 << bit) != 0;
        let version = has(2).then_some(1);
        let outcome = match has(4) {
            true => Outcome::Refused,
            false => Outcome::Finished,
        };
        filters.push(RecordFilter {
            key: has(0).then(|| ALICE.parse().unwrap()),
            ruleset: has(1).then(|| ("cards".parse().unwrap(), version)),
            outcome: has(3).then_some(outcome),
            deployment: has(5).then(|| "bank".parse().unwrap()),
            ended: has(6).then_some(has(4)),
            since: has(7).then(|| Timestamp::from_unix_ms(1)),
            until: has(7).then(|| Timestamp::from_unix_ms(2)),
        });
    }
    filters
}

#[tokio::test]
async fn every_list_is_read_along_an_index_and_never_sorted() {
    let dir = TempDir::new().unwrap();
    let ledger = SqliteLedger::open(dir.path()).await.unwrap();
    for filter in filters() {
        let plan = plan(&ledger, list::select(&filter, Some(Cursor(9)), 10)).await;
        let first = plan
            .iter()
            .find(|step| step.contains("opened_index<?") || step.contains("rowid<?"));
        assert!(first.is_some(), "{filter:?}: {plan:#?}");
        for step in &plan {
            let is_slow = step.contains("SCAN") || step.contains("TEMP B-TREE");
            assert!(!is_slow, "{filter:?}: {plan:#?}");
        }
    }
}

async fn plan(ledger: &SqliteLedger, list: sqlx::QueryBuilder<sqlx::Sqlite>) -> Vec<String> {
    let sql = format!("EXPLAIN QUERY PLAN {}", list.into_string());
    // What is bound does not matter to the plan.
    query(sqlx::AssertSqlSafe(sql))
        .try_map(|row: sqlx::sqlite::SqliteRow| row.try_get("detail"))
        .fetch_all(&ledger.log.readers)
        .await
        .unwrap()
}

#[tokio::test]
async fn to_find_out_whether_it_can_write_it_writes() {
    let dir = TempDir::new().unwrap();
    let server = Server::with(SqliteLedger::open(dir.path()).await.unwrap()).await;
    let written = || {
        let wal = dir.path().join(format!("{LEDGER_FILE}-wal"));
        std::fs::metadata(wal).unwrap().len()
    };
    let (before, tail) = (written(), server.ledger.tail().await.unwrap());
    server.ledger.check_writable().await.unwrap();
    assert!(written() > before);
    assert_eq!(server.ledger.tail().await.unwrap(), tail);

    set(&server, "PRAGMA query_only = ON").await;
    let refused = server.ledger.check_writable().await.unwrap_err();
    assert!(
        refused.to_string().contains("cannot be written"),
        "{refused}"
    );
}
