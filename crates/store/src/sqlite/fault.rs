//! What SQLite and the file system say, in words that help.

use std::io;
use std::path::Path;

use sqlx::migrate::MigrateError;

use crate::{StoreError, Unusable};

pub(super) fn unusable(
    path: &Path,
    operation: &'static str,
    reason: impl Into<Unusable>,
) -> StoreError {
    let database = path.display().to_string();
    StoreError::Unusable {
        database,
        operation,
        reason: reason.into(),
    }
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Access(error)
    }
}

impl From<sqlx::Error> for Unusable {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(error) => Self::Access(error),
            sqlx::Error::PoolTimedOut => Self::Overloaded,
            sqlx::Error::ColumnDecode { .. } => Self::Corrupt(error.to_string()),
            sqlx::Error::Database(error) => from_sqlite(error),
            other => Self::Other(Box::new(other)),
        }
    }
}

/// By the primary result code, the low byte of what sqlx reports.
/// Source: <https://www.sqlite.org/rescode.html>.
fn from_sqlite(error: Box<dyn sqlx::error::DatabaseError>) -> Unusable {
    let code = error.code().and_then(|code| code.parse::<i32>().ok());
    match code.map(|extended| extended & 0xff) {
        Some(5 | 6) => Unusable::Busy,
        Some(8) => Unusable::ReadOnly,
        Some(11 | 26) => Unusable::Corrupt(error.message().to_owned()),
        Some(13) => Unusable::DiskFull,
        Some(14) => Unusable::Access(io::Error::other(error)),
        _ => Unusable::Other(error.into_error()),
    }
}

/// Why the schema could not be brought up to date; `known` is the latest step of this program.
pub(super) fn from_migration(error: MigrateError, known: i64) -> Unusable {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        MigrateError::VersionMissing(found) => Unusable::Newer { found, known },
        MigrateError::VersionMismatch(step) => Unusable::ForeignSchema(step),
        other => Unusable::Other(Box::new(other)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
    use sqlx::{ConnectOptions, query};
    use tempfile::TempDir;

    use super::*;

    async fn connect(dir: &TempDir, read_only: bool) -> SqliteConnection {
        SqliteConnectOptions::new()
            .filename(dir.path().join("db"))
            .create_if_missing(!read_only)
            .read_only(read_only)
            .busy_timeout(Duration::ZERO)
            .connect()
            .await
            .unwrap()
    }

    async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Unusable> {
        query(sql)
            .execute(connection)
            .await
            .map(drop)
            .map_err(Unusable::from)
    }

    #[tokio::test]
    async fn a_lock_held_elsewhere_is_busy() {
        let dir = TempDir::new().unwrap();
        let (mut one, mut two) = (connect(&dir, false).await, connect(&dir, false).await);
        run(&mut one, "BEGIN IMMEDIATE").await.unwrap();
        let refused = run(&mut two, "BEGIN IMMEDIATE").await;
        assert!(matches!(refused, Err(Unusable::Busy)), "{refused:?}");
    }

    #[tokio::test]
    async fn a_full_disk_is_told_from_other_faults() {
        let dir = TempDir::new().unwrap();
        let mut connection = connect(&dir, false).await;
        run(&mut connection, "PRAGMA max_page_count = 2")
            .await
            .unwrap();
        run(&mut connection, "CREATE TABLE t (x BLOB)")
            .await
            .unwrap();
        let refused = run(&mut connection, "INSERT INTO t VALUES (zeroblob(100000))").await;
        assert!(matches!(refused, Err(Unusable::DiskFull)), "{refused:?}");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_read_only() {
        let dir = TempDir::new().unwrap();
        run(&mut connect(&dir, false).await, "CREATE TABLE t (x BLOB)")
            .await
            .unwrap();
        let refused = run(&mut connect(&dir, true).await, "DROP TABLE t").await;
        assert!(matches!(refused, Err(Unusable::ReadOnly)), "{refused:?}");
    }
}
