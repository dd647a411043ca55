//! Keys, rule sets and bindings, kept across restarts.
//!
//! [`Store`] is what the server knows; [`SqliteStore`] keeps it in one file of the data directory.
//! What a method has answered is on disk: it survives `kill -9` and a loss of power. Several
//! processes may have the same data directory open, for instance a running server and the command
//! line, and each sees what the others wrote from its next call on.
//!
//! There is no clock here: whoever calls says what time it is, in unix seconds.

mod error;
mod key;
mod name;
mod ruleset;
mod sqlite;

use async_trait::async_trait;

pub use error::{Missing, StoreError, Unusable};
pub use key::{ApiKey, KeyId, KeyName, NewKey, ParseRoleError, Role, Secret};
pub use name::NameError;
pub use ruleset::{
    Binding, BindingTarget, DeploymentName, NewRuleSet, Put, RuleSetName, StoredRuleSet,
};
pub use sqlite::{DATABASE_FILE, SqliteStore};

/// What outlives the process.
///
/// Every method may fail with [`StoreError::Unusable`]; `# Errors` names what else can go wrong.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes a key. The secret is returned here and nowhere else: only its hash is kept.
    async fn create_key(&self, new: NewKey, now: i64) -> Result<(ApiKey, Secret), StoreError>;

    /// The key that `secret` belongs to; `None` if there is none or it has been revoked.
    async fn find_key(&self, secret: &str) -> Result<Option<ApiKey>, StoreError>;

    /// All keys, revoked ones included, oldest first.
    async fn list_keys(&self) -> Result<Vec<ApiKey>, StoreError>;

    /// Revokes a key from this moment on. Doing it twice keeps the first time.
    ///
    /// # Errors
    /// [`Missing::Key`].
    async fn revoke_key(&self, id: &KeyId, now: i64) -> Result<ApiKey, StoreError>;

    /// Adds a version of a rule set. The same bytes again are [`Put::Unchanged`].
    ///
    /// # Errors
    /// [`StoreError::VersionExists`] if the version is there with other bytes.
    async fn put_ruleset(&self, new: NewRuleSet, now: i64) -> Result<Put, StoreError>;

    /// One version of a rule set; without `version` the newest, which is the highest.
    async fn ruleset(
        &self,
        name: &RuleSetName,
        version: Option<u32>,
    ) -> Result<Option<StoredRuleSet>, StoreError>;

    /// All versions of all rule sets, by name, then version.
    async fn list_rulesets(&self) -> Result<Vec<StoredRuleSet>, StoreError>;

    /// Binds a rule set to a target; without `version` to the newest at any time. A target has
    /// one binding for each rule set: binding again replaces it.
    ///
    /// # Errors
    /// [`Missing::RuleSet`], [`Missing::Version`], [`Missing::Key`].
    async fn bind(
        &self,
        ruleset: &RuleSetName,
        version: Option<u32>,
        target: &BindingTarget,
        now: i64,
    ) -> Result<Binding, StoreError>;

    /// Takes a binding away.
    ///
    /// # Errors
    /// [`Missing::Binding`].
    async fn unbind(&self, ruleset: &RuleSetName, target: &BindingTarget)
    -> Result<(), StoreError>;

    /// The bindings of one rule set, by target.
    async fn bindings(&self, ruleset: &RuleSetName) -> Result<Vec<Binding>, StoreError>;

    /// What holds for a call: the bindings of its key, if it has one, and of its deployment.
    async fn bindings_for(
        &self,
        key: Option<&KeyId>,
        deployment: &DeploymentName,
    ) -> Result<Vec<Binding>, StoreError>;

    /// All bindings, by rule set, then target.
    async fn all_bindings(&self) -> Result<Vec<Binding>, StoreError>;
}
