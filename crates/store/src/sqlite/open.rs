//! Opening the file: permissions, pools, schema.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqlSafeStr, SqlitePool};
use tokio::time::{sleep, timeout};

use super::SqliteStore;
use super::fault::{from_migration, unusable};
use crate::{StoreError, Unusable};

/// The name of the database in a data directory.
pub const DATABASE_FILE: &str = "portcullis.db";

/// The schema, one step a file. A step that has been released never changes: add another.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (
        1,
        "keys, rule sets, bindings",
        include_str!("../../migrations/sqlite/0001_keys_rulesets_bindings.sql"),
    ),
    (
        2,
        "signatures, states, history",
        include_str!("../../migrations/sqlite/0002_signatures_states_history.sql"),
    ),
];

/// How long a writer waits for one in another process, and any caller for a connection.
const WAIT_MAX: Duration = Duration::from_secs(5);

const RETRY_PAUSE: Duration = Duration::from_millis(10);

const READERS_MAX: u32 = 4;

pub(super) async fn open(data_dir: &Path) -> Result<SqliteStore, StoreError> {
    let path = data_dir.join(DATABASE_FILE);
    create_private(data_dir, &path)
        .map_err(|error| unusable(&path, "making the database", error))?;
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .foreign_keys(true)
        .busy_timeout(WAIT_MAX)
        // NORMAL would lose the last transactions with the power.
        .synchronous(SqliteSynchronous::Full);
    let writer = pool(1, options.clone().journal_mode(SqliteJournalMode::Wal));
    prepare(&writer)
        .await
        .map_err(|reason| unusable(&path, "opening the database", reason))?;
    let readers = pool(READERS_MAX, options.pragma("query_only", "ON"));
    Ok(SqliteStore {
        path,
        writer,
        readers,
    })
}

fn pool(max: u32, options: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(max)
        .acquire_timeout(WAIT_MAX)
        .connect_lazy_with(options)
}

async fn prepare(writer: &SqlitePool) -> Result<(), Unusable> {
    timeout(WAIT_MAX, connect(writer))
        .await
        .map_err(|_| Unusable::Busy)??;
    migrate(writer).await
}

/// Makes the first connection, which turns a new file to WAL. SQLite does not wait when another
/// process is at just that, whatever its busy timeout, so we do.
async fn connect(writer: &SqlitePool) -> Result<(), Unusable> {
    loop {
        match writer.acquire().await.map_err(Unusable::from) {
            Err(Unusable::Busy) => sleep(RETRY_PAUSE).await,
            connected => return connected.map(drop),
        }
    }
}

/// Brings the schema up to date in one transaction that holds the write lock: of two processes
/// that start together, one does the work and the other finds it done.
async fn migrate(writer: &SqlitePool) -> Result<(), Unusable> {
    let migrator = migrator();
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    migrator
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(|error| from_migration(error, latest_step()))?;
    Ok(transaction.commit().await?)
}

fn migrator() -> Migrator {
    let step = |(version, description, sql): (i64, &'static str, &'static str)| {
        Migration::new(
            version,
            description.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    };
    Migrator::with_migrations(MIGRATIONS.into_iter().map(step).collect())
}

fn latest_step() -> i64 {
    MIGRATIONS
        .iter()
        .map(|(version, ..)| *version)
        .max()
        .unwrap_or(0)
}

/// Makes the directory and an empty file, if they are not there, for this user alone. SQLite
/// gives its side files the permissions of the main one.
fn create_private(data_dir: &Path, path: &Path) -> io::Result<()> {
    let mut directory = fs::DirBuilder::new();
    let mut file = fs::OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        directory.mode(0o700);
        file.mode(0o600);
    }
    directory.recursive(true).create(data_dir)?;
    match file.write(true).create_new(true).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
