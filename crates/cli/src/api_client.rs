//! Talks to a running server, and tells what it answers in words that help.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::args::ServerArgs;
use crate::env::Environment;
use crate::output::printable;

const DEFAULT_URL: &str = "http://127.0.0.1:8000";
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running server.
pub(crate) struct ApiClient {
    http: reqwest::Client,
    base: Url,
    key: Option<String>,
}

impl ApiClient {
    /// The server that flags or environment name.
    ///
    /// # Errors
    /// The URL is none.
    pub(crate) fn new(args: &ServerArgs, environment: &Environment) -> Result<Self> {
        let given = |flag: &Option<String>, variable| {
            flag.clone()
                .or_else(|| environment.get(variable).map(str::to_owned))
        };
        let url = given(&args.url, "PORTCULLIS_URL").unwrap_or_else(|| DEFAULT_URL.to_owned());
        let base = base_url(&url)?;
        let mut builder = reqwest::Client::builder().timeout(TIMEOUT);
        if is_loopback(&base) {
            // A proxy would look for the server on its own machine.
            builder = builder.no_proxy();
        }
        let http = builder.build().context("cannot set up a connection")?;
        Ok(Self {
            http,
            base,
            key: given(&args.api_key, "PORTCULLIS_API_KEY"),
        })
    }

    /// Where the server is.
    pub(crate) fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Whether a key was given.
    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// `GET` of a path, given by its segments.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T> {
        self.read(self.request(Method::GET, path)?)
            .await
            .map(|(_, body)| body)
    }

    /// `GET` with a query.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub(crate) async fn find<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T> {
        let mut url = self.at(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let read = self.read(self.authorised(self.http.get(url)));
        read.await.map(|(_, body)| body)
    }

    /// `GET` of a file as it is.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub(crate) async fn get_bytes(&self, path: &[&str]) -> Result<Vec<u8>> {
        let response = self.send(self.request(Method::GET, path)?).await?;
        let bytes = response.bytes().await.context("the answer broke off")?;
        Ok(bytes.into())
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &serde_json::Value,
    ) -> Result<T> {
        self.read(self.request(Method::POST, path)?.json(body))
            .await
            .map(|(_, body)| body)
    }

    /// `PATCH` with JSON.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &serde_json::Value,
    ) -> Result<T> {
        self.read(self.request(Method::PATCH, path)?.json(body))
            .await
            .map(|(_, body)| body)
    }

    /// `POST` of a file as it is; the status tells whether it was news.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub(crate) async fn post_file<T: DeserializeOwned>(
        &self,
        path: &[&str],
        file: Vec<u8>,
        media_type: &str,
    ) -> Result<(StatusCode, T)> {
        let request = self.request(Method::POST, path)?;
        self.read(
            request
                .header(reqwest::header::CONTENT_TYPE, media_type)
                .body(file),
        )
        .await
    }

    /// `DELETE`, with what is meant in the query.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub(crate) async fn delete(&self, path: &[&str], query: &[(&str, &str)]) -> Result<()> {
        let mut url = self.at(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.authorised(self.http.delete(url)))
            .await
            .map(drop)
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder> {
        Ok(self.authorised(self.http.request(method, self.at(path)?)))
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Segments are escaped, so that no name leads to another path.
    fn at(&self, path: &[&str]) -> Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("{} cannot have paths", self.base))?
            .pop_if_empty()
            .extend(path);
        Ok(url)
    }

    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<(StatusCode, T)> {
        let response = self.send(request).await?;
        let status = response.status();
        let body = response.json().await.with_context(|| {
            format!("{} did not answer as a portcullis server does", self.url())
        })?;
        Ok((status, body))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request
            .send()
            .await
            .map_err(|error| self.no_answer(error))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(refused(status, response, self.has_key()).await.into()),
        }
    }

    fn no_answer(&self, error: reqwest::Error) -> anyhow::Error {
        let url = self.url();
        let message = if error.is_timeout() {
            format!(
                "the server at {url} did not answer in {} s",
                TIMEOUT.as_secs()
            )
        } else if error.is_connect() {
            format!(
                "no server answers at {url}; start one with `portcullis serve`, or say where it \
                 is with --url or PORTCULLIS_URL"
            )
        } else {
            format!("the server at {url} could not be asked")
        };
        anyhow::Error::new(error.without_url()).context(message)
    }
}

/// The server said no.
#[derive(Debug, Error)]
#[error("{message}{mend}")]
pub(crate) struct Refused {
    /// Of the answer.
    pub(crate) status: StatusCode,
    /// Which refusal it is, for programs.
    pub(crate) code: Option<String>,
    message: String,
    mend: &'static str,
    /// Mistakes of a rule set.
    pub(crate) mistakes: Vec<RuleMistake>,
}

/// A mistake in a rule file.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
pub(crate) struct RuleMistake {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
    pub(crate) mend: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    message: String,
    code: Option<String>,
    #[serde(default)]
    diagnostics: Vec<RuleMistake>,
}

async fn refused(status: StatusCode, response: Response, had_key: bool) -> Refused {
    let told = response
        .json::<ErrorBody>()
        .await
        .ok()
        .map(|body| body.error);
    let (message, code, mistakes) = match told {
        Some(error) => (printable(error.message), error.code, error.diagnostics),
        None => (
            format!("the server answered {status}, and not as a portcullis server does"),
            None,
            vec![],
        ),
    };
    Refused {
        status,
        code,
        message,
        mend: mend(status, had_key),
        mistakes,
    }
}

fn mend(status: StatusCode, had_key: bool) -> &'static str {
    match (status, had_key) {
        (StatusCode::UNAUTHORIZED, false) => {
            "\n  give a key with PORTCULLIS_API_KEY or --api-key; who can read the data directory \
             makes one with `portcullis keys create --role admin --name NAME --data-dir DIR`"
        }
        (StatusCode::UNAUTHORIZED, true) => {
            "\n  is the key for this server, and not revoked? See PORTCULLIS_API_KEY or --api-key"
        }
        (StatusCode::FORBIDDEN, _) => "\n  use a key whose role may do this, such as admin",
        _ => "",
    }
}

fn base_url(text: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(|_| {
        anyhow!("{text:?} is no URL; give --url or PORTCULLIS_URL as {DEFAULT_URL}")
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        bail!("{text:?} must begin with http:// or https://, as in {DEFAULT_URL}");
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> ApiClient {
        let args = ServerArgs {
            url: Some(url.to_owned()),
            api_key: None,
        };
        ApiClient::new(&args, &Environment::default()).unwrap()
    }

    #[test]
    fn names_cannot_lead_to_other_paths() {
        let at = |url: &str, path: &[&str]| client(url).at(path).unwrap().to_string();
        assert_eq!(at("http://h:1", &["v1", "keys"]), "http://h:1/v1/keys");
        assert_eq!(
            at("http://h:1/proxied/", &["v1", "a/../b?c"]),
            "http://h:1/proxied/v1/a%2F..%2Fb%3Fc"
        );
    }

    #[test]
    fn flags_beat_the_environment() {
        let environment = [
            ("PORTCULLIS_URL", "http://env:1"),
            ("PORTCULLIS_API_KEY", "pk-env"),
        ]
        .into();
        let args = ServerArgs {
            url: Some("http://flag:1".into()),
            api_key: None,
        };
        let client = ApiClient::new(&args, &environment).unwrap();
        assert_eq!(client.url(), "http://flag:1");
        assert_eq!(client.key.as_deref(), Some("pk-env"));
    }

    #[test]
    fn loopback_is_recognised_in_every_spelling() {
        let check =
            |url: &str, expect| assert_eq!(is_loopback(&base_url(url).unwrap()), expect, "{url}");
        check("http://127.0.0.1:8000", true);
        check("http://localhost", true);
        check("http://[::1]:8000", true);
        check("https://models.example", false);
    }

    #[test]
    fn what_is_no_url_is_refused_with_an_example() {
        assert!(
            base_url("ftp://h")
                .unwrap_err()
                .to_string()
                .contains("http://127.0.0.1:8000")
        );
        assert!(
            base_url("127.0.0.1:8000")
                .unwrap_err()
                .to_string()
                .contains("no URL")
        );
    }
}
