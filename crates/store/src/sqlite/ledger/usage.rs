//! Adding up what calls cost.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::row;
use crate::{UsageFilter, UsageGrain, UsageRow};

pub(super) async fn rows(
    connection: &mut SqliteConnection,
    filter: &UsageFilter,
) -> sqlx::Result<Vec<UsageRow>> {
    select(filter)
        .build()
        .try_map(row::usage)
        .fetch_all(connection)
        .await
}

fn select(filter: &UsageFilter) -> QueryBuilder<Sqlite> {
    let UsageGrain {
        key,
        deployment,
        day,
    } = filter.by;
    let column = |is_told_apart, name| if is_told_apart { name } else { "NULL" };
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(column(day, "day"))
        .push(" AS day, ")
        .push(column(key, "key_id"))
        .push(" AS key_id, ")
        .push(column(deployment, "deployment"))
        .push(
            " AS deployment, sum(calls) AS calls, sum(prompt) AS prompt, sum(cached) AS cached,
              sum(released) AS released, sum(discarded) AS discarded FROM usage WHERE true",
        );
    push_conditions(&mut sql, filter);
    // Of no calls there is no row.
    sql.push(" GROUP BY 1, 2, 3 ORDER BY 1, 2, 3");
    sql
}

fn push_conditions(sql: &mut QueryBuilder<Sqlite>, filter: &UsageFilter) {
    if let Some(key) = &filter.key {
        sql.push(" AND key_id = ").push_bind(key.as_str());
    }
    if let Some(deployment) = &filter.deployment {
        sql.push(" AND deployment = ")
            .push_bind(deployment.as_str());
    }
    if let Some(since) = filter.since {
        sql.push(" AND day >= ").push_bind(row::day(since));
    }
    if let Some(until) = filter.until {
        sql.push(" AND day < ").push_bind(row::day(until));
    }
}
