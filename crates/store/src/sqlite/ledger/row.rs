//! From rows to types, and from types to columns that are not obvious.

use portcullis_ledger::{
    Hash, Head, KeyKind, LeafRef, OpenCall, Outcome, RecordId, RuleSetUsed, Salt, Timestamp,
    TokenCounts,
};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::sqlite::row::{parsed, undecodable};
use crate::{CallUsage, KeptText, KeyId, PublishedKey, RecordSummary, UsageRow};

pub(super) fn open_call(row: SqliteRow) -> sqlx::Result<OpenCall> {
    let key_id_hash: String = row.try_get("key_id_hash")?;
    Ok(OpenCall {
        head: Head {
            record_id: record_id(&row)?,
            replica: row.try_get("replica")?,
            key_id_hash: Some(key_id_hash).filter(|hash| !hash.is_empty()),
            seq: row.try_get("seq")?,
        },
        opened: LeafRef {
            index: row.try_get("opened_index")?,
            leaf_hash: hex::encode(bytes_32(&row, "leaf_hash")?),
        },
    })
}

pub(super) fn hash(row: SqliteRow) -> sqlx::Result<Hash> {
    Ok(Hash(bytes_32(&row, "hash")?))
}

/// All but the hold, which is kept elsewhere.
pub(super) fn summary(row: SqliteRow) -> sqlx::Result<RecordSummary> {
    let rulesets: &str = row.try_get("rulesets")?;
    let salt: Option<&[u8]> = row.try_get("salt")?;
    Ok(RecordSummary {
        id: record_id(&row)?,
        key: key_id(&row)?,
        seq: row.try_get("seq")?,
        deployment: row.try_get("deployment")?,
        rulesets: rulesets.split_whitespace().map(str::to_owned).collect(),
        opened_at: moment(&row, "opened_at")?,
        opened_index: row.try_get("opened_index")?,
        closed: closed(&row)?,
        usage: token_counts(&row)?,
        attempts: row.try_get::<Option<u64>, _>("attempts")?.unwrap_or(0),
        salt: salt
            .map(|_| bytes_32(&row, "salt").map(Salt::from_bytes))
            .transpose()?,
        hold: false,
    })
}

fn closed(row: &SqliteRow) -> sqlx::Result<Option<(Timestamp, Outcome, u64)>> {
    let Some(index) = row.try_get("closed_index")? else {
        return Ok(None);
    };
    let word: &str = row.try_get("outcome")?;
    let outcome = Outcome::parse(word)
        .ok_or_else(|| undecodable("outcome", format!("{word:?} is no outcome")))?;
    Ok(Some((moment(row, "closed_at")?, outcome, index)))
}

/// Sums over nothing are NULL, and so is what a call cost that runs.
fn token_counts(row: &SqliteRow) -> sqlx::Result<TokenCounts> {
    let count = |column| row.try_get(column).map(Option::<u64>::unwrap_or_default);
    Ok(TokenCounts {
        prompt: count("prompt")?,
        cached: count("cached")?,
        released: count("released")?,
        discarded: count("discarded")?,
    })
}

pub(super) fn usage(row: SqliteRow) -> sqlx::Result<UsageRow> {
    let day: Option<i64> = row.try_get("day")?;
    Ok(UsageRow {
        key: key_id(&row)?,
        deployment: row.try_get("deployment")?,
        day: day.map(date),
        usage: CallUsage {
            calls: row.try_get("calls")?,
            tokens: token_counts(&row)?,
        },
    })
}

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Days since 1970, in UTC.
pub(super) fn day(at: Timestamp) -> i64 {
    at.unix_ms() / DAY_MS
}

/// `2026-11-21`
fn date(day: i64) -> String {
    let midnight = Timestamp::from_unix_ms(day.saturating_mul(DAY_MS)).to_string();
    midnight.chars().take_while(|&c| c != 'T').collect()
}

pub(super) fn published_key(row: SqliteRow) -> sqlx::Result<PublishedKey> {
    Ok(PublishedKey {
        id: row.try_get("id")?,
        kind: match row.try_get("kind")? {
            "record" => KeyKind::Record,
            // The schema allows no third kind.
            _ => KeyKind::Log,
        },
        pem: row.try_get("pem")?,
        since: moment(&row, "since")?,
    })
}

pub(super) fn text(row: SqliteRow) -> sqlx::Result<KeptText> {
    let outputs: &str = row.try_get("outputs")?;
    Ok(KeptText {
        id: record_id(&row)?,
        class: row.try_get("class")?,
        opened_at: moment(&row, "opened_at")?,
        request: row.try_get("request")?,
        outputs: serde_json::from_str(outputs).map_err(|error| undecodable("outputs", error))?,
    })
}

pub(super) fn record_id(row: &SqliteRow) -> sqlx::Result<RecordId> {
    let text: &str = row.try_get("record_id")?;
    RecordId::parse(text)
        .ok_or_else(|| undecodable("record_id", format!("{text:?} is no record id")))
}

/// The column `key_id`, where NULL and an empty text are a caller without a key.
fn key_id(row: &SqliteRow) -> sqlx::Result<Option<KeyId>> {
    match row.try_get("key_id")? {
        None | Some("") => Ok(None),
        Some(_) => parsed(row, "key_id").map(Some),
    }
}

fn moment(row: &SqliteRow, column: &str) -> sqlx::Result<Timestamp> {
    row.try_get(column).map(Timestamp::from_unix_ms)
}

fn bytes_32(row: &SqliteRow, column: &str) -> sqlx::Result<[u8; 32]> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|error| undecodable(column, error))
}

/// The column `key_id_hash`, where an empty text is a caller without a key.
pub(super) fn key_id_hash(key_id_hash: Option<&str>) -> &str {
    key_id_hash.unwrap_or("")
}

/// The column `rulesets`. No name has a space in it.
pub(super) fn rulesets(rulesets: &[RuleSetUsed]) -> String {
    let labels: Vec<_> = rulesets
        .iter()
        .map(|set| format!("{}@{}", set.name, set.version))
        .collect();
    labels.join(" ")
}
