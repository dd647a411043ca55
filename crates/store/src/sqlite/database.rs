//! A database in a file: permissions, pools, schema.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{
    Connection, SqlSafeStr, Sqlite, SqliteConnection, SqlitePool, query, query_as, query_scalar,
};
use tokio::time::{sleep, timeout};

use super::fault::{from_migration, unusable};
use crate::{StoreError, Unusable};

/// One connection writes, so that writers of this process queue here and do not poll for SQLite's
/// lock; a few read beside it, which WAL allows while someone writes.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) path: PathBuf,
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
}

/// What a file holds.
pub(super) struct Schema {
    /// Its name in a data directory.
    pub(super) file: &'static str,
    /// Description and SQL of each step, the first first. A step that has been released never
    /// changes: add another.
    pub(super) steps: &'static [(&'static str, &'static str)],
    /// Whether what is deleted is overwritten. Such a file is written by one process.
    pub(super) erasable: bool,
}

/// How long a writer waits for one in another process, and any caller for a connection.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(5);

pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// How long the only writer waits for readers when it cuts off its write-ahead log: others of its
/// process wait with it.
const READERS_WAIT_MAX: Duration = Duration::from_millis(20);

const READERS_MAX: u32 = 4;

impl Database {
    /// Opens it and brings its schema up to date; makes what is not there, readable for this user
    /// alone.
    pub(super) async fn open(data_dir: &Path, schema: &Schema) -> Result<Self, StoreError> {
        let path = data_dir.join(schema.file);
        create_private(data_dir, &path)
            .map_err(|error| unusable(&path, "making the database", error))?;
        let options = options(&path, schema);
        let wait_max = match schema.erasable {
            true => READERS_WAIT_MAX,
            false => WAIT_MAX,
        };
        let writing = options.clone().journal_mode(SqliteJournalMode::Wal);
        let writer = pool(1, writing.busy_timeout(wait_max));
        prepare(&writer, schema)
            .await
            .map_err(|reason| unusable(&path, "opening the database", reason))?;
        let readers = pool(READERS_MAX, options.pragma("query_only", "ON"));
        Ok(Self {
            path,
            writer,
            readers,
        })
    }

    /// Opens what is there to read it, whoever writes it.
    pub(super) async fn open_existing(
        data_dir: &Path,
        schema: &Schema,
    ) -> Result<Self, StoreError> {
        let path = data_dir.join(schema.file);
        let opened = open_to_read(&path, schema).await;
        let readers = opened.map_err(|reason| unusable(&path, "opening the database", reason))?;
        Ok(Self {
            path,
            // SQLite itself refuses to write by way of these.
            writer: readers.clone(),
            readers,
        })
    }

    /// One in memory that stands for a file that is not there, to be read like it.
    pub(super) async fn empty(data_dir: &Path, schema: &Schema) -> Result<Self, StoreError> {
        let path = data_dir.join(schema.file);
        let made = make_empty(schema).await;
        let only = made.map_err(|reason| unusable(&path, "doing without the database", reason))?;
        Ok(Self {
            path,
            writer: only.clone(),
            readers: only,
        })
    }

    /// Waits for what is under way and closes the file. Nothing is lost without it; it folds the
    /// write-ahead log back into the file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    pub(super) async fn reader(
        &self,
        operation: &'static str,
    ) -> Result<PoolConnection<Sqlite>, StoreError> {
        let connection = self.readers.acquire().await;
        connection.map_err(self.failed(operation))
    }

    pub(super) fn failed(&self, operation: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
        move |error| self.unusable(operation, error)
    }

    pub(super) fn unusable(
        &self,
        operation: &'static str,
        reason: impl Into<Unusable>,
    ) -> StoreError {
        unusable(&self.path, operation, reason)
    }
}

fn options(path: &Path, schema: &Schema) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(WAIT_MAX)
        // NORMAL would lose the last transactions with the power.
        .synchronous(SqliteSynchronous::Full);
    match schema.erasable {
        // What SQLite puts aside while it works would stay on the disk too.
        true => options
            .pragma("secure_delete", "ON")
            .pragma("temp_store", "MEMORY"),
        false => options,
    }
}

fn pool(max: u32, options: SqliteConnectOptions) -> SqlitePool {
    pool_options(max).connect_lazy_with(options)
}

/// When the disk is full, SQLite itself ends a transaction, and sqlx goes on to count it: such a
/// connection begins no other, and is thrown away.
pub(super) fn pool_options(max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(max)
        .acquire_timeout(WAIT_MAX)
        .before_acquire(|connection, _| {
            let is_free = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_free) })
        })
}

async fn prepare(writer: &SqlitePool, schema: &Schema) -> Result<(), Unusable> {
    timeout(WAIT_MAX, connect(writer))
        .await
        .map_err(|_| Unusable::Busy)??;
    migrate(writer, schema).await
}

/// Makes the first connection, which turns a new file to WAL. SQLite does not wait when another
/// process is at just that, whatever its busy timeout, so we do.
async fn connect(writer: &SqlitePool) -> Result<(), Unusable> {
    loop {
        match writer.acquire().await.map_err(Unusable::from) {
            Err(Unusable::Busy | Unusable::Overloaded) => sleep(RETRY_PAUSE).await,
            connected => return connected.map(drop),
        }
    }
}

/// Brings the schema up to date in one transaction that holds the write lock: of two processes
/// that start together, one does the work and the other finds it done.
async fn migrate(writer: &SqlitePool, schema: &Schema) -> Result<(), Unusable> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    steps_done(&mut transaction).await?;
    schema
        .migrator()
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(|error| from_migration(error, schema.latest_step()))?;
    Ok(transaction.commit().await?)
}

async fn open_to_read(path: &Path, schema: &Schema) -> Result<SqlitePool, Unusable> {
    if !path.try_exists()? {
        return Err(Unusable::Absent);
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(WAIT_MAX);
    let readers = pool(READERS_MAX, options);
    let done = steps_done(&mut *readers.acquire().await?).await?;
    schema.check(&done)?;
    Ok(readers)
}

async fn make_empty(schema: &Schema) -> Result<SqlitePool, Unusable> {
    let only = SqlitePoolOptions::new()
        .max_connections(1)
        // The database ends with its connection.
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(SqliteConnectOptions::new().in_memory(true));
    migrate(&only, schema).await?;
    query("PRAGMA query_only = ON").execute(&only).await?;
    Ok(only)
}

/// The steps that have made the schema, and their checksums.
async fn steps_done(connection: &mut SqliteConnection) -> Result<Vec<(i64, Vec<u8>)>, Unusable> {
    let tables: Vec<String> = query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut *connection)
        .await?;
    match tables.iter().any(|name| name == "_sqlx_migrations") {
        false if tables.is_empty() => Ok(Vec::new()),
        false => Err(Unusable::Foreign),
        true => {
            let steps = query_as("SELECT version, checksum FROM _sqlx_migrations ORDER BY version");
            Ok(steps.fetch_all(connection).await?)
        }
    }
}

impl Schema {
    /// Whether these steps are this program's, and all of them.
    fn check(&self, done: &[(i64, Vec<u8>)]) -> Result<(), Unusable> {
        let known = self.latest_step();
        let found = done.last().map_or(0, |(version, _)| *version);
        if found > known {
            return Err(Unusable::Newer { found, known });
        }
        for (step, (_, checksum)) in self.migrator().iter().zip(done) {
            if *step.checksum != **checksum {
                return Err(Unusable::ForeignSchema(step.version));
            }
        }
        match found == known {
            true => Ok(()),
            false => Err(Unusable::Older { found, known }),
        }
    }

    fn latest_step(&self) -> i64 {
        self.steps.len() as i64
    }

    fn migrator(&self) -> Migrator {
        let step = |(version, &(description, sql)): (i64, &(&'static str, &'static str))| {
            Migration::new(
                version,
                description.into(),
                MigrationType::Simple,
                sql.into_sql_str(),
                false,
            )
        };
        Migrator::with_migrations((1..).zip(self.steps).map(step).collect())
    }
}

/// Makes the directory and an empty file, if they are not there, for this user alone. SQLite
/// gives its side files the permissions of the main one.
fn create_private(data_dir: &Path, path: &Path) -> io::Result<()> {
    create_dir(data_dir)?;
    match private_file().create_new(true).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn create_dir(data_dir: &Path) -> io::Result<()> {
    let mut directory = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut directory, 0o700);
    directory.recursive(true).create(data_dir)
}

/// How a file is opened that only this user may read, if it is made by it.
pub(super) fn private_file() -> fs::OpenOptions {
    let mut file = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    file.write(true);
    file
}
