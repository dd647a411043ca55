//! What becomes of a version: activated, superseded, retired; and what became of it.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;

use super::rulesets::{find, ruleset_name};
use crate::auth::{Permission, authorise};
use crate::error::ApiError;
use crate::state::App;
use crate::wire::admin::List;
use crate::wire::life::{EventBody, RuleSetBody};

pub(super) async fn activate(
    State(app): State<App>,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<RuleSetBody>, ApiError> {
    let caller = authorise(&app, &headers, Permission::PutIntoForce).await?;
    let stored = find(&app, &name, &version).await?;
    app.catalog.check(&stored).await?;
    app.store
        .activate(&stored.name, stored.version, caller.act(&app))
        .await?;
    tell(&app, &name, &version).await
}

pub(super) async fn retire(
    State(app): State<App>,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<RuleSetBody>, ApiError> {
    let caller = authorise(&app, &headers, Permission::PutIntoForce).await?;
    let stored = find(&app, &name, &version).await?;
    app.store
        .retire(&stored.name, stored.version, caller.act(&app))
        .await?;
    tell(&app, &name, &version).await
}

async fn tell(app: &App, name: &str, version: &str) -> Result<Json<RuleSetBody>, ApiError> {
    let signers = app.store.list_signers().await?;
    let stored = find(app, name, version).await?;
    Ok(Json(RuleSetBody::new(stored, &signers)))
}

/// Oldest first.
pub(super) async fn history(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<List<EventBody>>, ApiError> {
    authorise(&app, &headers, Permission::ReadRules).await?;
    let history = app.store.history(&ruleset_name(&name)?).await?;
    Ok(Json(history.into_iter().map(EventBody::from).collect()))
}
