//! `GET /v1/models` and `GET /v1/models/{id}`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::Serialize;

use crate::auth::{Permission, authorise};
use crate::error::ApiError;
use crate::state::App;
use crate::wire::admin::List;

#[derive(Serialize)]
pub(super) struct Model {
    id: String,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
    root: String,
    max_model_len: usize,
}

pub(super) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<List<Model>>, ApiError> {
    authorise(&app, &headers, Permission::ListModels).await?;
    Ok(Json(std::iter::once(served(&app)).collect()))
}

pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Model>, ApiError> {
    authorise(&app, &headers, Permission::ListModels).await?;
    match id == app.model.deployment.as_str() {
        true => Ok(Json(served(&app))),
        false => Err(ApiError::no_such_model(&id)),
    }
}

fn served(app: &App) -> Model {
    Model {
        id: app.model.deployment.to_string(),
        object: "model",
        created: app.model.created_unix,
        owned_by: "portcullis",
        root: app.model.root.clone(),
        max_model_len: app.model.max_model_len,
    }
}
