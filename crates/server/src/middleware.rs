//! What happens to every request before its handler and to every answer after it.

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use crate::error::ApiError;
use crate::ids::new_id;
use crate::state::App;
use crate::trace;

/// The name of a call, in requests and answers.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Characters of a request id that is taken over, at most.
const REQUEST_ID_MAX: usize = 128;

/// Names a call in logs and in its answer.
#[derive(Clone, Debug)]
pub(crate) struct RequestId {
    pub(crate) id: String,
    /// Whether the client chose it.
    pub(crate) is_given: bool,
}

/// Takes `X-Request-Id` over or makes one, and logs the answer under it: route and status, never
/// a key, a prompt or an output.
pub(crate) async fn name_request(
    route: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let name = request_id(request.headers());
    let id = name.id.clone();
    request.extensions_mut().insert(name);
    let route = name_of(route.as_ref());
    let span = trace::request(&id, route, request.headers());
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.record("status", status);
    span.in_scope(|| tracing::info!(route, status, "answered"));
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}

/// Counts answers by route and status.
pub(crate) async fn count_answer(
    State(app): State<App>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let status = response.status().as_u16();
    app.metrics.count_answer(name_of(route.as_ref()), status);
    response
}

fn name_of(route: Option<&MatchedPath>) -> &str {
    route.map_or("none", MatchedPath::as_str)
}

/// Lets a connection go with its answer while the server drains, so that its client finds another,
/// and where the rest of a request is not waited for.
pub(crate) async fn close_connection(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Response {
    // HTTP/2 has no such header; there the connection says goodbye by itself.
    let is_known = request.version() < Version::HTTP_2;
    let mut response = next.run(request).await;
    let is_over = app.engine.is_draining() || response.status() == StatusCode::REQUEST_TIMEOUT;
    if is_known && is_over {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

fn request_id(headers: &HeaderMap) -> RequestId {
    let given = headers
        .get(X_REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    match given {
        Some(id) if is_clean(id) => RequestId {
            id: id.to_owned(),
            is_given: true,
        },
        _ => RequestId {
            id: new_id("req_"),
            is_given: false,
        },
    }
}

/// Printable ASCII: what reaches a log can neither break a line nor colour it.
fn is_clean(id: &str) -> bool {
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Anthropic's clients send their key as `x-api-key`, and read errors in another form.
pub(crate) async fn speak_anthropic(mut request: Request, next: Next) -> Response {
    let headers = request.headers_mut();
    if !headers.contains_key(AUTHORIZATION)
        && let Some(key) = headers.get("x-api-key").and_then(|key| key.to_str().ok())
        && let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {key}"))
    {
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    let mut response = next.run(request).await;
    let Some(error) = response.extensions_mut().remove::<ApiError>() else {
        return response;
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    (parts, Json(error.message_body())).into_response()
}

/// Compressed bodies are refused: a small one can unpack to any size.
pub(crate) async fn refuse_encodings(request: Request, next: Next) -> Response {
    let encoding = request.headers().get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return ApiError::with_status(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a body with a Content-Encoding is not accepted; send it as it is",
        )
        .with_code("unsupported_content_encoding")
        .into_response();
    }
    next.run(request).await
}

/// The answer of a handler that panicked; its neighbours go on.
pub(crate) fn answer_panic(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked; the report stands in the log before this line");
    ApiError::internal("the server met a bug while it handled the request").into_response()
}
