//! Which pages in browsers may call this server. Without being told to, none.
//!
//! Nothing here is ever allowed "with credentials": those are what a browser sends by itself, and
//! identity comes from a key that the page itself must know.

use std::str::FromStr;
use std::time::Duration;

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::error::X_ADMISSIBILITY_RECORD;
use crate::limits;
use crate::middleware::X_REQUEST_ID;

/// How long a browser need not ask again.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// Pages that may call, by their origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// None.
    #[default]
    Off,
    /// Those from these origins.
    From(Vec<HeaderValue>),
    /// All.
    FromAnywhere,
}

/// A text that names no origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be origins, such as https://app.example or http://localhost:3000, or * for all")]
pub struct NoOrigins;

impl FromStr for Cors {
    type Err = NoOrigins;

    /// Origins with commas between, or `*`.
    fn from_str(text: &str) -> Result<Self, NoOrigins> {
        if text.trim() == "*" {
            return Ok(Self::FromAnywhere);
        }
        let origins: Option<Vec<_>> = text.split(',').map(origin).collect();
        origins.map(Self::From).ok_or(NoOrigins)
    }
}

/// As a browser writes it: RFC 6454, section 6.2
fn origin(text: &str) -> Option<HeaderValue> {
    let uri: Uri = text.trim().trim_end_matches('/').parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let is_bare = uri.path_and_query().is_none_or(|rest| rest == "/");
    let is_one = matches!(scheme, "http" | "https") && is_bare && !authority.as_str().contains('@');
    let origin = format!("{scheme}://{}", authority.as_str().to_ascii_lowercase());
    is_one.then(|| HeaderValue::from_str(&origin).ok())?
}

impl Cors {
    /// `None` where nothing is allowed.
    pub(crate) fn layer(&self) -> Option<CorsLayer> {
        let origins = match self {
            Self::Off => return None,
            Self::From(origins) => AllowOrigin::list(origins.iter().cloned()),
            Self::FromAnywhere => AllowOrigin::any(),
        };
        let layer = CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
            // Clients send headers of their own, which mean nothing here and do no harm.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(told())
            .max_age(MAX_AGE);
        Some(layer)
    }
}

/// What pages may read of an answer's headers.
fn told() -> Vec<HeaderName> {
    let always = [
        X_REQUEST_ID,
        X_ADMISSIBILITY_RECORD,
        RETRY_AFTER,
        WWW_AUTHENTICATE,
    ];
    always.into_iter().chain(limits::headers()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_schemes_with_hosts() {
        let check = |text: &str, expect: Option<&[&'static str]>| {
            let expect = expect.map(|origins| {
                Cors::From(
                    origins
                        .iter()
                        .map(|it| HeaderValue::from_static(it))
                        .collect(),
                )
            });
            assert_eq!(text.parse().ok(), expect, "{text}");
        };
        check("https://app.example", Some(&["https://app.example"]));
        check("https://App.Example/", Some(&["https://app.example"]));
        check(
            "http://localhost:3000, http://[::1]:80",
            Some(&["http://localhost:3000", "http://[::1]:80"]),
        );
        for none in [
            "",
            "app.example",
            "https://",
            "https://a.example/path",
            "https://a.example?q",
            "https://u@a.example",
            "ftp://a.example",
            "https://a.example,*",
            "null",
        ] {
            check(none, None);
        }
        assert_eq!("*".parse(), Ok(Cors::FromAnywhere));
    }
}
