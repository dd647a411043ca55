//! What the port answers before the model is there.

use axum::middleware::from_fn;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::probes;
use crate::error::ApiError;
use crate::middleware::name_request;

/// Alive, and not ready: without a model no path of the API has more to say, nor an error to find
/// with a request.
pub(crate) fn loading() -> Router {
    Router::new()
        .route("/", get(probes::greet))
        .route("/live", get(probes::live))
        .route("/version", get(probes::version))
        .route("/v1/models", get(no_models))
        .fallback(not_ready)
        .layer(from_fn(name_request))
}

/// Without a key, since an empty list tells nothing.
async fn no_models() -> Json<Value> {
    Json(json!({"object": "list", "data": []}))
}

async fn not_ready() -> ApiError {
    ApiError::unavailable("loading", "the server is loading its model")
}
