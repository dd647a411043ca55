//! `/v1/keys`: for administrators alone.

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use portcullis_store::KeyId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Asked;
use crate::auth::{Permission, authorise};
use crate::body;
use crate::error::ApiError;
use crate::state::App;
use crate::wire;
use crate::wire::admin::{KeyBody, KeyChangeFields, List, NewKeyBody, NewKeyFields};

pub(super) async fn create(
    State(app): State<App>,
    request: Request,
) -> Result<(StatusCode, Json<NewKeyBody>), ApiError> {
    authorise(&app, request.headers(), Permission::Administer).await?;
    let fields: NewKeyFields = wire::parse(&body::json(&app, request).await?)?;
    let now = (app.wall)();
    check_expiry(fields.expires_at, now)?;
    let (key, secret) = app.store.create_key(fields.into(), now).await?;
    let body = NewKeyBody {
        about: key.into(),
        key: secret.expose().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(body)))
}

pub(super) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<List<KeyBody>>, ApiError> {
    authorise(&app, &headers, Permission::Administer).await?;
    let keys = app.store.list_keys().await?;
    Ok(Json(keys.into_iter().map(KeyBody::from).collect()))
}

pub(super) async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<KeyBody>, ApiError> {
    authorise(&app, request.headers(), Permission::Administer).await?;
    let id = key_id(&id)?;
    let fields: KeyChangeFields = wire::parse(&body::json(&app, request).await?)?;
    check_expiry(fields.expires_at.flatten(), (app.wall)())?;
    let key = app.store.update_key(&id, fields.into()).await?;
    Ok(Json(key.into()))
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    /// Also the last key that can administer.
    #[serde(default)]
    force: bool,
}

pub(super) async fn revoke(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Asked<Revocation>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    authorise(&app, &headers, Permission::Administer).await?;
    let Query(Revocation { force }) =
        query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let id = key_id(&id)?;
    let key = app.store.revoke_key(&id, force, (app.wall)()).await?;
    Ok(Json(json!({
        "id": key.id, "object": "key", "deleted": true, "revoked": key.revoked_at,
    })))
}

fn key_id(text: &str) -> Result<KeyId, ApiError> {
    text.parse().map_err(|error| ApiError::name("id", &error))
}

/// The last second of the year 9999, in Unix seconds; whoever means a later one means milliseconds.
const LATEST: i64 = 253_402_300_799;

fn check_expiry(expires_at: Option<i64>, now: i64) -> Result<(), ApiError> {
    match expires_at {
        Some(at) if at <= now => Err(format!(
            "must lie in the future, in Unix seconds; now it is {now}"
        )),
        Some(at) if at > LATEST => Err(format!(
            "must be Unix seconds, up to {LATEST}; are these milliseconds?"
        )),
        _ => Ok(()),
    }
    .map_err(|said| ApiError::invalid("expires_at", said))
}
