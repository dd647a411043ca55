//! `/v1/rulesets/{name}/bindings`: for whom a rule set holds, and who only observes it.

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use portcullis_store::{BindingTarget, NewBinding, RuleSetName};

use super::rulesets::ruleset_name;
use crate::auth::{Permission, authorise};
use crate::body;
use crate::error::ApiError;
use crate::state::App;
use crate::wire;
use crate::wire::admin::{BindingBody, List, TargetFields};

pub(super) async fn list(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<List<BindingBody>>, ApiError> {
    authorise(&app, &headers, Permission::ReadRules).await?;
    let bindings = app.store.bindings(&ruleset_name(&name)?).await?;
    Ok(Json(bindings.into_iter().map(BindingBody::from).collect()))
}

pub(super) async fn bind(
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request,
) -> Result<(StatusCode, Json<BindingBody>), ApiError> {
    let caller = authorise(&app, request.headers(), Permission::PutIntoForce).await?;
    let name = ruleset_name(&name)?;
    let fields: TargetFields = wire::parse(&body::json(&app, request).await?)?;
    let (version, observe) = (fields.version, fields.observe);
    let target = target(fields)?;
    check_served(&app, &target)?;
    check_loads(&app, &name, version).await?;
    let new = NewBinding {
        ruleset: name,
        version,
        target,
        observe,
    };
    let binding = app.store.bind(new, caller.act(&app)).await?;
    Ok((StatusCode::CREATED, Json(binding.into())))
}

/// The target stands in the query (`?key=…` or `?deployment=…`): proxies drop bodies of DELETE.
pub(super) async fn unbind(
    State(app): State<App>,
    Path(name): Path<String>,
    query: Result<Query<TargetFields>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let caller = authorise(&app, &headers, Permission::PutIntoForce).await?;
    let Query(fields) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let observe = fields.observe;
    let (name, target) = (ruleset_name(&name)?, target(fields)?);
    app.store
        .unbind(&name, &target, observe, caller.act(&app))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is bound is loaded for every call: what cannot be loaded would stop them all.
async fn check_loads(app: &App, name: &RuleSetName, version: Option<u32>) -> Result<(), ApiError> {
    match app.store.ruleset(name, version).await? {
        Some(stored) => app.catalog.check(&stored).await,
        // The store says what is missing.
        None => Ok(()),
    }
}

/// A set bound to a name that nobody serves would hold for nothing, and seem to hold.
fn check_served(app: &App, target: &BindingTarget) -> Result<(), ApiError> {
    match target {
        BindingTarget::Deployment(name) if *name != app.model.deployment => {
            let served = &app.model.deployment;
            let message = format!("there is no deployment `{name}`; this server serves `{served}`");
            Err(ApiError::not_found(message))
        }
        _ => Ok(()),
    }
}

fn target(fields: TargetFields) -> Result<BindingTarget, ApiError> {
    match (fields.key, fields.deployment) {
        (Some(key), None) => Ok(BindingTarget::Key(key)),
        (None, Some(deployment)) => Ok(BindingTarget::Deployment(deployment)),
        _ => Err(ApiError::invalid(
            "key",
            "give either key or deployment, and not both",
        )),
    }
}
