//! `/v1/keys`: for administrators alone.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use portcullis_store::{KeyId, NewKey};
use serde_json::{Value, json};

use crate::auth::{Permission, authorise};
use crate::body;
use crate::error::ApiError;
use crate::state::App;
use crate::wire;
use crate::wire::admin::{KeyBody, List, NewKeyBody, NewKeyFields};

pub(super) async fn create(
    State(app): State<App>,
    request: Request,
) -> Result<(StatusCode, Json<NewKeyBody>), ApiError> {
    authorise(&app, request.headers(), Permission::Administer).await?;
    let NewKeyFields { name, role } = wire::parse(&body::json(&app, request).await?)?;
    let (key, secret) = app
        .store
        .create_key(NewKey { name, role }, (app.wall)())
        .await?;
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

pub(super) async fn revoke(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    authorise(&app, &headers, Permission::Administer).await?;
    let id: KeyId = id.parse().map_err(|error| ApiError::name("id", &error))?;
    let key = app.store.revoke_key(&id, (app.wall)()).await?;
    Ok(Json(json!({
        "id": key.id, "object": "key", "deleted": true, "revoked": key.revoked_at,
    })))
}
