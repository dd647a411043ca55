//! The store in a SQLite file: the common suite, and what only a file can show.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod suite;

use std::path::Path;
use std::time::Duration;

use portcullis_store::{
    DATABASE_FILE, KeyLimits, Put, Role, RuleSetState, SqliteStore, Store, StoreError, Unusable,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use suite::{activate, bind, deployment, name, new_key, put, signer};
use tempfile::TempDir;
use tokio::task::JoinSet;

macro_rules! suite {
    ($($check:ident)*) => {$(
        #[tokio::test]
        async fn $check() {
            let dir = TempDir::new().unwrap();
            suite::$check(&open(dir.path()).await).await;
        }
    )*};
}

suite! {
    keys_are_found_by_their_secret_alone
    a_revoked_key_opens_nothing
    limits_are_kept_and_changed_one_by_one
    a_key_opens_nothing_from_the_moment_it_expires
    a_revoked_key_does_not_change
    the_last_admin_key_is_revoked_only_on_purpose
    a_version_never_changes
    versions_are_listed_in_their_order
    one_version_is_active_at_a_time
    a_retired_version_has_no_way_back
    what_happened_is_remembered_with_who_and_when
    bindings_hold_for_their_key_and_deployment
    a_binding_without_a_version_follows_the_active_one
    a_call_may_name_rule_sets
    a_target_has_one_binding_of_a_rule_set
    a_candidate_is_observed_beside_what_holds
    a_binding_needs_both_its_ends
    signers_are_trusted_once_and_revoked_for_ever
    signatures_are_added_and_never_replaced
}

#[tokio::test]
async fn reopening_finds_everything() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await;
    let (key, secret) = new_key(&store, "k", Role::Auditor, 5).await;
    put(&store, "cards", 3, b"rules").await.unwrap();
    activate(&store, "cards", 3, 6).await.unwrap();
    let binding = bind(&store, "cards", Some(3), &deployment("bank"), 7)
        .await
        .unwrap();
    store.close().await;

    for _ in 0..2 {
        let store = open(dir.path()).await;
        assert_eq!(
            store.find_key(secret.expose()).await.unwrap(),
            Some(key.clone())
        );
        assert_eq!(store.list_rulesets().await.unwrap()[0].source, b"rules");
        assert_eq!(store.all_bindings().await.unwrap(), vec![binding.clone()]);
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stores_that_make_the_database_together_all_succeed() {
    for _ in 0..10 {
        open_together(TempDir::new().unwrap().path()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stores_that_bring_the_schema_up_to_date_together_all_succeed() {
    for _ in 0..10 {
        let dir = TempDir::new().unwrap();
        open(dir.path()).await.close().await;
        let mut raw = raw_connection(dir.path()).await;
        for statement in [
            "DROP TABLE bindings",
            "DROP TABLE ruleset_history",
            "DROP TABLE ruleset_states",
            "DROP TABLE ruleset_signatures",
            "DROP TABLE signers",
            "DROP TABLE rulesets",
            "DROP TABLE api_keys",
            "DELETE FROM _sqlx_migrations",
        ] {
            sqlx::query(statement).execute(&mut raw).await.unwrap();
        }
        open_together(dir.path()).await;
    }
}

async fn open_together(data_dir: &Path) {
    let mut opening = JoinSet::new();
    for _ in 0..6 {
        let data_dir = data_dir.to_owned();
        opening.spawn(async move { SqliteStore::open(&data_dir).await.map(drop) });
    }
    for opened in opening.join_all().await {
        opened.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_stores_on_one_file_write_at_once_and_see_each_other() {
    const WRITERS: u32 = 4;
    const WRITES: u32 = 10;
    let dir = TempDir::new().unwrap();
    let (left, right) = (open(dir.path()).await, open(dir.path()).await);
    let mut writing = JoinSet::new();
    for writer in 0..WRITERS {
        let store = open(dir.path()).await;
        writing.spawn(async move {
            for write in 0..WRITES {
                new_key(&store, "k", Role::Inference, 0).await;
                put(&store, "shared", writer * WRITES + write, b"x")
                    .await
                    .unwrap();
            }
        });
    }
    writing.join_all().await;
    for store in [&left, &right] {
        assert_eq!(
            store.list_keys().await.unwrap().len() as u32,
            WRITERS * WRITES
        );
        assert_eq!(
            store.list_rulesets().await.unwrap().len() as u32,
            WRITERS * WRITES
        );
    }

    // What one revokes, the other refuses from its next call on.
    let (key, secret) = new_key(&left, "k", Role::Inference, 0).await;
    assert_eq!(
        right.find_key(secret.expose()).await.unwrap(),
        Some(key.clone())
    );
    left.revoke_key(&key.id, true, 1).await.unwrap();
    assert_eq!(right.find_key(secret.expose()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_put_one_version_exactly_one_adds_it() {
    let dir = TempDir::new().unwrap();
    let mut putting = JoinSet::new();
    for writer in 0..6 {
        let store = open(dir.path()).await;
        let source = format!("{}", writer % 2);
        putting.spawn(async move { put(&store, "cards", 1, source.as_bytes()).await });
    }
    let results = putting.join_all().await;
    let count = |wanted: fn(&Result<Put, StoreError>) -> bool| {
        results.iter().filter(|result| wanted(result)).count()
    };
    assert_eq!(count(|result| matches!(result, Ok(Put::Added))), 1);
    assert_eq!(count(|result| matches!(result, Ok(Put::Unchanged))), 2);
    assert_eq!(
        count(|result| matches!(result, Err(StoreError::VersionExists { .. }))),
        3
    );
}

/// A request handler is dropped where it stands when its client goes away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_leaves_no_transaction_behind() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await;
    for version in 0..60 {
        let patience = Duration::from_micros(u64::from(version) * 20);
        // Whether it was done is not the question: only what is left behind.
        let _ = tokio::time::timeout(patience, put(&store, "cut-off", version, b"x")).await;
    }
    assert_eq!(put(&store, "whole", 1, b"x").await.unwrap(), Put::Added);
    let other = open(dir.path()).await;
    assert_eq!(put(&other, "whole", 2, b"x").await.unwrap(), Put::Added);
}

#[tokio::test]
async fn what_is_written_for_ever_cannot_be_changed_behind_our_back() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await;
    put(&store, "cards", 1, b"x").await.unwrap();
    store.add_signer(signer('a'), 1).await.unwrap();
    let mut raw = raw_connection(dir.path()).await;
    let sign = "INSERT INTO ruleset_signatures
                SELECT 'cards', 1, id, zeroblob(64), 1 FROM signers";
    sqlx::query(sign).execute(&mut raw).await.unwrap();
    for statement in [
        "UPDATE rulesets SET source = x'00'",
        "DELETE FROM rulesets",
        "UPDATE ruleset_signatures SET signature = zeroblob(64)",
        "DELETE FROM ruleset_signatures",
        "UPDATE signers SET public_key = 'another'",
        "DELETE FROM signers",
        "UPDATE ruleset_history SET actor = 'nobody'",
        "DELETE FROM ruleset_history",
    ] {
        let error = sqlx::query(statement).execute(&mut raw).await.unwrap_err();
        assert!(error.to_string().contains("never"), "{statement}: {error}");
    }
}

/// The schema of before: versions had no state, and bindings without a version followed the highest.
#[tokio::test]
async fn a_database_of_the_first_schema_keeps_what_holds() {
    let dir = TempDir::new().unwrap();
    let first = include_str!("../migrations/sqlite/0001_keys_rulesets_bindings.sql");
    let mut raw = raw_new_connection(dir.path()).await;
    let content = "
        INSERT INTO api_keys VALUES ('key_0123456789abcdef', 'k', 'inference', zeroblob(32), 1, NULL);
        INSERT INTO rulesets VALUES ('a', 1, 'd1', x'01', 10), ('a', 2, 'd2', x'02', 20),
                                    ('b', 7, 'd7', x'07', 30);
        INSERT INTO bindings (ruleset, version, target_kind, target, created_at)
        VALUES ('a', NULL, 'deployment', 'bank', 40), ('a', 1, 'key', 'key_0123456789abcdef', 41);
        CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
            installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
            checksum BLOB NOT NULL, execution_time BIGINT NOT NULL);";
    for script in [first, content] {
        sqlx::raw_sql(script).execute(&mut raw).await.unwrap();
    }
    let checksum = <sha2::Sha384 as sha2::Digest>::digest(first);
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (1, '', '', true, ?, 0)")
        .bind(&checksum[..])
        .execute(&mut raw)
        .await
        .unwrap();
    raw.close().await.unwrap();

    let store = open(dir.path()).await;
    let sets = store.list_rulesets().await.unwrap();
    let states: Vec<_> = sets
        .iter()
        .map(|set| (set.name.as_str(), set.version, set.state))
        .collect();
    use RuleSetState::{Active, Superseded};
    let expected = [("a", 1, Superseded), ("a", 2, Active), ("b", 7, Active)];
    assert_eq!(states, expected);
    assert_eq!(sets[1].in_force_since, Some(20));
    let key = "key_0123456789abcdef".parse().unwrap();
    let bank = "bank".parse().unwrap();
    let rules = store.rules_for(Some(&key), &bank, &[]).await.unwrap();
    let versions: Vec<_> = rules
        .bound
        .iter()
        .map(|(binding, set)| (binding.observe, set.as_ref().unwrap().version))
        .collect();
    assert_eq!(versions, [(false, 2), (false, 1)]);
    assert_eq!(store.history(&name("a")).await.unwrap().len(), 2);
    let [kept] = &store.list_keys().await.unwrap()[..] else {
        panic!("one key was there")
    };
    assert_eq!(
        (kept.expires_at, kept.limits),
        (None, KeyLimits::default()),
        "what was made before there were limits has none"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn only_this_user_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().join("new/data");
    let store = open(&data_dir).await;
    new_key(&store, "k", Role::Admin, 0).await;

    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data_dir), 0o700);
    let files: Vec<_> = data_dir
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(
        files.len() > 1,
        "expected the write-ahead log too: {files:?}"
    );
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let error = SqliteStore::open(&file.join("data")).await.unwrap_err();
    assert_unusable(&error, &file, "check that the path is right", |reason| {
        matches!(reason, Unusable::Access(_))
    });
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(DATABASE_FILE);
    let letter = "Dear diary, this is no database. ".repeat(100);
    std::fs::write(&path, &letter).unwrap();
    let error = SqliteStore::open(dir.path()).await.unwrap_err();
    assert_unusable(&error, &path, "restore a backup", is_corrupt);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), letter);
}

#[tokio::test]
async fn a_damaged_database_is_an_error_not_an_empty_one() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(DATABASE_FILE);
    let store = open(dir.path()).await;
    for version in 0..50 {
        put(&store, "cards", version, &[b'x'; 1000]).await.unwrap();
    }
    store.close().await;
    // The first page holds the schema; what follows is scribbled over.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0xff);
    std::fs::write(&path, bytes).unwrap();

    let error = match SqliteStore::open(dir.path()).await {
        Ok(store) => store.list_rulesets().await.unwrap_err(),
        Err(error) => error,
    };
    assert_unusable(&error, &path, "restore a backup", is_corrupt);
}

#[tokio::test]
async fn a_key_with_an_unknown_role_opens_nothing() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await;
    let (_, secret) = new_key(&store, "k", Role::Admin, 0).await;
    let mut raw = raw_connection(dir.path()).await;
    sqlx::query("UPDATE api_keys SET role = 'root'")
        .execute(&mut raw)
        .await
        .unwrap();
    let error = store.find_key(secret.expose()).await.unwrap_err();
    assert_unusable(&error, store.path(), "\"root\" is not a role", is_corrupt);
}

/// An old program or a hand in the database: no limit must come to mean none.
#[tokio::test]
async fn a_limit_of_nothing_cannot_be_stored() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await;
    new_key(&store, "k", Role::Inference, 0).await;
    let mut raw = raw_connection(dir.path()).await;
    for column in [
        "requests_per_minute",
        "tokens_per_minute",
        "tokens_per_day",
        "max_concurrent_requests",
    ] {
        let update = format!("UPDATE api_keys SET {column} = 0");
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(update))
            .execute(&mut raw)
            .await;
        assert!(refused.is_err(), "{column}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_not_touched() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).await.close().await;
    let mut raw = raw_connection(dir.path()).await;
    sqlx::query("INSERT INTO _sqlx_migrations SELECT 99, 'later', installed_on, true, x'00', 0 FROM _sqlx_migrations LIMIT 1")
        .execute(&mut raw)
        .await
        .unwrap();
    let error = SqliteStore::open(dir.path()).await.unwrap_err();
    assert_unusable(
        &error,
        dir.path(),
        "written by a newer portcullis",
        |reason| {
            matches!(
                reason,
                Unusable::Newer {
                    found: 99,
                    known: 3
                }
            )
        },
    );
}

#[tokio::test]
async fn a_schema_of_another_build_is_not_touched() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).await.close().await;
    let mut raw = raw_connection(dir.path()).await;
    sqlx::query("UPDATE _sqlx_migrations SET checksum = x'00'")
        .execute(&mut raw)
        .await
        .unwrap();
    let error = SqliteStore::open(dir.path()).await.unwrap_err();
    assert_unusable(&error, dir.path(), "another build made it", |reason| {
        matches!(reason, Unusable::ForeignSchema(1))
    });
}

async fn open(data_dir: &Path) -> SqliteStore {
    SqliteStore::open(data_dir).await.unwrap()
}

async fn raw_new_connection(data_dir: &Path) -> SqliteConnection {
    let file = data_dir.join(DATABASE_FILE);
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true);
    options.connect().await.unwrap()
}

async fn raw_connection(data_dir: &Path) -> SqliteConnection {
    let file = data_dir.join(DATABASE_FILE);
    SqliteConnectOptions::new()
        .filename(file)
        .connect()
        .await
        .unwrap()
}

fn is_corrupt(reason: &Unusable) -> bool {
    matches!(reason, Unusable::Corrupt(_))
}

fn assert_unusable(error: &StoreError, path: &Path, advice: &str, is: fn(&Unusable) -> bool) {
    let StoreError::Unusable { reason, .. } = error else {
        panic!("{error}")
    };
    assert!(is(reason), "{reason:?}");
    let message = error.to_string();
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    assert!(message.contains(advice), "{message}");
}
