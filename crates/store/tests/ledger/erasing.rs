//! Texts: kept, held, and erased so that nothing of them is left.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_ledger::{Outcome, RecordId, Salt};
use portcullis_store::{Erased, KeptText, LEDGER_FILE, Records, SqliteLedger, TextClass, Unusable};
use tempfile::TempDir;

use super::common::{ALICE, BOB, HOUR_MS, Server, at, call, end};

/// A call whose text is kept; its text can be found in a file.
struct Kept {
    id: RecordId,
    salt: Salt,
    marker: String,
}

impl Kept {
    /// One with so many bytes of text, in class `class`.
    async fn make(server: &Server, key: &str, class: &str, bytes: usize, hour: i64) -> Self {
        server.set_time(hour * HOUR_MS);
        let new = call(Some(key), "bank", &[]);
        let (id, salt) = (new.record_id.clone(), new.salt);
        server.call(new, end(Outcome::Finished, 1)).await;
        let marker = format!("secret-{}-", &id.as_str()[4..]);
        let text = KeptText {
            id: id.clone(),
            class: class.to_owned(),
            opened_at: at(hour * HOUR_MS),
            request: Some(marker.repeat(1 + bytes / marker.len()).into_bytes()),
            outputs: vec![marker.clone(), String::new()],
        };
        assert!(server.ledger.keep_text(text.clone()).await.unwrap());
        assert_eq!(server.ledger.text(&id).await.unwrap(), Some(text));
        Self { id, salt, marker }
    }

    /// Whether its text and its salt are in the files of a data directory.
    fn is_in(&self, data_dir: &Path) -> [bool; 2] {
        [self.marker.as_bytes(), self.salt.as_bytes()].map(|bytes| is_in_files(data_dir, bytes))
    }
}

fn is_in_files(data_dir: &Path, bytes: &[u8]) -> bool {
    let files = data_dir.read_dir().unwrap();
    files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .any(|content| memchr::memmem::find(&content, bytes).is_some())
}

fn erased(records: u64, held: u64) -> Erased {
    Erased { records, held }
}

#[tokio::test]
async fn what_is_erased_is_nowhere_in_the_files() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let mut kept = Vec::new();
    for n in 0..200 {
        let bytes = [0, 300, 3000, 30_000][n % 4];
        kept.push(Kept::make(&server, ALICE, "short", bytes, 0).await);
    }
    for (n, record) in kept.iter().enumerate() {
        assert_eq!(record.is_in(dir.path()), [true, true], "text {n}");
    }
    // In an order in which pages of the files are emptied, merged and filled again.
    for n in 0..kept.len() {
        let record = &kept[n * 73 % kept.len()];
        let done = server.ledger.erase_record(&record.id).await.unwrap();
        assert_eq!(done, erased(1, 0));
        assert_eq!(record.is_in(dir.path()), [false, false], "erasure {n}");
        if n % 10 == 0 {
            let other = Kept::make(&server, BOB, "short", 500, 0).await;
            assert_eq!(other.is_in(dir.path()), [true, true]);
        }
    }
    let last = &kept[0];
    assert_eq!(server.ledger.text(&last.id).await.unwrap(), None);
    assert_eq!(server.record(&last.id).await.salt, None);
    assert_eq!(
        server.ledger.erase_record(&last.id).await.unwrap(),
        erased(0, 0)
    );
    server.assert_log_is_sound().await;
}

#[tokio::test]
async fn the_records_of_a_key_are_erased_and_those_of_others_stay() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let mut kept = Vec::new();
    // More than are erased at once.
    for n in 0..600 {
        let key = [ALICE, BOB][n % 2];
        kept.push(Kept::make(&server, key, "short", 100, 0).await);
    }
    // A call whose text was not kept has a salt all the same.
    let without = call(Some(ALICE), "bank", &[]);
    let salt = without.salt;
    server.call(without, end(Outcome::Finished, 1)).await;
    let held = &kept[4];
    assert!(server.ledger.set_hold(&held.id, true).await.unwrap());

    let done = server.ledger.erase_key(&ALICE.parse().unwrap()).await;
    assert_eq!(done.unwrap(), erased(300, 1));
    assert!(!is_in_files(dir.path(), salt.as_bytes()));
    for (n, record) in kept.iter().enumerate() {
        let stays = n == 4 || n % 2 == 1;
        assert_eq!(record.is_in(dir.path()), [stays, stays], "text {n}");
    }
    server.assert_log_is_sound().await;
}

#[tokio::test]
async fn a_text_is_erased_when_its_class_says_so() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let mut kept = Vec::new();
    for (hour, class) in [
        (0, "short"),
        (1, "long"),
        (2, "other"),
        (3, "short"),
        (4, "short"),
    ] {
        kept.push(Kept::make(&server, ALICE, class, 100, hour).await);
    }
    let class = |name: &str, hours: u64| TextClass {
        name: name.to_owned(),
        keep_s: hours * 3600,
    };
    let classes = [class("short", 10), class("long", 10_000)];
    let expire = async |hour: i64| {
        let now = at(hour * HOUR_MS);
        server.ledger.erase_expired(&classes, now).await.unwrap()
    };
    let there = || -> Vec<_> { kept.iter().map(|it| it.is_in(dir.path())).collect() };
    let (is, not) = ([true, true], [false, false]);

    // A text is kept for as long as its class says, and not a moment longer.
    assert_eq!(expire(10).await, erased(0, 0));
    assert_eq!(expire(11).await, erased(1, 0));
    assert_eq!(there(), [not, is, is, is, is]);
    server.ledger.set_hold(&kept[3].id, true).await.unwrap();
    assert_eq!(expire(20).await, erased(1, 1));
    assert_eq!(there(), [not, is, is, is, not]);
    server.ledger.set_hold(&kept[3].id, false).await.unwrap();
    assert_eq!(expire(20).await, erased(1, 0));
    assert_eq!(there(), [not, is, is, not, not]);
    // Without a limit nothing is too old.
    let for_ever = [class("long", u64::MAX / 3600)];
    let now = at(1_000_000 * HOUR_MS);
    let done = server.ledger.erase_expired(&for_ever, now).await.unwrap();
    assert_eq!(done, erased(0, 0));
}

#[tokio::test]
async fn what_is_held_stays_until_it_is_not() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let kept = Kept::make(&server, ALICE, "short", 100, 0).await;
    for _ in 0..2 {
        assert!(server.ledger.set_hold(&kept.id, true).await.unwrap());
        assert!(server.record(&kept.id).await.hold);
        assert!(server.list(&Default::default()).await.records[0].hold);
    }
    let done = server.ledger.erase_record(&kept.id).await.unwrap();
    assert_eq!(done, erased(0, 1));
    assert_eq!(kept.is_in(dir.path()), [true, true]);

    assert!(server.ledger.set_hold(&kept.id, false).await.unwrap());
    assert!(!server.record(&kept.id).await.hold);
    assert!(!server.list(&Default::default()).await.records[0].hold);
    let done = server.ledger.erase_record(&kept.id).await.unwrap();
    assert_eq!(done, erased(1, 0));

    let unknown = RecordId::draw().unwrap();
    assert!(!server.ledger.set_hold(&unknown, true).await.unwrap());
    let done = server.ledger.erase_record(&unknown).await.unwrap();
    assert_eq!(done, erased(0, 0));
}

/// The text of a call is kept when it ends, and by then somebody may have erased its key.
#[tokio::test]
async fn a_text_that_comes_after_its_erasure_is_not_kept() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let open = server.open(call(Some(ALICE), "bank", &[])).await;
    let text = KeptText {
        id: open.id().clone(),
        class: "short".to_owned(),
        opened_at: at(0),
        request: None,
        outputs: vec!["too late".to_owned()],
    };
    server
        .ledger
        .erase_key(&ALICE.parse().unwrap())
        .await
        .unwrap();
    assert!(!server.ledger.keep_text(text.clone()).await.unwrap());
    assert_eq!(server.ledger.text(open.id()).await.unwrap(), None);
    assert!(!is_in_files(dir.path(), b"too late"));
    open.close(end(Outcome::Finished, 1))
        .durable()
        .await
        .unwrap();

    // A call that is not in the log yet has not been erased.
    let early = KeptText {
        id: RecordId::draw().unwrap(),
        ..text
    };
    assert!(server.ledger.keep_text(early).await.unwrap());
}

/// Whoever reads at that moment still needs the write-ahead log.
#[tokio::test]
async fn an_erasure_that_leaves_something_behind_says_so_and_can_be_repeated() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let kept = Kept::make(&server, ALICE, "short", 3000, 0).await;
    let mut reader = super::opening::raw_connection(&dir.path().join(LEDGER_FILE)).await;
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM entries")
        .execute(&mut reader)
        .await
        .unwrap();

    let (ledger, id) = (Arc::clone(&server.ledger), kept.id.clone());
    let erasing = tokio::spawn(async move { ledger.erase_record(&id).await });
    // Calls go on in the meantime, which is five seconds; few, for each waits for its turn to write.
    for _ in 0..2 {
        let new = call(Some(BOB), "bank", &[]);
        server.call(new, end(Outcome::Finished, 1)).await;
    }
    assert!(!erasing.is_finished());
    let error = erasing.await.unwrap().unwrap_err();
    let is_busy = |reason: &Unusable| matches!(reason, Unusable::Busy);
    super::opening::assert_unusable(&error, dir.path(), "cutting off", is_busy);
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut reader)
        .await
        .unwrap();
    let done = server.ledger.erase_record(&kept.id).await.unwrap();
    assert_eq!(done, erased(0, 0));
    assert_eq!(kept.is_in(dir.path()), [false, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_written_while_others_are_erased() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    for _ in 0..300 {
        Kept::make(&server, ALICE, "short", 2000, 0).await;
    }
    let ledger = Arc::clone(&server.ledger);
    let erasing = tokio::spawn(async move {
        for _ in 0..5 {
            ledger.erase_key(&ALICE.parse().unwrap()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    while !erasing.is_finished() {
        let new = call(Some(BOB), "bank", &[]);
        server.call(new, end(Outcome::Finished, 1)).await;
    }
    erasing.await.unwrap();
    server.assert_log_is_sound().await;
}

#[tokio::test]
async fn the_command_line_erases_nothing() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let kept = Kept::make(&server, ALICE, "short", 100, 0).await;
    let reader = SqliteLedger::open_existing(dir.path()).await.unwrap();
    let error = reader.erase_record(&kept.id).await.unwrap_err();
    let is_read_only = |reason: &Unusable| matches!(reason, Unusable::ReadOnly);
    super::opening::assert_unusable(&error, dir.path(), "cannot be written", is_read_only);
    assert_eq!(kept.is_in(dir.path()), [true, true]);
}
