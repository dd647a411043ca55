//! For orchestrators, scrapers and people with a browser. None needs a key, none tells a secret.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::health::Pulse;
use crate::metrics;
use crate::state::App;

pub(super) async fn greet() -> &'static str {
    "Portcullis is here. Its API is under /v1.\n"
}

/// The process answers. Whether it works is `/health`'s to say.
pub(super) async fn live() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The step loop advances, or has nothing to do, and new calls are taken and can be recorded.
pub(super) async fn health(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    if app.engine.is_draining() {
        return Err(ApiError::unavailable(
            "draining",
            "the server is shutting down",
        ));
    }
    match app.heartbeat.observe(&app.engine.status(), app.clock.now()) {
        Pulse::Beating => recorded(&app).map(|()| Json(json!({"status": "ok"}))),
        Pulse::Stalled(still) => Err(ApiError::unavailable(
            "stalled",
            format!(
                "the engine has work and has not stepped for {} s",
                still.as_secs()
            ),
        )),
        Pulse::Stopped => Err(ApiError::unavailable(
            "engine_stopped",
            "the engine has stopped; the server's log says why, and it must be restarted",
        )),
    }
}

/// The writer of the ledger tries again twice a second, so this is never old.
fn recorded(app: &App) -> Result<(), ApiError> {
    let trouble = app
        .ledger
        .as_ref()
        .and_then(|ledger| ledger.recorder.trouble());
    match trouble {
        None => Ok(()),
        Some(trouble) => Err(ApiError::unavailable(
            "unrecorded",
            format!("records cannot be written, so calls are refused: {trouble}"),
        )),
    }
}

pub(super) async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    let text = app
        .metrics
        .render()
        .map_err(|_| ApiError::internal("metrics cannot be written"))?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

pub(super) async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}
