//! The one place that maps errors to status, type, param and code.

use std::borrow::Cow;
use std::fmt::Display;

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_engine::{EmbeddingError, InvalidRequest, SubmitError};
use portcullis_gate::{Refusal, RuleSetErrors};
use portcullis_ledger::RecordId;
use portcullis_store::{NameError, StoreError, Unusable};
use portcullis_text::TextError;

use crate::wire::error::{ErrorBody, ErrorDetail, Mistake, RecordRef};
use crate::wire::messages::{MessageError, MessageErrorDetail};

/// The type of a refusal by the gate.
const ADMISSIBILITY_ERROR: &str = "admissibility_error";

/// Seconds after which a caller should try again who found the queue full.
const QUEUE_SECONDS: HeaderValue = HeaderValue::from_static("1");
/// The same for a server that starts, stops or is in trouble.
const TROUBLE_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// An error as a caller sees it.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: Box<str>,
    param: Option<String>,
    code: Option<Cow<'static, str>>,
    mistakes: Box<[Mistake]>,
    record: Option<Box<RecordId>>,
    /// Further ones of the answer.
    headers: Option<Box<HeaderMap>>,
}

/// Names the record of a call, also on answers without a body of ours.
pub(crate) const X_ADMISSIBILITY_RECORD: HeaderName =
    HeaderName::from_static("x-admissibility-record");

/// The answer with the name of its record.
pub(crate) fn with_record(mut response: Response, record: Option<&RecordId>) -> Response {
    if let Some(id) = record
        && let Ok(value) = HeaderValue::from_str(id.as_str())
    {
        let headers = response.headers_mut();
        headers.insert(X_ADMISSIBILITY_RECORD, value);
    }
    response
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, record, kept) = (self.status, self.record.clone(), self.clone());
        let headers = self.headers.clone();
        let mut response = (status, Json(self.body())).into_response();
        // For the routes whose errors have another body.
        response.extensions_mut().insert(kept);
        if let Some(seconds) = retry_after(status) {
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        if let Some(headers) = headers {
            response.headers_mut().extend(*headers);
        }
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        with_record(response, record.as_deref())
    }
}

fn retry_after(status: StatusCode) -> Option<HeaderValue> {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some(QUEUE_SECONDS),
        StatusCode::SERVICE_UNAVAILABLE => Some(TROUBLE_SECONDS),
        _ => None,
    }
}

impl From<InvalidRequest> for ApiError {
    fn from(error: InvalidRequest) -> Self {
        let code = match error {
            InvalidRequest::ContextOverflow { .. } | InvalidRequest::CompletionOverflow { .. } => {
                "context_length_exceeded"
            }
            InvalidRequest::OutOfRange { .. } | InvalidRequest::UnknownToken { .. } => {
                "invalid_value"
            }
        };
        Self::bad_request(error.to_string())
            .blaming(error.param())
            .with_code(code)
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let (status, kind, code) = match error {
            SubmitError::QueueFull { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "queue_full",
            ),
            SubmitError::Draining => (
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable",
                "draining",
            ),
            SubmitError::Stopped => (
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable",
                "engine_stopped",
            ),
        };
        Self::new(status, kind, error.to_string()).with_code(code)
    }
}

impl From<EmbeddingError> for ApiError {
    fn from(error: EmbeddingError) -> Self {
        match error {
            EmbeddingError::Stopped => Self::unavailable("engine_stopped", error.to_string()),
            EmbeddingError::Failed { .. } | EmbeddingError::NotFinite => {
                tracing::error!(%error, "embeddings could not be computed");
                Self::internal("these embeddings could not be computed; the server's log says why")
            }
        }
    }
}

/// A refusal before anything was released. Routers retry 429 and 5xx, and would make five calls
/// of one refusal: it is never one of these.
impl From<&Refusal> for ApiError {
    fn from(refusal: &Refusal) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            ADMISSIBILITY_ERROR,
            refusal.to_string(),
        )
        .with_code(refusal_code(refusal))
    }
}

/// `retail-advice@3/no-guarantee`
fn refusal_code(refusal: &Refusal) -> String {
    let Refusal {
        ruleset, version, ..
    } = refusal;
    match &refusal.rule {
        Some(rule) => format!("{ruleset}@{version}/{rule}"),
        None => format!("{ruleset}@{version}"),
    }
}

/// All mistakes of a rule set at once; the message holds the first.
impl From<&RuleSetErrors> for ApiError {
    fn from(errors: &RuleSetErrors) -> Self {
        let mistakes: Box<[Mistake]> = errors.0.iter().map(mistake).collect();
        let message = match &*mistakes {
            [] => "the rule set cannot be loaded".to_owned(),
            [only] => said(only),
            [first, rest @ ..] => format!("{} (and {} more)", said(first), rest.len()),
        };
        Self {
            mistakes,
            ..Self::bad_request(message).with_code("invalid_ruleset")
        }
    }
}

fn mistake(diagnostic: &portcullis_gate::Diagnostic) -> Mistake {
    Mistake {
        line: diagnostic.line,
        column: diagnostic.column,
        message: diagnostic.message.clone(),
        mend: diagnostic.mend.clone(),
    }
}

fn said(mistake: &Mistake) -> String {
    let Mistake {
        line,
        column,
        message,
        mend,
    } = mistake;
    format!("line {line}, column {column}: {message}; {mend}")
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(missing) => Self::not_found(missing.to_string()),
            StoreError::VersionExists { .. } => Self::conflict("version_exists", error.to_string()),
            StoreError::NotActivated { .. } => Self::conflict("not_activated", error.to_string()),
            StoreError::Retired { .. } => Self::conflict("retired", error.to_string()),
            StoreError::Bound { .. } => Self::conflict("bound", error.to_string()),
            StoreError::KeyRevoked(_) => Self::conflict("revoked", error.to_string()),
            StoreError::LastAdmin(_) => Self::conflict(
                "last_admin",
                format!("{error}. To do it all the same, send ?force=true"),
            ),
            StoreError::SignerExists { .. } => Self::conflict("signer_exists", error.to_string()),
            StoreError::Unusable {
                reason: Unusable::Busy | Unusable::Overloaded,
                ..
            } => {
                tracing::warn!(%error, "a call was turned away");
                Self::unavailable("store_busy", "the store is busy; try again in a moment")
            }
            error => {
                tracing::error!(%error, "the store failed");
                Self::internal("the server could not read or write its store; its log says why")
            }
        }
    }
}

impl From<TextError> for ApiError {
    fn from(error: TextError) -> Self {
        if error.blames_request() {
            return Self::bad_request(error.to_string()).with_code("invalid_prompt");
        }
        tracing::error!(%error, "the tokenizer or the chat template failed");
        Self::internal("the server could not turn this request into tokens; its log says why")
    }
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self {
            status,
            kind,
            message: message.into(),
            param: None,
            code: None,
            mistakes: Box::default(),
            record: None,
            headers: None,
        }
    }

    /// 400 without a parameter to blame.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::with_status(StatusCode::BAD_REQUEST, message)
    }

    /// 400 that names the parameter.
    pub(crate) fn invalid(param: impl Into<String>, said: impl Display) -> Self {
        let param = param.into();
        let message = format!("{param}: {said}");
        Self {
            param: Some(param),
            ..Self::bad_request(message).with_code("invalid_value")
        }
    }

    /// 400 for a name that can be none.
    pub(crate) fn name(param: &str, error: &NameError) -> Self {
        Self::invalid(param, error)
    }

    /// 400 for something that clients of this API know and this server cannot do.
    pub(crate) fn not_built(param: &str, message: &str) -> Self {
        Self::invalid(param, message).with_code("unsupported_parameter")
    }

    /// A fault of the caller with another status than 400.
    pub(crate) fn with_status(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", message)
    }

    /// 401
    pub(crate) fn unauthenticated(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message)
            .with_code("invalid_api_key")
    }

    /// 403
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", message)
            .with_code("insufficient_permissions")
    }

    /// 404 for a model, in OpenAI's words.
    pub(crate) fn no_such_model(model: &str) -> Self {
        let message =
            format!("The model `{model}` does not exist or you do not have access to it.");
        let error = Self::with_status(StatusCode::NOT_FOUND, message).with_code("model_not_found");
        error.blaming("model")
    }

    /// 404 for anything else.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::with_status(StatusCode::NOT_FOUND, message).with_code("not_found")
    }

    /// 409
    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::with_status(StatusCode::CONFLICT, message).with_code(code)
    }

    /// 429: a limit of the caller's key is reached. `kind` is what the limit counts.
    pub(crate) fn rate_limited(kind: &'static str, message: String, headers: HeaderMap) -> Self {
        Self {
            headers: Some(Box::new(headers)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, kind, message)
                .with_code("rate_limit_exceeded")
        }
    }

    /// 500: the log says more than the caller learns.
    pub(crate) fn internal(message: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
            .with_code("internal_error")
    }

    /// 503
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable",
            message,
        )
        .with_code(code)
    }

    pub(crate) fn with_code(self, code: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Some(code.into()),
            ..self
        }
    }

    /// Names the record of the call that ended so.
    pub(crate) fn recorded_as(self, record: Option<&RecordId>) -> Self {
        Self {
            record: record.cloned().map(Box::new),
            ..self
        }
    }

    /// Names another parameter.
    pub(crate) fn blaming(self, param: &str) -> Self {
        Self {
            param: Some(param.to_owned()),
            ..self
        }
    }

    /// The body in Anthropic's API.
    pub(crate) fn message_body(self) -> MessageError {
        let kind = match self.status {
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::INTERNAL_SERVER_ERROR => "api_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            _ => self.kind,
        };
        let ErrorBody {
            error,
            admissibility,
        } = self.body();
        MessageError {
            kind: "error",
            error: MessageErrorDetail {
                kind,
                message: error.message,
                param: error.param,
                code: error.code.map(Cow::into_owned),
            },
            admissibility,
        }
    }

    /// The body, also sent as an event when a stream has begun.
    pub(crate) fn body(self) -> ErrorBody {
        let status = match self.kind {
            ADMISSIBILITY_ERROR => "refused",
            _ => "failed",
        };
        let admissibility = self.record.map(|id| RecordRef {
            record_id: id.to_string(),
            status,
        });
        ErrorBody {
            admissibility,
            error: ErrorDetail {
                message: self.message.into(),
                kind: self.kind,
                param: self.param,
                code: self.code,
                diagnostics: self.mistakes.into_vec(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What passes is worth another try; what an operator has to mend is not.
    #[test]
    fn a_busy_store_is_no_fault() {
        let status = |reason| {
            let (database, operation) = (String::new(), "looking up a key");
            let error = StoreError::Unusable {
                database,
                operation,
                reason,
            };
            ApiError::from(error).into_response().status()
        };
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(status(Unusable::Overloaded), unavailable);
        assert_eq!(status(Unusable::Busy), unavailable);
        let fault = StatusCode::INTERNAL_SERVER_ERROR;
        assert_eq!(status(Unusable::DiskFull), fault);
    }
}
