//! `GET /v1/models` and `GET /v1/models/{id}`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::Serialize;

use crate::auth::{Permission, authorise};
use crate::config::ServedEmbedder;
use crate::error::ApiError;
use crate::state::App;
use crate::wire::admin::List;

#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct Model {
    id: String,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
    root: String,
    max_model_len: usize,
    /// Of configuration and weights, as records have it; known where calls are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

pub(super) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<List<Model>>, ApiError> {
    authorise(&app, &headers, Permission::ListModels).await?;
    Ok(Json(all(&app).collect()))
}

pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Model>, ApiError> {
    authorise(&app, &headers, Permission::ListModels).await?;
    let found = all(&app).find(|model| model.id == id);
    found.map(Json).ok_or_else(|| ApiError::no_such_model(&id))
}

fn all(app: &App) -> impl Iterator<Item = Model> {
    std::iter::once(served(app)).chain(app.embedder.as_ref().map(embedder))
}

fn served(app: &App) -> Model {
    Model {
        id: app.model.deployment.to_string(),
        object: "model",
        created: app.model.created_unix,
        owned_by: "portcullis",
        root: app.model.root.clone(),
        max_model_len: app.model.max_model_len,
        digest: model_digest(app),
    }
}

fn model_digest(app: &App) -> Option<String> {
    let digests = &app.ledger.as_ref()?.about.digests;
    Some(digests.model_digest.clone()).filter(|digest| !digest.is_empty())
}

fn embedder(embedder: &ServedEmbedder) -> Model {
    Model {
        id: embedder.deployment.to_string(),
        object: "model",
        created: embedder.created_unix,
        owned_by: "portcullis",
        root: embedder.root.clone(),
        max_model_len: embedder.max_tokens,
        digest: None,
    }
}
