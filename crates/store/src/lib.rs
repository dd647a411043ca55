//! Keys, rule sets, their signers and bindings, and the records of calls, kept across restarts.
//!
//! [`Store`] is what the server knows; [`SqliteStore`] keeps it in one file of the data directory.
//! What a method has answered is on disk: it survives `kill -9` and a loss of power. Several
//! processes may have the same data directory open, for instance a running server and the command
//! line, and each sees what the others wrote from its next call on.
//!
//! [`Records`] is what the server has recorded; [`SqliteLedger`] keeps it in files of its own: the
//! log, which one process writes and others may read, and the texts, which can be erased.
//!
//! There is no clock here: whoever calls says what time it is, in unix seconds where it is no
//! [`Timestamp`](portcullis_ledger::Timestamp).

mod error;
mod key;
mod name;
mod proof;
mod record;
mod ruleset;
mod signer;
mod sqlite;

// Unit tests share helpers with the tests from outside.
#[cfg(test)]
extern crate self as portcullis_store;

use async_trait::async_trait;

pub use error::{Missing, StoreError, Unusable};
pub use key::{
    ApiKey, Change, KeyChange, KeyId, KeyLimits, KeyName, NewKey, ParseRoleError, Role, Secret,
};
pub use name::NameError;
pub use proof::prove_record;
pub use record::{
    CallUsage, Cursor, Erased, KeptText, PublishedKey, RecordFilter, RecordPage, RecordSummary,
    Records, TextClass, UsageFilter, UsageGrain, UsageRow,
};
pub use ruleset::{
    Act, Binding, BindingTarget, DeploymentName, EventKind, NamedRuleSet, NewBinding, NewRuleSet,
    NewSignature, Put, RuleSetEvent, RuleSetName, RuleSetState, RulesFor, StoredRuleSet,
    StoredSignature, UnknownWord,
};
pub use signer::{NewSigner, ParseSignerRoleError, Signer, SignerId, SignerName, SignerRole};
pub use sqlite::{DATABASE_FILE, LEDGER_FILE, SqliteLedger, SqliteStore, TEXTS_FILE};

/// What outlives the process.
///
/// Every method may fail with [`StoreError::Unusable`]; `# Errors` names what else can go wrong.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes a key. The secret is returned here and nowhere else: only its hash is kept.
    async fn create_key(&self, new: NewKey, now: i64) -> Result<(ApiKey, Secret), StoreError>;

    /// The key that `secret` belongs to; `None` if there is none or it has been revoked. One that
    /// has expired is found: whether it opens anything is for [`ApiKey::is_usable`] to say.
    async fn find_key(&self, secret: &str) -> Result<Option<ApiKey>, StoreError>;

    /// All keys, revoked ones included, oldest first.
    async fn list_keys(&self) -> Result<Vec<ApiKey>, StoreError>;

    /// Changes until when a key opens anything, and how much.
    ///
    /// # Errors
    /// [`Missing::Key`], [`StoreError::KeyRevoked`].
    async fn update_key(&self, id: &KeyId, change: KeyChange) -> Result<ApiKey, StoreError>;

    /// Revokes a key from this moment on. Doing it twice keeps the first time.
    ///
    /// # Errors
    /// [`Missing::Key`]; [`StoreError::LastAdmin`] unless `even_the_last`.
    async fn revoke_key(
        &self,
        id: &KeyId,
        even_the_last: bool,
        now: i64,
    ) -> Result<ApiKey, StoreError>;

    /// Trusts a key to sign. The same signer again is left as it is.
    ///
    /// # Errors
    /// [`StoreError::SignerExists`] if the key is there with another name, role or scope, or revoked.
    async fn add_signer(&self, new: NewSigner, now: i64) -> Result<Signer, StoreError>;

    /// All signers, revoked ones included, oldest first.
    async fn list_signers(&self) -> Result<Vec<Signer>, StoreError>;

    /// Revokes a signer from this moment on. Doing it twice keeps the first time; `distrust`, once
    /// said, stays.
    ///
    /// # Errors
    /// [`Missing::Signer`].
    async fn revoke_signer(
        &self,
        id: &SignerId,
        distrust: bool,
        now: i64,
    ) -> Result<Signer, StoreError>;

    /// Adds a version of a rule set, registered and not in force. The same bytes again add the
    /// signatures that are new.
    ///
    /// # Errors
    /// [`StoreError::VersionExists`] if the version is there with other bytes, [`Missing::Signer`].
    async fn put_ruleset(&self, new: NewRuleSet, act: Act<'_>) -> Result<Put, StoreError>;

    /// One version of a rule set; without `version` the active one.
    async fn ruleset(
        &self,
        name: &RuleSetName,
        version: Option<u32>,
    ) -> Result<Option<StoredRuleSet>, StoreError>;

    /// All versions of all rule sets, by name, then version.
    async fn list_rulesets(&self) -> Result<Vec<StoredRuleSet>, StoreError>;

    /// Makes a version the active one. The one that was active before is superseded, in the same
    /// moment. Activating the active version changes nothing.
    ///
    /// # Errors
    /// [`Missing::RuleSet`], [`Missing::Version`], [`StoreError::Retired`].
    async fn activate(
        &self,
        name: &RuleSetName,
        version: u32,
        act: Act<'_>,
    ) -> Result<(), StoreError>;

    /// Ends the life of a version. Retiring a retired version changes nothing.
    ///
    /// # Errors
    /// [`Missing::RuleSet`], [`Missing::Version`], [`StoreError::Bound`].
    async fn retire(
        &self,
        name: &RuleSetName,
        version: u32,
        act: Act<'_>,
    ) -> Result<(), StoreError>;

    /// What happened to a rule set, oldest first.
    async fn history(&self, name: &RuleSetName) -> Result<Vec<RuleSetEvent>, StoreError>;

    /// Binds a rule set to a target. A target has at most two bindings of a rule set, one that
    /// holds and one that is observed: binding again replaces it.
    ///
    /// # Errors
    /// [`Missing::RuleSet`], [`Missing::Version`], [`Missing::ActiveVersion`], [`Missing::Key`],
    /// [`StoreError::NotActivated`], [`StoreError::Retired`].
    async fn bind(&self, new: NewBinding, act: Act<'_>) -> Result<Binding, StoreError>;

    /// Takes a binding away: the one that holds, or the one that is observed.
    ///
    /// # Errors
    /// [`Missing::Binding`].
    async fn unbind(
        &self,
        ruleset: &RuleSetName,
        target: &BindingTarget,
        observe: bool,
        act: Act<'_>,
    ) -> Result<(), StoreError>;

    /// The bindings of one rule set, by target.
    async fn bindings(&self, ruleset: &RuleSetName) -> Result<Vec<Binding>, StoreError>;

    /// What holds for a call: the bindings of its key, if it has one, and of its deployment, and
    /// what it names itself.
    async fn rules_for(
        &self,
        key: Option<&KeyId>,
        deployment: &DeploymentName,
        named: &[NamedRuleSet],
    ) -> Result<RulesFor, StoreError>;

    /// All bindings, by rule set, then target.
    async fn all_bindings(&self) -> Result<Vec<Binding>, StoreError>;
}
