//! `GET /v1/usage`: what calls cost, by key, deployment and day.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;

use super::Asked;
use super::records::ledger;
use crate::auth::{Permission, authorise};
use crate::error::ApiError;
use crate::state::App;
use crate::wire::admin::List;
use crate::wire::record::{UsageQuery, UsageRowBody};

pub(super) async fn list(
    State(app): State<App>,
    query: Asked<UsageQuery>,
    headers: HeaderMap,
) -> Result<Json<List<UsageRowBody>>, ApiError> {
    authorise(&app, &headers, Permission::ReadRecords).await?;
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let ledger = ledger(&app)?;
    let filter = query.filter()?;
    let rows = ledger.records.usage(&filter).await?;
    let bodies = rows
        .into_iter()
        .map(|row| UsageRowBody::new(row, &filter, &ledger.prices));
    Ok(Json(bodies.collect()))
}
