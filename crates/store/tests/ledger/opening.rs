//! Opening: permissions, locks, and files that are not what they should be.

use std::path::Path;

use portcullis_ledger::{LogStore, Outcome};
use portcullis_store::{
    LEDGER_FILE, RecordFilter, Records, SqliteLedger, SqliteStore, StoreError, TEXTS_FILE, Unusable,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use super::common::{ALICE, Server, call, end};

pub(crate) async fn raw_connection(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap()
}

pub(crate) fn assert_unusable(
    error: &StoreError,
    path: &Path,
    advice: &str,
    is: fn(&Unusable) -> bool,
) {
    let StoreError::Unusable { reason, .. } = error else {
        panic!("{error}")
    };
    assert!(is(reason), "{reason:?}");
    let message = error.to_string();
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    assert!(message.contains(advice), "{message}");
}

/// Runs `sql` in the log that is in `data_dir`, or in a new file.
async fn tamper(data_dir: &Path, sql: &'static str) {
    let mut raw = raw_connection(&data_dir.join(LEDGER_FILE)).await;
    sqlx::raw_sql(sql).execute(&mut raw).await.unwrap();
    raw.close().await.unwrap();
}

async fn make(data_dir: &Path) {
    SqliteLedger::open(data_dir).await.unwrap().close().await;
}

/// Neither a server nor the command line opens what is in `data_dir`, and both say why.
async fn check_refused(data_dir: &Path, advice: &str, is: fn(&Unusable) -> bool) {
    let path = data_dir.join(LEDGER_FILE);
    let error = SqliteLedger::open(data_dir).await.unwrap_err();
    assert_unusable(&error, &path, advice, is);
    let error = SqliteLedger::open_existing(data_dir).await.unwrap_err();
    assert_unusable(&error, &path, advice, is);
}

#[cfg(unix)]
#[tokio::test]
async fn only_this_user_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().join("new/data");
    let server = Server::start(&data_dir).await;
    server
        .call(call(None, "bank", &[]), end(Outcome::Finished, 1))
        .await;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data_dir), 0o700);
    let files = data_dir.read_dir().unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert!(files.len() > 3, "expected write-ahead logs too: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn one_process_writes_and_others_read() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let error = SqliteLedger::open(dir.path()).await.unwrap_err();
    let is_busy = |reason: &Unusable| matches!(reason, Unusable::Busy);
    assert_unusable(&error, dir.path(), "stop that process", is_busy);

    let reader = SqliteLedger::open_existing(dir.path()).await.unwrap();
    for calls in 1..4 {
        let new = call(Some(ALICE), "bank", &[]);
        server.call(new, end(Outcome::Finished, 1)).await;
        let page = reader
            .list_records(&RecordFilter::default(), None, 10)
            .await
            .unwrap();
        assert_eq!(page.records.len(), calls);
    }
    // The server that stops leaves a file that is read as before.
    server.stop().await;
    assert_eq!(reader.tail().await.unwrap().size, 7);
    let reader = SqliteLedger::open_existing(dir.path()).await.unwrap();
    assert_eq!(reader.tail().await.unwrap().size, 7);
    Server::start(dir.path()).await.stop().await;
}

#[tokio::test]
async fn a_ledger_that_is_not_there_is_named() {
    let dir = TempDir::new().unwrap();
    let error = SqliteLedger::open_existing(dir.path()).await.unwrap_err();
    let is_absent = |reason: &Unusable| matches!(reason, Unusable::Absent);
    assert_unusable(&error, dir.path(), "name the data directory", is_absent);
    assert!(dir.path().read_dir().unwrap().next().is_none());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let letter = "Dear diary, this is no database. ".repeat(100);
    std::fs::write(dir.path().join(LEDGER_FILE), &letter).unwrap();
    let is_corrupt = |reason: &Unusable| matches!(reason, Unusable::Corrupt(_));
    check_refused(dir.path(), "restore a backup", is_corrupt).await;
    let now = std::fs::read_to_string(dir.path().join(LEDGER_FILE)).unwrap();
    assert_eq!(now, letter);
}

#[tokio::test]
async fn the_database_of_another_program_is_left_alone() {
    let dir = TempDir::new().unwrap();
    tamper(dir.path(), "CREATE TABLE diary (dear TEXT)").await;
    let is_foreign = |reason: &Unusable| matches!(reason, Unusable::Foreign);
    check_refused(dir.path(), "of another program", is_foreign).await;
}

#[tokio::test]
async fn another_database_of_ours_is_no_ledger() {
    let dir = TempDir::new().unwrap();
    let store = SqliteStore::open(dir.path()).await.unwrap();
    store.close().await;
    std::fs::copy(store.path(), dir.path().join(LEDGER_FILE)).unwrap();
    let is_refused =
        |reason: &Unusable| matches!(reason, Unusable::ForeignSchema(1) | Unusable::Newer { .. });
    check_refused(dir.path(), "another data directory", is_refused).await;
}

#[tokio::test]
async fn a_newer_schema_is_not_touched() {
    let dir = TempDir::new().unwrap();
    make(dir.path()).await;
    let later = "INSERT INTO _sqlx_migrations
                 SELECT 99, 'later', installed_on, true, x'00', 0 FROM _sqlx_migrations LIMIT 1";
    tamper(dir.path(), later).await;
    let is_newer = |reason: &Unusable| {
        matches!(
            reason,
            Unusable::Newer {
                found: 99,
                known: 1
            }
        )
    };
    check_refused(dir.path(), "written by a newer portcullis", is_newer).await;
}

#[tokio::test]
async fn a_schema_of_another_build_is_not_touched() {
    let dir = TempDir::new().unwrap();
    make(dir.path()).await;
    tamper(dir.path(), "UPDATE _sqlx_migrations SET checksum = x'00'").await;
    let is_foreign = |reason: &Unusable| matches!(reason, Unusable::ForeignSchema(1));
    check_refused(dir.path(), "another build made it", is_foreign).await;
}

#[tokio::test]
async fn a_schema_that_is_not_done_is_brought_up_to_date_by_a_server_alone() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join(LEDGER_FILE), "").unwrap();
    let error = SqliteLedger::open_existing(dir.path()).await.unwrap_err();
    let is_older = |reason: &Unusable| matches!(reason, Unusable::Older { found: 0, known: 1 });
    assert_unusable(&error, dir.path(), "start the server once", is_older);
    make(dir.path()).await;
    SqliteLedger::open_existing(dir.path()).await.unwrap();
}

/// Who wants no texts takes the file away.
#[tokio::test]
async fn a_log_without_texts_is_read_all_the_same() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let new = call(Some(ALICE), "bank", &[]);
    let id = server.call(new, end(Outcome::Finished, 1)).await;
    server.stop().await;
    std::fs::remove_file(dir.path().join(TEXTS_FILE)).unwrap();

    let reader = SqliteLedger::open_existing(dir.path()).await.unwrap();
    assert!(!reader.record(&id).await.unwrap().unwrap().hold);
    assert_eq!(reader.text(&id).await.unwrap(), None);
    let error = reader.set_hold(&id, true).await.unwrap_err();
    let is_read_only = |reason: &Unusable| matches!(reason, Unusable::ReadOnly);
    assert_unusable(&error, dir.path(), "cannot be written", is_read_only);
    assert!(!dir.path().join(TEXTS_FILE).exists());
}

#[tokio::test]
async fn what_is_written_for_ever_cannot_be_changed_behind_our_back() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path()).await;
    let new = call(Some(ALICE), "bank", &[]);
    server.call(new, end(Outcome::Finished, 1)).await;
    let mut raw = raw_connection(&dir.path().join(LEDGER_FILE)).await;
    sqlx::query("INSERT INTO public_keys VALUES (?, 'log', 'pem', 1)")
        .bind("a".repeat(64))
        .execute(&mut raw)
        .await
        .unwrap();
    for statement in [
        "UPDATE entries SET bytes = x'00' WHERE idx = 1",
        "DELETE FROM entries WHERE idx = 2",
        "UPDATE calls SET outcome = 'refused'",
        "UPDATE calls SET closed_index = NULL",
        "DELETE FROM calls",
        "UPDATE public_keys SET pem = 'another'",
        "DELETE FROM public_keys",
    ] {
        let error = sqlx::query(statement).execute(&mut raw).await.unwrap_err();
        assert!(error.to_string().contains("never"), "{statement}: {error}");
    }
}
