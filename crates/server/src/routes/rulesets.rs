//! `/v1/rulesets`: registering rule sets, and putting them into force.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_store::{BindingTarget, NewRuleSet, Put, RuleSetName};

use crate::auth::{Permission, authorise};
use crate::body;
use crate::error::ApiError;
use crate::state::App;
use crate::wire;
use crate::wire::admin::{BindingBody, List, RegisteredBody, RuleSetBody, TargetFields};

/// The body is the file itself, not JSON around it: its digest is that of its bytes.
pub(super) async fn register(
    State(app): State<App>,
    request: Request,
) -> Result<(StatusCode, Json<RegisteredBody>), ApiError> {
    authorise(&app, request.headers(), Permission::WriteRules).await?;
    let source: Bytes = body::raw(&app, request).await?;
    let set = app.catalog.compile(source.into()).await?;
    let new = NewRuleSet {
        name: set
            .name()
            .parse()
            .map_err(|error| ApiError::name("ruleset", &error))?,
        version: set.version(),
        digest: set.digest().to_owned(),
        source: set.source().to_vec(),
    };
    let status = match app.store.put_ruleset(new, (app.wall)()).await? {
        Put::Added => StatusCode::CREATED,
        Put::Unchanged => StatusCode::OK,
    };
    Ok((status, Json(RegisteredBody::from(&*set))))
}

pub(super) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<List<RuleSetBody>>, ApiError> {
    authorise(&app, &headers, Permission::ReadRules).await?;
    let all = app.store.list_rulesets().await?;
    Ok(Json(all.into_iter().map(RuleSetBody::from).collect()))
}

pub(super) async fn versions(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<List<RuleSetBody>>, ApiError> {
    authorise(&app, &headers, Permission::ReadRules).await?;
    let all = app.store.list_rulesets().await?;
    let of_name = all.into_iter().filter(|set| set.name.as_str() == name);
    let list: List<RuleSetBody> = of_name.map(RuleSetBody::from).collect();
    match list.data.is_empty() {
        true => Err(ApiError::not_found(format!(
            "there is no rule set {name:?}"
        ))),
        false => Ok(Json(list)),
    }
}

/// The file, byte for byte.
pub(super) async fn source(
    State(app): State<App>,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    authorise(&app, &headers, Permission::ReadRules).await?;
    let missing = || {
        ApiError::not_found(format!(
            "there is no version {version:?} of a rule set {name:?}"
        ))
    };
    let (name, number) = match (name.parse(), version.parse()) {
        (Ok(name), Ok(number)) => (name, number),
        _ => return Err(missing()),
    };
    let stored = app
        .store
        .ruleset(&name, Some(number))
        .await?
        .ok_or_else(missing)?;
    Ok(([(CONTENT_TYPE, "application/yaml")], stored.source).into_response())
}

pub(super) async fn bindings(
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
    authorise(&app, request.headers(), Permission::Administer).await?;
    let name = ruleset_name(&name)?;
    let fields: TargetFields = wire::parse(&body::json(&app, request).await?)?;
    let version = fields.version;
    let target = target(fields)?;
    check_served(&app, &target)?;
    let binding = app
        .store
        .bind(&name, version, &target, (app.wall)())
        .await?;
    Ok((StatusCode::CREATED, Json(binding.into())))
}

/// The target stands in the query (`?key=…` or `?deployment=…`): proxies drop bodies of DELETE.
pub(super) async fn unbind(
    State(app): State<App>,
    Path(name): Path<String>,
    query: Result<Query<TargetFields>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    authorise(&app, &headers, Permission::Administer).await?;
    let Query(fields) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    app.store
        .unbind(&ruleset_name(&name)?, &target(fields)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
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

fn ruleset_name(name: &str) -> Result<RuleSetName, ApiError> {
    name.parse()
        .map_err(|_| ApiError::not_found(format!("there is no rule set {name:?}")))
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
