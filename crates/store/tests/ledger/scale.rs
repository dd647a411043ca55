//! What a hundred thousand records cost.
//!
//! ```sh
//! cargo test --release -p portcullis-store --test ledger -- --ignored --nocapture scale
//! ```
//!
//! With `PORTCULLIS_SCALE_DIR` the ledger is made there and stays, for `portcullis audit verify`.
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;

use portcullis_ledger::{KeyKind, LogStore, Outcome, indexes_for_inclusion};
use portcullis_store::{
    Cursor, LEDGER_FILE, PublishedKey, RecordFilter, Records, SqliteLedger, UsageFilter, UsageGrain,
};
use tempfile::TempDir;

use super::common::{HOUR_MS, Server, at, call, end, keys};

const RECORDS: u64 = 100_000;

/// Calls that begin and end together: two batches, as far as they fit.
const AT_ONCE: u64 = 256;

#[expect(clippy::print_stdout, reason = "the numbers are what it is for")]
fn tell(what: impl Display, number: impl Display) {
    println!("{what:<60} {number}");
}

#[tokio::test]
#[ignore = "a measurement; takes half a minute with --release"]
async fn a_hundred_thousand_records_are_listed_proven_and_added_up() {
    let (temporary, kept) = (
        TempDir::new().unwrap(),
        std::env::var_os("PORTCULLIS_SCALE_DIR"),
    );
    let dir = kept.map_or(temporary.path().to_owned(), PathBuf::from);
    let server = Server::start(&dir).await;
    publish_keys(&server.ledger).await;
    let (begun, cpu) = (Instant::now(), cpu_ms());
    let mut first_memory = 0;
    for batch in 0..RECORDS.div_ceil(AT_ONCE) {
        server.set_time(batch as i64 * HOUR_MS);
        write(&server, batch).await;
        if batch == 20 {
            first_memory = memory_kib();
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let entries = server.ledger.tail().await.unwrap().size;
    tell(
        "entries written and signed a second",
        (entries as f64 / seconds) as u64,
    );
    let batches = (entries as f64 / AT_ONCE as f64).max(1.0);
    let after = cpu_ms();
    let of_a_batch = |thread: usize| format!("{:.1} ms", (after[thread] - cpu[thread]) / batches);
    tell("CPU of a batch of 256 entries, all told", of_a_batch(0));
    tell("CPU of a batch of 256 entries in SQLite", of_a_batch(1));
    tell(
        "memory after 5,000 records and after all, KiB",
        format!("{first_memory} {}", memory_kib()),
    );
    let bytes = dir.join(LEDGER_FILE).metadata().unwrap().len();
    tell("bytes of the log a record", bytes / RECORDS);

    list(&server.ledger).await;
    prove(&server.ledger, entries).await;
    add_up(&server.ledger).await;
    tell("memory at the end, KiB", memory_kib());
    reopen(server, &dir).await;
}

/// As a server does, so that the ledger can be verified by itself.
async fn publish_keys(ledger: &SqliteLedger) {
    for (kind, key) in [(KeyKind::Record, keys().record), (KeyKind::Log, keys().log)] {
        let key = key.public();
        let key = PublishedKey {
            id: key.id().to_string(),
            kind,
            pem: key.to_pem(),
            since: at(0),
        };
        ledger.publish_key(key).await.unwrap();
    }
}

async fn write(server: &Server, batch: u64) {
    let first = batch * AT_ONCE;
    let numbers = first..RECORDS.min(first + AT_ONCE);
    let calls: Vec<_> = numbers
        .map(|n| {
            let key = format!("key_{:016x}", n % 50);
            let rulesets = [("cards", (n % 7) as u32), ("advice", 1)];
            let new = call(Some(&key), ["bank", "shop"][n as usize % 2], &rulesets);
            server.recorder.open(new).unwrap()
        })
        .collect();
    let mut closing = Vec::new();
    for (n, mut call) in (first..).zip(calls) {
        call.durable().await.unwrap();
        let outcome = match n % 1000 {
            0 => Outcome::Refused,
            _ => Outcome::Finished,
        };
        closing.push(call.close(end(outcome, n % 100)));
    }
    for closing in closing {
        closing.durable().await.unwrap();
    }
}

async fn list(ledger: &SqliteLedger) {
    let all = RecordFilter::default();
    page(ledger, "first page", &all, None).await;
    page(ledger, "page at the other end", &all, Some(Cursor(1000))).await;
    let of_key = RecordFilter {
        key: Some("key_0000000000000007".parse().unwrap()),
        ..all.clone()
    };
    page(ledger, "first page of a key", &of_key, None).await;
    let refused = RecordFilter {
        outcome: Some(Outcome::Refused),
        ..all.clone()
    };
    page(ledger, "first page of what was refused", &refused, None).await;
    let under = RecordFilter {
        ruleset: Some(("cards".parse().unwrap(), Some(3))),
        ..all.clone()
    };
    page(
        ledger,
        "first page under a version of a rule set",
        &under,
        None,
    )
    .await;
    let early = RecordFilter {
        since: Some(at(10 * HOUR_MS)),
        until: Some(at(20 * HOUR_MS)),
        ..under.clone()
    };
    page(ledger, "the same of a few hours long ago", &early, None).await;
    let rare = RecordFilter {
        outcome: Some(Outcome::Refused),
        deployment: Some("bank".parse().unwrap()),
        ..under
    };
    page(ledger, "under it, refused, of a deployment", &rare, None).await;
    let none = RecordFilter {
        outcome: Some(Outcome::Finished),
        ended: Some(false),
        ..all
    };
    page(ledger, "what there is none of", &none, None).await;
}

async fn page(ledger: &SqliteLedger, what: &str, filter: &RecordFilter, after: Option<Cursor>) {
    let mut rows = 0;
    let time = best_of_five(async || {
        let page = ledger.list_records(filter, after, 100).await.unwrap();
        rows = page.records.len();
    });
    let time = time.await;
    tell(format!("{what}, {rows} records"), time);
}

async fn best_of_five(mut what: impl AsyncFnMut()) -> String {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let begun = Instant::now();
        what().await;
        best = best.min(begun.elapsed().as_secs_f64());
    }
    format!("{:.2} ms", best * 1000.0)
}

async fn prove(ledger: &SqliteLedger, size: u64) {
    let time = best_of_five(async || {
        let indexes = indexes_for_inclusion(size, 12_345).unwrap();
        ledger.hashes(&indexes).await.unwrap();
        ledger.entries(12_345, 12_346).await.unwrap();
    });
    tell("an entry and the hashes of its proof", time.await);
    let time = best_of_five(async || {
        ledger.entries(256 * 100, 256 * 101).await.unwrap();
    });
    tell("256 entries", time.await);
}

async fn add_up(ledger: &SqliteLedger) {
    let by_all = UsageGrain {
        key: true,
        deployment: true,
        day: true,
    };
    for by in [UsageGrain::default(), by_all] {
        let filter = UsageFilter {
            by,
            ..UsageFilter::default()
        };
        let mut rows = 0;
        let time = best_of_five(async || rows = ledger.usage(&filter).await.unwrap().len());
        let time = time.await;
        tell(format!("usage in {rows} rows"), time);
    }
}

async fn reopen(server: Server, data_dir: &Path) {
    server.stop().await;
    let begun = Instant::now();
    let server = Server::start(data_dir).await;
    tell(
        "a start",
        format!("{:.2} ms", begun.elapsed().as_secs_f64() * 1000.0),
    );
    server.stop().await;
}

/// Of `/proc`, so that it takes no library; 0 where there is none.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.map_or(0, |number| number.parse().unwrap())
}

/// What all threads and what those of SQLite have taken of the processor, in milliseconds. Of
/// `/proc` too.
fn cpu_ms() -> [f64; 2] {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let mut taken = [0.0; 2];
    for task in tasks.map(|task| task.unwrap().path()) {
        let read = |file| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        let schedule = read("schedstat");
        let nanoseconds: f64 = schedule.split(' ').next().unwrap().parse().unwrap_or(0.0);
        taken[0] += nanoseconds / 1e6;
        if read("comm").starts_with("sqlx") {
            taken[1] += nanoseconds / 1e6;
        }
    }
    taken
}
