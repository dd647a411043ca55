//! The store in a SQLite file.

mod fault;
mod open;
mod row;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction, query, query_scalar};

use crate::key::SecretHash;
use crate::{
    ApiKey, Binding, BindingTarget, DeploymentName, KeyId, Missing, NewKey, NewRuleSet, Put,
    RuleSetName, Secret, Store, StoreError, StoredRuleSet,
};
use fault::unusable;

pub use open::DATABASE_FILE;

/// The store in [`DATABASE_FILE`] of a data directory.
///
/// One connection writes, so that writers of this process queue here and do not poll for SQLite's
/// lock; a few read beside it, which WAL allows while someone writes.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the store in `data_dir` and brings its schema up to date; makes what is not there,
    /// readable for this user alone. Other processes may have it open.
    ///
    /// # Errors
    /// [`StoreError::Unusable`], with the path and what to do.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        open::open(data_dir).await
    }

    /// The file of the database.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for what is under way and closes the file. Nothing is lost without it; it folds the
    /// write-ahead log back into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// A transaction that holds the write lock from its beginning, so that what it reads stays
    /// true until it commits, whichever process writes.
    async fn begin(&self) -> sqlx::Result<Transaction<'static, Sqlite>> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    fn failed(&self, operation: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
        move |error| unusable(&self.path, operation, error)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn create_key(&self, new: NewKey, now: i64) -> Result<(ApiKey, Secret), StoreError> {
        let secret = Secret::generate().map_err(StoreError::Random)?;
        let hash = SecretHash::of(secret.expose());
        let NewKey { name, role } = new;
        let key = ApiKey {
            id: hash.key_id(),
            name,
            role,
            created_at: now,
            revoked_at: None,
        };
        query(
            "INSERT INTO api_keys (id, name, role, secret_hash, created_at) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(key.id.as_str())
        .bind(key.name.as_str())
        .bind(key.role.as_str())
        .bind(hash.as_bytes())
        .bind(now)
        .execute(&self.writer)
        .await
        .map_err(self.failed("creating a key"))?;
        Ok((key, secret))
    }

    async fn find_key(&self, secret: &str) -> Result<Option<ApiKey>, StoreError> {
        let hash = SecretHash::of(secret);
        let found = query("SELECT * FROM api_keys WHERE id = ?")
            .bind(hash.key_id().as_str())
            .try_map(row::key_and_hash)
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("looking up a key"))?;
        Ok(found
            .filter(|(key, stored)| hash.equals(stored) && key.revoked_at.is_none())
            .map(|(key, _)| key))
    }

    async fn list_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        query("SELECT * FROM api_keys ORDER BY created_at, rowid")
            .try_map(row::key)
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("listing the keys"))
    }

    async fn revoke_key(&self, id: &KeyId, now: i64) -> Result<ApiKey, StoreError> {
        query("UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ? RETURNING *")
            .bind(now)
            .bind(id.as_str())
            .try_map(row::key)
            .fetch_optional(&self.writer)
            .await
            .map_err(self.failed("revoking a key"))?
            .ok_or_else(|| Missing::Key(id.clone()).into())
    }

    async fn put_ruleset(&self, new: NewRuleSet, now: i64) -> Result<Put, StoreError> {
        let failed = self.failed("storing a rule set");
        let mut transaction = self.begin().await.map_err(&failed)?;
        let stored = find_ruleset(&mut transaction, &new.name, Some(new.version)).await;
        if let Some(stored) = stored.map_err(&failed)? {
            let newest = newest_version(&mut transaction, &new.name)
                .await
                .map_err(failed)?;
            return same_or_conflict(new, stored, newest);
        }
        insert_ruleset(&mut transaction, &new, now)
            .await
            .map_err(&failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(Put::Added)
    }

    async fn ruleset(
        &self,
        name: &RuleSetName,
        version: Option<u32>,
    ) -> Result<Option<StoredRuleSet>, StoreError> {
        let failed = self.failed("reading a rule set");
        let mut connection = self.readers.acquire().await.map_err(&failed)?;
        find_ruleset(&mut connection, name, version)
            .await
            .map_err(failed)
    }

    async fn list_rulesets(&self) -> Result<Vec<StoredRuleSet>, StoreError> {
        query("SELECT * FROM rulesets ORDER BY name, version")
            .try_map(row::ruleset)
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("listing the rule sets"))
    }

    async fn bind(
        &self,
        ruleset: &RuleSetName,
        version: Option<u32>,
        target: &BindingTarget,
        now: i64,
    ) -> Result<Binding, StoreError> {
        let failed = self.failed("binding a rule set");
        let mut transaction = self.begin().await.map_err(&failed)?;
        let missing = missing_for_binding(&mut transaction, ruleset, version, target).await;
        if let Some(missing) = missing.map_err(&failed)? {
            return Err(missing.into());
        }
        let binding = upsert_binding(&mut transaction, ruleset, version, target, now).await;
        let binding = binding.map_err(&failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(binding)
    }

    async fn unbind(
        &self,
        ruleset: &RuleSetName,
        target: &BindingTarget,
    ) -> Result<(), StoreError> {
        let (kind, id) = row::target_columns(target);
        let done =
            query("DELETE FROM bindings WHERE target_kind = ? AND target = ? AND ruleset = ?")
                .bind(kind)
                .bind(id)
                .bind(ruleset.as_str())
                .execute(&self.writer)
                .await
                .map_err(self.failed("unbinding a rule set"))?;
        match done.rows_affected() {
            0 => Err(Missing::Binding {
                ruleset: ruleset.clone(),
                target: target.clone(),
            }
            .into()),
            _ => Ok(()),
        }
    }

    async fn bindings(&self, ruleset: &RuleSetName) -> Result<Vec<Binding>, StoreError> {
        query("SELECT * FROM bindings WHERE ruleset = ? ORDER BY target_kind, target")
            .bind(ruleset.as_str())
            .try_map(row::binding)
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("listing the bindings of a rule set"))
    }

    async fn bindings_for(
        &self,
        key: Option<&KeyId>,
        deployment: &DeploymentName,
    ) -> Result<Vec<Binding>, StoreError> {
        // Without a key the parameter is NULL, which equals no target.
        query(
            "SELECT * FROM bindings
             WHERE (target_kind = 'key' AND target = ?)
                OR (target_kind = 'deployment' AND target = ?)
             ORDER BY ruleset, target_kind",
        )
        .bind(key.map(KeyId::as_str))
        .bind(deployment.as_str())
        .try_map(row::binding)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("looking up the bindings of a call"))
    }

    async fn all_bindings(&self) -> Result<Vec<Binding>, StoreError> {
        query("SELECT * FROM bindings ORDER BY ruleset, target_kind, target")
            .try_map(row::binding)
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("listing the bindings"))
    }
}

/// What putting a version means that is there already.
fn same_or_conflict(
    new: NewRuleSet,
    stored: StoredRuleSet,
    newest: Option<u32>,
) -> Result<Put, StoreError> {
    if stored.digest == new.digest && stored.source == new.source {
        return Ok(Put::Unchanged);
    }
    Err(StoreError::VersionExists {
        name: new.name,
        version: new.version,
        newest: newest.unwrap_or(new.version),
        stored_digest: stored.digest,
        given_digest: new.digest,
    })
}

async fn find_ruleset(
    connection: &mut SqliteConnection,
    name: &RuleSetName,
    version: Option<u32>,
) -> sqlx::Result<Option<StoredRuleSet>> {
    query(
        "SELECT * FROM rulesets WHERE name = ?1 AND version = coalesce(?2, version)
         ORDER BY version DESC LIMIT 1",
    )
    .bind(name.as_str())
    .bind(version)
    .try_map(row::ruleset)
    .fetch_optional(connection)
    .await
}

async fn newest_version(
    connection: &mut SqliteConnection,
    name: &RuleSetName,
) -> sqlx::Result<Option<u32>> {
    query_scalar("SELECT max(version) FROM rulesets WHERE name = ?")
        .bind(name.as_str())
        .fetch_one(connection)
        .await
}

async fn insert_ruleset(
    connection: &mut SqliteConnection,
    new: &NewRuleSet,
    now: i64,
) -> sqlx::Result<()> {
    query(
        "INSERT INTO rulesets (name, version, digest, source, created_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(new.name.as_str())
    .bind(new.version)
    .bind(new.digest.as_str())
    .bind(new.source.as_slice())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// What a binding would need and is not there.
async fn missing_for_binding(
    connection: &mut SqliteConnection,
    ruleset: &RuleSetName,
    version: Option<u32>,
    target: &BindingTarget,
) -> sqlx::Result<Option<Missing>> {
    let Some(newest) = newest_version(connection, ruleset).await? else {
        return Ok(Some(Missing::RuleSet(ruleset.clone())));
    };
    if let Some(version) = version
        && find_ruleset(connection, ruleset, Some(version))
            .await?
            .is_none()
    {
        return Ok(Some(Missing::Version {
            name: ruleset.clone(),
            version,
            newest,
        }));
    }
    let BindingTarget::Key(id) = target else {
        return Ok(None);
    };
    let there: bool = query_scalar("SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = ?)")
        .bind(id.as_str())
        .fetch_one(connection)
        .await?;
    Ok((!there).then(|| Missing::Key(id.clone())))
}

async fn upsert_binding(
    connection: &mut SqliteConnection,
    ruleset: &RuleSetName,
    version: Option<u32>,
    target: &BindingTarget,
    now: i64,
) -> sqlx::Result<Binding> {
    let (kind, id) = row::target_columns(target);
    query(
        "INSERT INTO bindings (ruleset, version, target_kind, target, created_at)
         VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (target_kind, target, ruleset)
         DO UPDATE SET version = excluded.version, created_at = excluded.created_at
         RETURNING *",
    )
    .bind(ruleset.as_str())
    .bind(version)
    .bind(kind)
    .bind(id)
    .bind(now)
    .try_map(row::binding)
    .fetch_one(connection)
    .await
}
