//! Records and usage: our own.

use portcullis_ledger::{LogVerifier, Outcome, RecordId, Timestamp, TokenCounts};
use portcullis_sign::PublicKey;
use portcullis_store::{
    CallUsage, Cursor, DeploymentName, Erased, KeptText, KeyId, PublishedKey, RecordFilter,
    RecordPage, RecordSummary, UsageFilter, UsageGrain, UsageRow,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words::TokenCountsSchema;
use crate::error::ApiError;
use crate::record::Prices;

/// Which records are asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RecordQuery {
    #[schemars(with = "Option<String>")]
    key: Option<KeyId>,
    #[schemars(with = "Option<String>")]
    deployment: Option<DeploymentName>,
    /// `name` or `name@version`.
    ruleset: Option<String>,
    /// One of the outcomes, or `open`.
    outcome: Option<String>,
    since: Option<String>,
    until: Option<String>,
    after: Option<u64>,
    pub(crate) limit: Option<u32>,
}

impl RecordQuery {
    /// # Errors
    /// 400 naming the parameter.
    pub(crate) fn filter(&self) -> Result<RecordFilter, ApiError> {
        let (ended, outcome) = match self.outcome.as_deref() {
            None => (None, None),
            Some("open") => (Some(false), None),
            Some(word) => (None, Some(read_outcome(word)?)),
        };
        Ok(RecordFilter {
            key: self.key.clone(),
            deployment: self.deployment.clone(),
            ruleset: self.ruleset.as_deref().map(read_ruleset).transpose()?,
            outcome,
            ended,
            since: read_time("since", self.since.as_deref())?,
            until: read_time("until", self.until.as_deref())?,
        })
    }

    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.after.map(Cursor)
    }
}

fn read_outcome(word: &str) -> Result<Outcome, ApiError> {
    Outcome::parse(word).ok_or_else(|| {
        let words = Outcome::ALL.map(Outcome::as_str).join(", ");
        ApiError::invalid("outcome", format!("{word:?} is none; use open, {words}"))
    })
}

fn read_ruleset(text: &str) -> Result<(portcullis_store::RuleSetName, Option<u32>), ApiError> {
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, version.parse().map(Some).ok()),
        None => (text, Some(None)),
    };
    match (name.parse(), version) {
        (Ok(name), Some(version)) => Ok((name, version)),
        _ => Err(ApiError::invalid("ruleset", "write name or name@version")),
    }
}

/// A moment, or the beginning of a day.
fn read_time(param: &str, text: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    let read = serde_json::from_value(serde_json::Value::String(whole));
    read.map(Some).map_err(|_| {
        ApiError::invalid(
            param,
            "write a day (2026-11-21) or a moment (2026-11-21T08:00:00Z)",
        )
    })
}

/// A page of records.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RecordsBody {
    object: &'static str,
    data: Vec<RecordBody<()>>,
    has_more: bool,
    /// What `after` asks for the next page with.
    next: Option<u64>,
}

impl From<RecordPage> for RecordsBody {
    fn from(page: RecordPage) -> Self {
        let bodies = page.records.into_iter().map(|it| RecordBody::new(it, ()));
        Self {
            object: "list",
            data: bodies.collect(),
            has_more: page.next.is_some(),
            next: page.next.map(|Cursor(index)| index),
        }
    }
}

/// What is found about a record; with `proof`, the record itself.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RecordBody<P: Serialize> {
    object: &'static str,
    #[schemars(with = "String")]
    id: RecordId,
    #[schemars(with = "Option<String>")]
    key: Option<KeyId>,
    seq: u64,
    deployment: String,
    rulesets: Vec<String>,
    #[schemars(with = "String")]
    opened_at: Timestamp,
    #[schemars(with = "Option<String>")]
    closed_at: Option<Timestamp>,
    /// `open` while it runs.
    outcome: &'static str,
    attempts: u64,
    #[schemars(with = "TokenCountsSchema")]
    usage: TokenCounts,
    legal_hold: bool,
    /// Whether its commitments can still be opened.
    salted: bool,
    #[serde(skip_serializing_if = "is_nothing")]
    proof: P,
}

/// Whether there is nothing to write: a listing has no proofs.
fn is_nothing<P>(_: &P) -> bool {
    size_of::<P>() == 0
}

impl<P: Serialize> RecordBody<P> {
    pub(crate) fn new(summary: RecordSummary, proof: P) -> Self {
        Self {
            object: "admissibility.record",
            id: summary.id,
            key: summary.key,
            seq: summary.seq,
            deployment: summary.deployment,
            rulesets: summary.rulesets,
            opened_at: summary.opened_at,
            closed_at: summary.closed.map(|(at, ..)| at),
            outcome: summary
                .closed
                .map_or("open", |(_, outcome, _)| outcome.as_str()),
            attempts: summary.attempts,
            usage: summary.usage,
            legal_hold: summary.hold,
            salted: summary.salt.is_some(),
            proof,
        }
    }
}

/// A public key that has signed something.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PublicKeyBody {
    object: &'static str,
    id: String,
    /// `record` or `log`.
    signs: &'static str,
    pem: String,
    #[schemars(with = "String")]
    since: Timestamp,
    /// A key of the log as C2SP signed-note writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    verifier_key: Option<String>,
}

impl PublicKeyBody {
    pub(crate) fn new(key: PublishedKey, origin: &str) -> Self {
        let of_log = key.kind == portcullis_ledger::KeyKind::Log;
        let public = PublicKey::from_pem(&key.pem).ok().filter(|_| of_log);
        Self {
            object: "public_key",
            id: key.id,
            signs: key.kind.as_str(),
            pem: key.pem,
            since: key.since,
            verifier_key: public.map(|public| LogVerifier::new(origin, public).to_string()),
        }
    }
}

/// The text of a call.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TextBody {
    #[schemars(with = "String")]
    id: RecordId,
    class: String,
    #[schemars(with = "String")]
    opened_at: Timestamp,
    /// The body of the request, where requests are kept; what is not UTF-8 in it is replaced.
    request: Option<String>,
    outputs: Vec<String>,
}

impl From<KeptText> for TextBody {
    fn from(text: KeptText) -> Self {
        let request = text.request.as_deref().map(String::from_utf8_lossy);
        Self {
            id: text.id,
            class: text.class,
            opened_at: text.opened_at,
            request: request.map(std::borrow::Cow::into_owned),
            outputs: text.outputs,
        }
    }
}

/// What an erasure came to.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErasedBody {
    object: &'static str,
    records: u64,
    /// Left alone, because they are under legal hold.
    held: u64,
}

impl From<Erased> for ErasedBody {
    fn from(Erased { records, held }: Erased) -> Self {
        Self {
            object: "erasure",
            records,
            held,
        }
    }
}

/// Which usage is asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UsageQuery {
    #[schemars(with = "Option<String>")]
    key: Option<KeyId>,
    #[schemars(with = "Option<String>")]
    model: Option<DeploymentName>,
    since: Option<String>,
    until: Option<String>,
    /// Any of `key`, `model`, `day`, with commas between them.
    by: Option<String>,
}

impl UsageQuery {
    /// # Errors
    /// 400 naming the parameter.
    pub(crate) fn filter(&self) -> Result<UsageFilter, ApiError> {
        Ok(UsageFilter {
            key: self.key.clone(),
            deployment: self.model.clone(),
            since: read_time("since", self.since.as_deref())?,
            until: read_time("until", self.until.as_deref())?,
            by: read_grain(self.by.as_deref().unwrap_or("key,model,day"))?,
        })
    }
}

fn read_grain(text: &str) -> Result<UsageGrain, ApiError> {
    let mut grain = UsageGrain::default();
    for word in text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        match word {
            "key" => grain.key = true,
            "model" => grain.deployment = true,
            "day" => grain.day = true,
            _ => return Err(ApiError::invalid("by", "use any of key, model, day")),
        }
    }
    Ok(grain)
}

/// What some calls cost together.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UsageRowBody {
    object: &'static str,
    /// Where keys are told apart; null for callers without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Option<String>>")]
    key: Option<Option<KeyId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    calls: u64,
    #[schemars(with = "TokenCountsSchema")]
    tokens: TokenCounts,
    /// By the configured prices; left out where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
}

impl UsageRowBody {
    pub(crate) fn new(row: UsageRow, filter: &UsageFilter, prices: &Prices) -> Self {
        let CallUsage { calls, tokens } = row.usage;
        Self {
            object: "usage",
            key: filter.by.key.then_some(row.key),
            model: row.deployment,
            day: row.day,
            calls,
            tokens,
            cost: (*prices != Prices::default()).then(|| prices.of(&tokens)),
        }
    }
}
