//! Finds out what the server is, before anything is measured.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{HttpTarget, causes, refusal};
use crate::error::BenchError;

/// How long a server may take to say what it is.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What the server says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    /// The model to ask.
    pub(crate) model: String,
    /// BLAKE3 of its weights, if told.
    pub(crate) model_digest: Option<String>,
    /// Version of the server, if told.
    pub(crate) version: Option<String>,
    /// Whether it is one of ours, which tells what its gate took.
    pub(crate) is_portcullis: bool,
}

#[derive(Debug, Deserialize)]
struct Models {
    data: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    owned_by: Option<String>,
    #[serde(default)]
    digest: Option<String>,
}

impl HttpTarget {
    /// Asks the server for its models and version.
    pub(super) async fn probe(&self, wanted: Option<&str>) -> Result<Server, BenchError> {
        let listed = match (self.models().await, wanted) {
            (Ok(models), _) => choose(models, wanted)?,
            // A server that does not list its models may serve the one that was named.
            (Err(BenchError::NoModels { .. }), Some(named)) => Listed {
                id: named.to_owned(),
                owned_by: None,
                digest: None,
            },
            (Err(error), _) => return Err(error),
        };
        Ok(Server {
            is_portcullis: listed.owned_by.as_deref() == Some("portcullis"),
            model: listed.id,
            model_digest: listed.digest,
            version: self.version().await,
        })
    }

    async fn models(&self) -> Result<Vec<Listed>, BenchError> {
        let url = format!("{}/v1/models", self.url());
        let request = self.get("v1/models").timeout(TIMEOUT);
        let response = request
            .send()
            .await
            .map_err(|error| BenchError::Unreachable {
                url: self.url().to_owned(),
                why: causes(&error),
            })?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let status = status.as_u16();
            return Err(BenchError::Unauthorised { url, status });
        }
        if !status.is_success() {
            let why = refusal(response).await;
            return Err(BenchError::NoModels { url, why });
        }
        match response.json::<Models>().await {
            Ok(models) => Ok(models.data),
            Err(error) => Err(BenchError::NoModels {
                url,
                why: format!("its answer is no list of models: {error}"),
            }),
        }
    }

    /// `/version`, which Portcullis and vLLM have.
    async fn version(&self) -> Option<String> {
        let request = self.get("version").timeout(TIMEOUT);
        let response = request.send().await.ok()?.error_for_status().ok()?;
        let body: Value = response.json().await.ok()?;
        Some(body.get("version")?.as_str()?.to_owned())
    }
}

fn choose(models: Vec<Listed>, wanted: Option<&str>) -> Result<Listed, BenchError> {
    let available: Vec<_> = models.iter().map(|model| model.id.clone()).collect();
    let mut models = models.into_iter();
    let found = match wanted {
        Some(wanted) => models.find(|model| model.id == wanted),
        None => models.next(),
    };
    found.ok_or_else(|| BenchError::UnknownModel {
        model: wanted.unwrap_or("(any)").to_owned(),
        available: match available.is_empty() {
            true => "none".to_owned(),
            false => available.join(", "),
        },
    })
}
