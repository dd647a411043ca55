//! Adding a batch to the log, and to the tables by which it is found.

use portcullis_ledger::{Appended, Batch, Closed, LogEvent, Opened, RuleSetUsed, Salt};
use sqlx::query_builder::Separated;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, query};

use super::{log, row};
use crate::Unusable;
use crate::sqlite::row::integer;
use crate::sqlite::work::Fault;

/// All of it, in the transaction of `connection`.
pub(super) async fn append(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), Fault> {
    let found = log::size(connection).await?;
    if found != batch.first {
        let expected = batch.first;
        return Err(Unusable::TwoWriters { expected, found }.into());
    }
    let rows = Rows::of(batch);
    insert_entries(connection, &rows.entries).await?;
    insert_calls(connection, &rows.opened).await?;
    insert_salts(connection, &rows.opened).await?;
    insert_rulesets(connection, &rows.rulesets()).await?;
    // What begins and ends in one batch is there by now.
    end_calls(connection, &rows.closed).await?;
    Ok(set_end(connection, batch).await?)
}

/// What a batch says, by the table that it belongs in.
#[derive(Default)]
struct Rows<'b> {
    entries: Vec<(i64, &'b Appended)>,
    opened: Vec<OpenedRow<'b>>,
    closed: Vec<(i64, &'b Closed)>,
}

struct OpenedRow<'b> {
    index: i64,
    opened: &'b Opened,
    key: Option<&'b str>,
    salt: &'b Salt,
}

impl<'b> Rows<'b> {
    fn of(batch: &'b Batch) -> Self {
        let mut rows = Self::default();
        for (index, entry) in (integer(batch.first)..).zip(&batch.entries) {
            rows.entries.push((index, entry));
            match &entry.event {
                LogEvent::Started(_) => {}
                LogEvent::Opened { opened, key, salt } => rows.opened.push(OpenedRow {
                    index,
                    opened,
                    key: key.as_deref(),
                    salt,
                }),
                LogEvent::Closed(closed) => rows.closed.push((index, closed)),
            }
        }
        rows
    }

    fn rulesets(&self) -> Vec<(i64, &'b RuleSetUsed)> {
        let of = |row: &OpenedRow<'b>| {
            let index = row.index;
            row.opened.call.rulesets.iter().map(move |set| (index, set))
        };
        self.opened.iter().flat_map(of).collect()
    }
}

async fn insert_entries(
    connection: &mut SqliteConnection,
    entries: &[(i64, &Appended)],
) -> sqlx::Result<()> {
    let insert = Statement {
        before: "INSERT INTO entries (idx, bytes, hashes) ",
        after: "",
    };
    let run = insert.run(connection, entries, |row, (index, entry)| {
        let hashes: Vec<u8> = entry.hashes.iter().flat_map(|hash| hash.0).collect();
        row.push_bind(*index)
            .push_bind(entry.bytes.as_slice())
            .push_bind(hashes);
    });
    run.await.map(drop)
}

async fn insert_calls(
    connection: &mut SqliteConnection,
    opened: &[OpenedRow<'_>],
) -> sqlx::Result<()> {
    let insert = Statement {
        before: "INSERT INTO calls (opened_index, record_id, key_id, key_id_hash, seq, deployment, \
                 rulesets, opened_at) ",
        after: "",
    };
    let run = insert.run(connection, opened, |row, call| {
        let Opened {
            head,
            opened_at,
            call: asked,
        } = call.opened;
        row.push_bind(call.index)
            .push_bind(head.record_id.as_str())
            .push_bind(call.key)
            .push_bind(row::key_id_hash(head.key_id_hash.as_deref()))
            .push_bind(integer(head.seq))
            .push_bind(asked.deployment.as_str())
            .push_bind(row::rulesets(&asked.rulesets))
            .push_bind(opened_at.unix_ms());
    });
    run.await.map(drop)
}

async fn insert_salts(
    connection: &mut SqliteConnection,
    opened: &[OpenedRow<'_>],
) -> sqlx::Result<()> {
    let insert = Statement {
        before: "INSERT INTO salts (opened_index, salt) ",
        after: "",
    };
    let run = insert.run(connection, opened, |row, call| {
        row.push_bind(call.index)
            .push_bind(call.salt.as_bytes().as_slice());
    });
    run.await.map(drop)
}

async fn insert_rulesets(
    connection: &mut SqliteConnection,
    rulesets: &[(i64, &RuleSetUsed)],
) -> sqlx::Result<()> {
    let insert = Statement {
        before: "INSERT INTO call_rulesets (name, opened_index, version) ",
        // One version may hold by one binding and be observed by another.
        after: " ON CONFLICT DO NOTHING",
    };
    let run = insert.run(connection, rulesets, |row, (index, set)| {
        row.push_bind(set.name.as_str())
            .push_bind(*index)
            .push_bind(set.version);
    });
    run.await.map(drop)
}

async fn end_calls(
    connection: &mut SqliteConnection,
    closed: &[(i64, &Closed)],
) -> Result<(), Fault> {
    let update = Statement {
        before: "WITH ends (opened, closed, at, outcome, prompt, cached, released, discarded, \
                 attempts) AS (",
        after: ") UPDATE calls SET closed_index = ends.closed, closed_at = ends.at,
                   outcome = ends.outcome, prompt = ends.prompt, cached = ends.cached,
                   released = ends.released, discarded = ends.discarded, attempts = ends.attempts
                 FROM ends WHERE opened_index = ends.opened",
    };
    let run = update.run(connection, closed, |row, (index, closed)| {
        let end = &closed.end;
        let resampling = end.resampling.as_ref();
        row.push_bind(integer(closed.opened.index))
            .push_bind(*index)
            .push_bind(closed.closed_at.unix_ms())
            .push_bind(end.outcome.as_str())
            .push_bind(integer(end.usage.prompt))
            .push_bind(integer(end.usage.cached))
            .push_bind(integer(end.usage.released))
            .push_bind(integer(end.usage.discarded))
            .push_bind(integer(resampling.map_or(0, |again| again.attempts)));
    });
    match run.await? {
        ended if ended == closed.len() as u64 => Ok(()),
        _ => Err(Unusable::Corrupt("a call that ends never began".to_owned()).into()),
    }
}

async fn set_end(connection: &mut SqliteConnection, batch: &Batch) -> sqlx::Result<()> {
    let Some(last) = batch.entries.last() else {
        return Ok(());
    };
    let replica = match &last.event {
        LogEvent::Started(started) => &started.replica,
        LogEvent::Opened { opened, .. } => &opened.head.replica,
        LogEvent::Closed(closed) => &closed.head.replica,
    };
    query(
        "INSERT INTO log (one, replica, checkpoint, last_at) VALUES (1, ?, ?, ?)
         ON CONFLICT DO UPDATE SET checkpoint = excluded.checkpoint, last_at = excluded.last_at",
    )
    .bind(replica.as_str())
    .bind(batch.checkpoint.note.as_str())
    .bind(batch.last_at.unix_ms())
    .execute(connection)
    .await?;
    Ok(())
}

/// A statement with a list of values in it.
struct Statement {
    before: &'static str,
    after: &'static str,
}

/// Rows of one statement, at most.
const ROWS_MAX: usize = 64;

impl Statement {
    /// For all `rows`; gives how many rows it changed.
    ///
    /// Their number is cut into powers of two, so that few statements do for batches of any size,
    /// and stay prepared.
    async fn run<T>(
        &self,
        connection: &mut SqliteConnection,
        mut rows: &[T],
        bind: impl Fn(&mut Separated<'_, Sqlite, &'static str>, &T),
    ) -> sqlx::Result<u64> {
        let mut changed = 0;
        while !rows.is_empty() {
            let (some, rest) = rows.split_at(ROWS_MAX.min(1 << rows.len().ilog2()));
            let mut sql = QueryBuilder::new(self.before);
            sql.push_values(some, |mut row, item| bind(&mut row, item));
            let done = sql.push(self.after).build().execute(&mut *connection);
            changed += done.await?.rows_affected();
            rows = rest;
        }
        Ok(changed)
    }
}
