//! A server that speaks the OpenAI protocol over HTTP.

mod follow;
#[cfg(test)]
mod known;
mod probe;
mod sse;
mod tokens;
mod wire;

use std::net::IpAddr;
use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode, Url};
use tokio::time::timeout;

use crate::args::TargetArgs;
use crate::clock::RunClock;
use crate::error::BenchError;
use crate::target::{Ask, Reply, Target};
use wire::Template;

pub(crate) use probe::Server;
pub(crate) use tokens::HttpRuler;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server, and how it is asked.
#[derive(Clone, Debug)]
pub(crate) struct HttpTarget {
    http: reqwest::Client,
    /// Without `/v1`.
    base: Url,
    key: Option<String>,
    template: Template,
    /// Longest silence of a stream.
    silence: Duration,
}

impl HttpTarget {
    /// Finds the server, and the model to ask unless one was named.
    ///
    /// # Errors
    /// It does not answer, refuses the key, or does not have the model.
    pub(crate) async fn connect(args: &TargetArgs) -> Result<(Self, Server), BenchError> {
        let base = base_url(&args.url)?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(usize::MAX)
            .tcp_nodelay(true);
        if is_loopback(&base) {
            // A proxy would look for the server on its own machine.
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| BenchError::Usage(format!("cannot connect at all: {error}")))?;
        let mut target = Self {
            http,
            base,
            key: args.api_key.clone().filter(|key| !key.is_empty()),
            template: Template {
                model: args.model.clone().unwrap_or_default(),
                endpoint: args.endpoint,
                temperature: args.temperature,
                ignore_eos: false,
                gate_timings: false,
                extra: args.extra_body.clone().unwrap_or_default(),
            },
            silence: args.timeout,
        };
        let server = target.probe(args.model.as_deref()).await?;
        target.template.model.clone_from(&server.model);
        target.template.gate_timings = server.is_portcullis;
        Ok((target, server))
    }

    /// Where the server is.
    pub(crate) fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Asks for answers of the whole length, or lets them end where they end.
    pub(crate) fn ignore_eos(&mut self, whether: bool) {
        self.template.ignore_eos = whether;
    }

    /// Asks with no field that OpenAI's own server does not have.
    pub(crate) fn ask_plainly(&mut self) {
        self.template.ignore_eos = false;
        self.template.gate_timings = false;
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.with_key(self.http.get(format!("{}/{path}", self.url())))
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.with_key(self.http.post(format!("{}/{path}", self.url())))
    }

    fn with_key(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
}

impl Target for HttpTarget {
    async fn answer(&self, ask: &Ask, clock: RunClock) -> Reply {
        let path = format!("v1/{}", self.template.path());
        let request = self.post(&path).json(&self.template.body(ask));
        let mut reply = Reply {
            sent: clock.now(),
            ..Reply::default()
        };
        let followed = match timeout(self.silence, request.send()).await {
            Ok(Ok(response)) if response.status().is_success() => {
                follow::follow(response, self.silence, clock, &mut reply).await
            }
            Ok(Ok(response)) => Err(refusal(response).await),
            Ok(Err(error)) => Err(causes(&error)),
            Err(_) => Err(follow::silent(self.silence)),
        };
        reply.ended = reply.ended.max(clock.now());
        reply.error = followed.err();
        reply
    }
}

/// What a status other than success says, with its body in short.
async fn refusal(response: Response) -> String {
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    let said = match serde_json::from_str(&body) {
        Ok(body) => wire::error_text(&body),
        Err(_) => wire::shorten(&body),
    };
    let advice = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            " (give --api-key, or PORTCULLIS_API_KEY)"
        }
        StatusCode::NOT_FOUND => " (are --url, --model and --endpoint right?)",
        StatusCode::TOO_MANY_REQUESTS => {
            " (lower --max-concurrency or --request-rate, or raise the limits of the key)"
        }
        _ => "",
    };
    format!("HTTP {status}: {said}{advice}")
}

/// An error of the connection with what caused it, which it does not tell by itself.
fn causes(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let what = match error {
        error if error.is_connect() => "cannot connect",
        error if error.is_timeout() => "timed out",
        error if error.is_body() || error.is_decode() => "the stream broke off",
        _ => "the request failed",
    };
    format!("{what}: {innermost}")
}

fn base_url(text: &str) -> Result<Url, BenchError> {
    let plain = text.trim_end_matches('/');
    let plain = plain.strip_suffix("/v1").unwrap_or(plain);
    let wrong = |why: &str| BenchError::Usage(format!("--url {text}: {why}"));
    let url = Url::parse(plain).map_err(|_| wrong("is no URL; write http://127.0.0.1:8000"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(wrong("must begin with http:// or https://")),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_found_with_and_without_the_version() {
        let check = |text: &str, expect: &str| {
            let url = base_url(text).unwrap();
            assert_eq!(url.as_str().trim_end_matches('/'), expect, "{text}");
        };
        check("http://h:1", "http://h:1");
        check("http://h:1/v1/", "http://h:1");
        check("https://h/proxied/v1", "https://h/proxied");
        for wrong in ["h:1", "ftp://h", "nonsense"] {
            assert!(base_url(wrong).unwrap_err().is_usage(), "{wrong}");
        }
    }
}
