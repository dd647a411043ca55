//! A piece of writing: done as a whole or not at all.

use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::database::Database;
use crate::{Missing, StoreError, Unusable};

/// Why a piece of writing was not done.
pub(super) enum Fault {
    /// The database.
    Sql(sqlx::Error),
    /// What is in the database.
    Unusable(Unusable),
    /// What was asked is not possible.
    Refused(StoreError),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Unusable> for Fault {
    fn from(reason: Unusable) -> Self {
        Self::Unusable(reason)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Missing> for Fault {
    fn from(missing: Missing) -> Self {
        Self::Refused(missing.into())
    }
}

/// A transaction that holds the write lock from its beginning, so that what it reads stays true
/// until it commits, whichever process writes. Dropping it undoes it.
pub(super) struct Work<'d> {
    database: &'d Database,
    operation: &'static str,
    transaction: Transaction<'static, Sqlite>,
}

impl<'d> Work<'d> {
    pub(super) async fn begin(
        database: &'d Database,
        operation: &'static str,
    ) -> Result<Self, StoreError> {
        let transaction = database.writer.begin_with("BEGIN IMMEDIATE").await;
        Ok(Self {
            transaction: transaction.map_err(database.failed(operation))?,
            database,
            operation,
        })
    }

    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }

    /// Commits what was done, or undoes it.
    pub(super) async fn finish<T>(self, done: Result<T, Fault>) -> Result<T, StoreError> {
        let Self {
            database,
            operation,
            transaction,
        } = self;
        let failed = database.failed(operation);
        match done {
            Ok(value) => {
                transaction.commit().await.map_err(failed)?;
                Ok(value)
            }
            Err(Fault::Sql(error)) => Err(failed(error)),
            Err(Fault::Unusable(reason)) => Err(database.unusable(operation, reason)),
            Err(Fault::Refused(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::query;
    use tempfile::TempDir;

    use crate::{NewRuleSet, Put, SqliteStore, Store, StoreError, Unusable};

    #[tokio::test]
    async fn a_store_writes_again_once_there_is_room() {
        let dir = TempDir::new().unwrap();
        let store = SqliteStore::open(dir.path()).await.unwrap();
        let act = crate::Act { actor: "k", now: 0 };
        let new = NewRuleSet {
            name: "cards".parse().unwrap(),
            version: 1,
            digest: "d".to_owned(),
            source: vec![7; 100_000],
            signatures: Vec::new(),
        };
        // Lowering it below the size of the file sets it to that size.
        query("PRAGMA max_page_count = 1")
            .execute(&store.database.writer)
            .await
            .unwrap();
        let refused = store.put_ruleset(new.clone(), act).await.unwrap_err();
        let StoreError::Unusable { reason, .. } = &refused else {
            panic!("{refused}")
        };
        assert!(matches!(reason, Unusable::DiskFull), "{reason}");
        // The limit went with its connection.
        let put = store.put_ruleset(new, act).await.unwrap();
        assert_eq!(put, Put::Added);
    }
}
