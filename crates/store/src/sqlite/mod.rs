//! The store in a SQLite file.

mod bindings;
mod database;
mod fault;
mod keys;
mod ledger;
mod row;
mod rulesets;
mod signers;
mod work;

use std::path::Path;

use async_trait::async_trait;
use sqlx::Connection;

use crate::key::SecretHash;
use crate::{
    Act, ApiKey, Binding, BindingTarget, DeploymentName, KeyChange, KeyId, NamedRuleSet,
    NewBinding, NewKey, NewRuleSet, NewSigner, Put, RuleSetEvent, RuleSetName, RulesFor, Secret,
    Signer, SignerId, Store, StoreError, StoredRuleSet,
};
use database::{Database, Schema};
use work::Work;

pub use ledger::{LEDGER_FILE, SqliteLedger, TEXTS_FILE};

/// The name of the database in a data directory.
pub const DATABASE_FILE: &str = "portcullis.db";

const SCHEMA: Schema = Schema {
    file: DATABASE_FILE,
    steps: &[
        (
            "keys, rule sets, bindings",
            include_str!("../../migrations/sqlite/0001_keys_rulesets_bindings.sql"),
        ),
        (
            "signatures, states, history",
            include_str!("../../migrations/sqlite/0002_signatures_states_history.sql"),
        ),
        (
            "expiry and limits of keys",
            include_str!("../../migrations/sqlite/0003_key_limits.sql"),
        ),
    ],
    erasable: false,
};

/// The store in [`DATABASE_FILE`] of a data directory.
#[derive(Debug)]
pub struct SqliteStore {
    database: Database,
}

impl SqliteStore {
    /// Opens the store in `data_dir` and brings its schema up to date; makes what is not there,
    /// readable for this user alone. Other processes may have it open.
    ///
    /// # Errors
    /// [`StoreError::Unusable`], with the path and what to do.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let database = Database::open(data_dir, &SCHEMA).await?;
        Ok(Self { database })
    }

    /// Opens the store that is in `data_dir` to read it, and changes nothing: its schema must be the
    /// one that this program knows.
    ///
    /// # Errors
    /// [`StoreError::Unusable`], with the path and what to do.
    pub async fn open_existing(data_dir: &Path) -> Result<Self, StoreError> {
        let database = Database::open_existing(data_dir, &SCHEMA).await?;
        Ok(Self { database })
    }

    /// The file of the database.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.database.path
    }

    /// Waits for what is under way and closes the file. Nothing is lost without it; it folds the
    /// write-ahead log back into the file.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn create_key(&self, new: NewKey, now: i64) -> Result<(ApiKey, Secret), StoreError> {
        let secret = Secret::generate().map_err(StoreError::Random)?;
        let hash = SecretHash::of(secret.expose());
        let key = new.made(hash.key_id(), now);
        let mut work = Work::begin(&self.database, "creating a key").await?;
        let done = keys::insert(work.connection(), &key, &hash).await;
        work.finish(done.map_err(Into::into)).await?;
        Ok((key, secret))
    }

    async fn find_key(&self, secret: &str) -> Result<Option<ApiKey>, StoreError> {
        const OPERATION: &str = "looking up a key";
        let mut connection = self.database.reader(OPERATION).await?;
        let found = keys::find_by_hash(&mut connection, &SecretHash::of(secret)).await;
        found.map_err(self.database.failed(OPERATION))
    }

    async fn list_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        const OPERATION: &str = "listing the keys";
        let mut connection = self.database.reader(OPERATION).await?;
        let listed = keys::list(&mut connection).await;
        listed.map_err(self.database.failed(OPERATION))
    }

    async fn update_key(&self, id: &KeyId, change: KeyChange) -> Result<ApiKey, StoreError> {
        let mut work = Work::begin(&self.database, "changing a key").await?;
        let done = keys::update(work.connection(), id, change).await;
        work.finish(done).await
    }

    async fn revoke_key(
        &self,
        id: &KeyId,
        even_the_last: bool,
        now: i64,
    ) -> Result<ApiKey, StoreError> {
        let mut work = Work::begin(&self.database, "revoking a key").await?;
        let done = keys::revoke(work.connection(), id, even_the_last, now).await;
        work.finish(done).await
    }

    async fn add_signer(&self, new: NewSigner, now: i64) -> Result<Signer, StoreError> {
        let mut work = Work::begin(&self.database, "adding a signer").await?;
        let done = signers::add(work.connection(), new, now).await;
        work.finish(done).await
    }

    async fn list_signers(&self) -> Result<Vec<Signer>, StoreError> {
        const OPERATION: &str = "listing the signers";
        let mut connection = self.database.reader(OPERATION).await?;
        let listed = signers::list(&mut connection).await;
        listed.map_err(self.database.failed(OPERATION))
    }

    async fn revoke_signer(
        &self,
        id: &SignerId,
        distrust: bool,
        now: i64,
    ) -> Result<Signer, StoreError> {
        let mut work = Work::begin(&self.database, "revoking a signer").await?;
        let done = signers::revoke(work.connection(), id, distrust, now).await;
        work.finish(done).await
    }

    async fn put_ruleset(&self, new: NewRuleSet, act: Act<'_>) -> Result<Put, StoreError> {
        let mut work = Work::begin(&self.database, "storing a rule set").await?;
        let done = rulesets::put(work.connection(), new, act).await;
        work.finish(done).await
    }

    async fn ruleset(
        &self,
        name: &RuleSetName,
        version: Option<u32>,
    ) -> Result<Option<StoredRuleSet>, StoreError> {
        const OPERATION: &str = "reading a rule set";
        let mut connection = self.database.reader(OPERATION).await?;
        let found = rulesets::find(&mut connection, name, version).await;
        found.map_err(self.database.failed(OPERATION))
    }

    async fn list_rulesets(&self) -> Result<Vec<StoredRuleSet>, StoreError> {
        const OPERATION: &str = "listing the rule sets";
        let mut connection = self.database.reader(OPERATION).await?;
        let listed = rulesets::list(&mut connection).await;
        listed.map_err(self.database.failed(OPERATION))
    }

    async fn activate(
        &self,
        name: &RuleSetName,
        version: u32,
        act: Act<'_>,
    ) -> Result<(), StoreError> {
        let mut work = Work::begin(&self.database, "activating a rule set").await?;
        let done = rulesets::activate(work.connection(), name, version, act).await;
        work.finish(done).await
    }

    async fn retire(
        &self,
        name: &RuleSetName,
        version: u32,
        act: Act<'_>,
    ) -> Result<(), StoreError> {
        let mut work = Work::begin(&self.database, "retiring a rule set").await?;
        let done = rulesets::retire(work.connection(), name, version, act).await;
        work.finish(done).await
    }

    async fn history(&self, name: &RuleSetName) -> Result<Vec<RuleSetEvent>, StoreError> {
        const OPERATION: &str = "reading the history of a rule set";
        let mut connection = self.database.reader(OPERATION).await?;
        let history = rulesets::history(&mut connection, name).await;
        history.map_err(self.database.failed(OPERATION))
    }

    async fn bind(&self, new: NewBinding, act: Act<'_>) -> Result<Binding, StoreError> {
        let mut work = Work::begin(&self.database, "binding a rule set").await?;
        let done = bindings::bind(work.connection(), &new, act).await;
        work.finish(done).await
    }

    async fn unbind(
        &self,
        ruleset: &RuleSetName,
        target: &BindingTarget,
        observe: bool,
        act: Act<'_>,
    ) -> Result<(), StoreError> {
        let mut work = Work::begin(&self.database, "unbinding a rule set").await?;
        let done = bindings::unbind(work.connection(), ruleset, target, observe, act).await;
        work.finish(done).await
    }

    async fn bindings(&self, ruleset: &RuleSetName) -> Result<Vec<Binding>, StoreError> {
        const OPERATION: &str = "listing the bindings of a rule set";
        let mut connection = self.database.reader(OPERATION).await?;
        let listed = bindings::of_ruleset(&mut connection, ruleset).await;
        listed.map_err(self.database.failed(OPERATION))
    }

    async fn rules_for(
        &self,
        key: Option<&KeyId>,
        deployment: &DeploymentName,
        named: &[NamedRuleSet],
    ) -> Result<RulesFor, StoreError> {
        const OPERATION: &str = "looking up the rules of a call";
        let failed = self.database.failed(OPERATION);
        let mut connection = self.database.reader(OPERATION).await?;
        let mut snapshot = connection.begin().await.map_err(&failed)?;
        let rules = bindings::rules_for(&mut snapshot, key, deployment, named).await;
        let rules = rules.map_err(&failed)?;
        snapshot.commit().await.map_err(failed)?;
        Ok(rules)
    }

    async fn all_bindings(&self) -> Result<Vec<Binding>, StoreError> {
        const OPERATION: &str = "listing the bindings";
        let mut connection = self.database.reader(OPERATION).await?;
        let listed = bindings::all(&mut connection).await;
        listed.map_err(self.database.failed(OPERATION))
    }
}
