//! The body of a request, within its bounds and of the type that it says it is.

use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};

use crate::error::ApiError;
use crate::state::App;

/// The bytes of a JSON body.
///
/// A page in a browser can send other types to any address without asking; JSON makes it ask.
///
/// # Errors
/// 415 if it says it is something else, 413 if it is too large, 408 if it takes too long, 400 if it
/// breaks off.
pub(crate) async fn json(app: &App, request: Request) -> Result<Bytes, ApiError> {
    let kind = media_type(request.headers());
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        let message = "the body must be JSON; send it with `Content-Type: application/json`";
        return Err(
            ApiError::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
                .with_code("unsupported_media_type"),
        );
    }
    raw(app, request).await
}

/// The bytes of any body.
///
/// # Errors
/// 413 if it is too large, 408 if it takes too long, 400 if it breaks off.
pub(crate) async fn raw(app: &App, request: Request) -> Result<Bytes, ApiError> {
    let max = app.config.max_body_bytes;
    if announced_len(request.headers()).is_some_and(|len| len > max as u64) {
        return Err(too_large(max));
    }
    let read = tokio::time::timeout(app.config.body_timeout, to_bytes(request.into_body(), max));
    let read = read.await.map_err(|_| too_slow(app.config.body_timeout))?;
    read.map_err(|error| {
        let mut causes =
            std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        match causes.any(|cause| cause.is::<http_body_util::LengthLimitError>()) {
            true => too_large(max),
            false => ApiError::bad_request("the body broke off before its end"),
        }
    })
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

fn announced_len(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(max: usize) -> ApiError {
    let message = format!("the body is larger than {max} bytes, which is the most that is taken");
    ApiError::with_status(StatusCode::PAYLOAD_TOO_LARGE, message).with_code("body_too_large")
}

fn too_slow(timeout: Duration) -> ApiError {
    let message = format!("the body did not arrive within {} s", timeout.as_secs_f32());
    ApiError::with_status(StatusCode::REQUEST_TIMEOUT, message).with_code("body_timeout")
}
