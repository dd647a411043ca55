//! Listing records, the newest first.
//!
//! Every list is read along one index that ends in `opened_index`, so that a page costs what it
//! holds however deep it is. Time is no index of its own: in a log it does not go back, so a time
//! is a place in it.

use portcullis_ledger::{Outcome, RecordId, Timestamp};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, query};

use super::row;
use crate::sqlite::row::integer;
use crate::{Cursor, RecordFilter, RecordPage, RecordSummary};

pub(super) async fn page(
    connection: &mut SqliteConnection,
    filter: &RecordFilter,
    after: Option<Cursor>,
    limit: u32,
) -> sqlx::Result<RecordPage> {
    let limit = limit.max(1) as usize;
    // One more shows whether there are more.
    let mut records = select(filter, after, limit + 1)
        .build()
        .try_map(row::summary)
        .fetch_all(connection)
        .await?;
    let more = records.len() > limit;
    records.truncate(limit);
    let last = records.last().map(|record| Cursor(record.opened_index));
    let next = last.filter(|_| more);
    Ok(RecordPage { records, next })
}

pub(super) async fn record(
    connection: &mut SqliteConnection,
    id: &RecordId,
) -> sqlx::Result<Option<RecordSummary>> {
    query(
        "SELECT calls.*, salt FROM calls LEFT JOIN salts USING (opened_index) WHERE record_id = ?",
    )
    .bind(id.as_str())
    .try_map(row::summary)
    .fetch_optional(connection)
    .await
}

pub(super) fn select(
    filter: &RecordFilter,
    after: Option<Cursor>,
    limit: usize,
) -> QueryBuilder<Sqlite> {
    let along = Along::of(filter);
    let mut sql = QueryBuilder::new("SELECT calls.*, salt FROM ");
    sql.push(along.tables())
        .push(" LEFT JOIN salts ON salts.opened_index = calls.opened_index WHERE ")
        .push(along.place())
        .push(" < ")
        .push_bind(after.map_or(i64::MAX, |Cursor(index)| integer(index)));
    push_times(&mut sql, along, filter);
    push_ruleset(&mut sql, along, filter);
    push_words(&mut sql, filter);
    // A call may be under two versions of a rule set, one of them observed.
    if along == Along::RuleSet {
        sql.push(" GROUP BY ").push(along.place());
    }
    sql.push(" ORDER BY ").push(along.place()).push(" DESC");
    sql.push(" LIMIT ").push_bind(integer(limit as u64));
    sql
}

/// The index along which a list is read: of those that its filter allows, the one that is likely
/// to hold the fewest others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Along {
    Open,
    Key,
    Outcome,
    RuleSet,
    RuleSetVersion,
    Deployment,
    Log,
}

impl Along {
    fn of(filter: &RecordFilter) -> Self {
        match filter {
            RecordFilter {
                ended: Some(false), ..
            } => Self::Open,
            RecordFilter { key: Some(_), .. } => Self::Key,
            // Nearly every call is finished.
            RecordFilter {
                outcome: Some(outcome),
                ..
            } if *outcome != Outcome::Finished => Self::Outcome,
            RecordFilter {
                ruleset: Some((_, Some(_))),
                ..
            } => Self::RuleSetVersion,
            RecordFilter {
                ruleset: Some((_, None)),
                ..
            } => Self::RuleSet,
            RecordFilter {
                outcome: Some(_), ..
            } => Self::Outcome,
            RecordFilter {
                deployment: Some(_),
                ..
            } => Self::Deployment,
            _ => Self::Log,
        }
    }

    fn tables(self) -> &'static str {
        match self {
            Self::Open => "calls INDEXED BY calls_open",
            Self::Key => "calls INDEXED BY calls_by_key",
            Self::Outcome => "calls INDEXED BY calls_by_outcome",
            Self::RuleSet => {
                "call_rulesets AS under NOT INDEXED CROSS JOIN calls USING (opened_index)"
            }
            Self::RuleSetVersion => {
                "call_rulesets AS under INDEXED BY call_rulesets_by_version
                 CROSS JOIN calls USING (opened_index)"
            }
            Self::Deployment => "calls INDEXED BY calls_by_deployment",
            Self::Log => "calls NOT INDEXED",
        }
    }

    /// The column by which pages are ordered.
    fn place(self) -> &'static str {
        match self {
            Self::RuleSet | Self::RuleSetVersion => "under.opened_index",
            _ => "calls.opened_index",
        }
    }
}

fn push_times(sql: &mut QueryBuilder<Sqlite>, along: Along, filter: &RecordFilter) {
    if let Some(since) = filter.since {
        sql.push(" AND ").push(along.place()).push(" >= ");
        push_first_since(sql, since);
    }
    if let Some(until) = filter.until {
        sql.push(" AND ").push(along.place()).push(" < coalesce(");
        push_first_since(sql, until);
        sql.push(", ").push_bind(i64::MAX).push(")");
    }
}

/// The first call that began then or later.
fn push_first_since(sql: &mut QueryBuilder<Sqlite>, at: Timestamp) {
    sql.push("(SELECT opened_index FROM calls INDEXED BY calls_by_time WHERE opened_at >= ")
        .push_bind(at.unix_ms())
        .push(" ORDER BY opened_at, opened_index LIMIT 1)");
}

fn push_ruleset(sql: &mut QueryBuilder<Sqlite>, along: Along, filter: &RecordFilter) {
    let Some((name, version)) = &filter.ruleset else {
        return;
    };
    let is_along = matches!(along, Along::RuleSet | Along::RuleSetVersion);
    sql.push(match is_along {
        true => " AND under.name = ",
        false => {
            " AND EXISTS (SELECT 1 FROM call_rulesets AS under
              WHERE under.opened_index = calls.opened_index AND under.name = "
        }
    });
    sql.push_bind(name.as_str());
    if let Some(version) = version {
        sql.push(" AND under.version = ").push_bind(*version);
    }
    if !is_along {
        sql.push(")");
    }
}

fn push_words(sql: &mut QueryBuilder<Sqlite>, filter: &RecordFilter) {
    let words = [
        ("key_id", filter.key.as_ref().map(AsRef::as_ref)),
        ("deployment", filter.deployment.as_ref().map(AsRef::as_ref)),
        ("outcome", filter.outcome.map(Outcome::as_str)),
    ];
    for (column, word) in words {
        if let Some(word) = word {
            sql.push(" AND calls.")
                .push(column)
                .push(" = ")
                .push_bind::<&str>(word);
        }
    }
    match filter.ended {
        Some(true) => sql.push(" AND calls.closed_index IS NOT NULL"),
        Some(false) => sql.push(" AND calls.closed_index IS NULL"),
        None => sql,
    };
}
