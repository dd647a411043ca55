//! Which path leads to which handler, and what surrounds them all.

mod bindings;
mod embeddings;
mod inference;
mod keys;
mod life;
mod models;
mod probes;
mod records;
mod rulesets;
mod signers;
mod tokens;
mod usage;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request};
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, patch, post, put};
use tower_http::catch_panic::CatchPanicLayer;

use crate::ask::{ChatRequest, CompletionRequest, MessagesRequest, ResponsesRequest};
use crate::error::ApiError;
use crate::middleware::{answer_panic, name_request, refuse_encodings, speak_anthropic};
use crate::state::{App, AppState};

/// A query, or what is wrong with it.
type Asked<T> = Result<Query<T>, QueryRejection>;

/// The whole server.
pub fn router(state: AppState) -> Router {
    let app = state.0;
    inference()
        .merge(probes())
        .merge(administration())
        .merge(admissibility())
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(refuse_encodings))
        .layer(CatchPanicLayer::custom(answer_panic))
        // Outermost, so that errors of all others carry the request's name too.
        .layer(from_fn_with_state(app.clone(), name_request))
        .with_state(app)
}

fn inference() -> Router<App> {
    Router::new()
        .route(
            "/v1/chat/completions",
            post(inference::complete::<ChatRequest>),
        )
        .route(
            "/v1/completions",
            post(inference::complete::<CompletionRequest>),
        )
        .route(
            "/v1/responses",
            post(inference::complete::<ResponsesRequest>),
        )
        .merge(messages())
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::show))
}

fn messages() -> Router<App> {
    Router::new()
        .route("/v1/messages", post(inference::complete::<MessagesRequest>))
        .route("/v1/messages/count_tokens", post(inference::count_tokens))
        .layer(from_fn(speak_anthropic))
}

fn probes() -> Router<App> {
    Router::new()
        .route("/", get(probes::greet))
        .route("/live", get(probes::live))
        .route("/health", get(probes::health))
        .route("/metrics", get(probes::metrics))
        .route("/version", get(probes::version))
}

fn administration() -> Router<App> {
    let bindings = get(bindings::list)
        .post(bindings::bind)
        .delete(bindings::unbind);
    let version = Router::new()
        .route("/", get(rulesets::source))
        .route("/envelope", get(rulesets::envelope))
        .route("/signatures", post(rulesets::sign))
        .route("/activate", post(life::activate))
        .route("/retire", post(life::retire));
    Router::new()
        .route("/v1/rulesets", get(rulesets::list).post(rulesets::register))
        .route("/v1/rulesets/{name}", get(rulesets::versions))
        .nest("/v1/rulesets/{name}/versions/{version}", version)
        .route("/v1/rulesets/{name}/bindings", bindings)
        .route("/v1/rulesets/{name}/history", get(life::history))
        .route("/v1/signers", get(signers::list).post(signers::add))
        .route("/v1/signers/{id}", delete(signers::revoke))
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/keys/{id}", patch(keys::update).delete(keys::revoke))
}

fn admissibility() -> Router<App> {
    let text = get(records::text).delete(records::erase);
    let log = Router::new()
        .route("/records", get(records::list))
        .route("/records/{id}", get(records::show))
        .route("/records/{id}/text", text)
        .route(
            "/records/{id}/hold",
            put(records::hold).delete(records::release),
        )
        .route("/texts/{key}", delete(records::erase_key))
        .route("/keys", get(records::keys))
        .route("/checkpoint", get(records::checkpoint))
        .route("/tile/{*path}", get(records::tile));
    Router::new()
        .nest("/v1/admissibility", log)
        .route("/v1/usage", get(usage::list))
}

async fn no_route(request: Request) -> ApiError {
    ApiError::not_found(format!(
        "there is no {} {}",
        request.method(),
        request.uri().path()
    ))
    .with_code("unknown_url")
}

async fn wrong_method(request: Request) -> ApiError {
    let message = format!(
        "{} is not possible on {}; the Allow header says what is",
        request.method(),
        request.uri().path()
    );
    ApiError::with_status(StatusCode::METHOD_NOT_ALLOWED, message).with_code("method_not_allowed")
}
