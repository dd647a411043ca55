//! Records: the log itself, what is found in it, and the texts that are kept beside it.

use async_trait::async_trait;
use portcullis_ledger::{Hash, KeyKind, LogStore, Outcome, RecordId, Salt, Timestamp, TokenCounts};

use crate::{DeploymentName, KeyId, RuleSetName, StoreError};

/// Everything about records that outlives the process. The log is only added to, by way of
/// [`LogStore`]; what is here reads it, and keeps what must be erasable apart from it.
///
/// Every method may fail with [`StoreError::Unusable`].
#[async_trait]
pub trait Records: LogStore {
    /// Records, the newest first, from `after` on, `limit` at most.
    async fn list_records(
        &self,
        filter: &RecordFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<RecordPage, StoreError>;

    /// One record.
    async fn record(&self, id: &RecordId) -> Result<Option<RecordSummary>, StoreError>;

    /// Entries of the log from `first` to before `end`; fewer if it ends before.
    async fn entries(&self, first: u64, end: u64) -> Result<Vec<Vec<u8>>, StoreError>;

    /// Hashes of the log's tree, by their index in it (`tlog_tiles::stored_hash_index`), in the
    /// order in which they were asked for; fewer if one is not there.
    async fn hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, StoreError>;

    /// What calls cost, by what `filter` tells apart, the oldest day first.
    async fn usage(&self, filter: &UsageFilter) -> Result<Vec<UsageRow>, StoreError>;

    /// Every public key that has signed something here, oldest first.
    async fn published_keys(&self) -> Result<Vec<PublishedKey>, StoreError>;

    /// Keeps a public key for good. The same again changes nothing.
    async fn publish_key(&self, key: PublishedKey) -> Result<(), StoreError>;

    /// Keeps the text of a call, apart from the log. `false` if nothing is kept, because the record
    /// was erased in the meantime.
    async fn keep_text(&self, text: KeptText) -> Result<bool, StoreError>;

    /// The text of a call, if it was kept and is not erased.
    async fn text(&self, id: &RecordId) -> Result<Option<KeptText>, StoreError>;

    /// Erases text and salt of one record, so that nothing in the log can be told from a guess any
    /// more. Nothing happens to a record under legal hold.
    ///
    /// What is erased can be read nowhere when this returns. It fails as
    /// [`Busy`](crate::Unusable::Busy) if another process reads for so long that traces are left;
    /// doing it again wipes them, whatever it counts.
    async fn erase_record(&self, id: &RecordId) -> Result<Erased, StoreError>;

    /// The same for every record of a key.
    async fn erase_key(&self, key: &KeyId) -> Result<Erased, StoreError>;

    /// Erases the text of each class that is older than it allows; salts of records with such a
    /// text go with it.
    async fn erase_expired(
        &self,
        classes: &[TextClass],
        now: Timestamp,
    ) -> Result<Erased, StoreError>;

    /// Puts a record under legal hold, or takes it back. `false` if there is no such record.
    async fn set_hold(&self, id: &RecordId, hold: bool) -> Result<bool, StoreError>;
}

/// Which records are asked for: those that meet every condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFilter {
    /// Of this API key.
    pub key: Option<KeyId>,
    /// Of this deployment.
    pub deployment: Option<DeploymentName>,
    /// Under this rule set, and this version of it, enforced or observed.
    pub ruleset: Option<(RuleSetName, Option<u32>)>,
    /// That ended so.
    pub outcome: Option<Outcome>,
    /// That have, or have not, ended.
    pub ended: Option<bool>,
    /// That began then or later.
    pub since: Option<Timestamp>,
    /// That began before then.
    pub until: Option<Timestamp>,
}

/// Where a page ends: the log index of the `opened` entry of its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub u64);

/// Some records, and where the next ones begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordPage {
    /// The newest first.
    pub records: Vec<RecordSummary>,
    /// `None` if there are no more.
    pub next: Option<Cursor>,
}

/// What is found about a record without reading its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSummary {
    /// Which call.
    pub id: RecordId,
    /// The API key; none where inference needed no key.
    pub key: Option<KeyId>,
    /// Its number among the calls of the key.
    pub seq: u64,
    /// What the user called the model.
    pub deployment: String,
    /// `name@version` of every rule set that held or was observed.
    pub rulesets: Vec<String>,
    /// When it began.
    pub opened_at: Timestamp,
    /// The entry with which it began.
    pub opened_index: u64,
    /// When it ended, how, and with which entry; none while it runs.
    pub closed: Option<(Timestamp, Outcome, u64)>,
    /// What it cost; zero while it runs.
    pub usage: TokenCounts,
    /// Roll-backs.
    pub attempts: u64,
    /// What its commitments are salted with; none once erased.
    pub salt: Option<Salt>,
    /// Whether its text must not be erased.
    pub hold: bool,
}

/// Which usage is asked for, and by what it is told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// Of this API key alone.
    pub key: Option<KeyId>,
    /// Of this deployment alone.
    pub deployment: Option<DeploymentName>,
    /// Of the days from this one on (UTC).
    pub since: Option<Timestamp>,
    /// Of the days before this one.
    pub until: Option<Timestamp>,
    /// What has a row of its own.
    pub by: UsageGrain,
}

/// What has a row of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageGrain {
    /// Each API key.
    pub key: bool,
    /// Each deployment.
    pub deployment: bool,
    /// Each day.
    pub day: bool,
}

/// What some calls cost together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageRow {
    /// The key, where keys are told apart; also none for callers without one.
    pub key: Option<KeyId>,
    /// The deployment, where deployments are told apart.
    pub deployment: Option<String>,
    /// The day, `2026-11-21`, where days are told apart.
    pub day: Option<String>,
    /// What they cost.
    pub usage: CallUsage,
}

/// Calls that have ended, and their tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallUsage {
    /// Calls.
    pub calls: u64,
    /// Their tokens.
    pub tokens: TokenCounts,
}

/// A public key that has signed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedKey {
    /// SHA-256 of its SubjectPublicKeyInfo in DER.
    pub id: String,
    /// What it signs.
    pub kind: KeyKind,
    /// SubjectPublicKeyInfo in PEM.
    pub pem: String,
    /// When it was first used.
    pub since: Timestamp,
}

/// The text of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptText {
    /// Which call.
    pub id: RecordId,
    /// The class that says how long it is kept.
    pub class: String,
    /// When the call began.
    pub opened_at: Timestamp,
    /// The body of the request, if prompts are kept.
    pub request: Option<Vec<u8>>,
    /// What was released, by choice.
    pub outputs: Vec<String>,
}

/// How long the texts of a class are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextClass {
    /// Its name.
    pub name: String,
    /// Seconds.
    pub keep_s: u64,
}

/// What an erasure came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Records whose text or salt is gone.
    pub records: u64,
    /// Records that are under legal hold, and were left alone.
    pub held: u64,
}
