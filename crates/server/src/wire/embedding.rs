//! `/v1/embeddings`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::call::Admissibility;
use super::completion::Prompt;

/// The fields that only embeddings have.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "a JSON object")]
pub(crate) struct EmbeddingFields {
    pub(crate) input: Option<Prompt>,
    pub(crate) encoding_format: Option<String>,
    pub(crate) dimensions: Option<usize>,
}

/// The whole answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Embeddings {
    pub(crate) object: &'static str,
    pub(crate) data: Vec<Embedding>,
    pub(crate) model: String,
    pub(crate) usage: EmbeddingUsage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admissibility: Option<Admissibility>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Embedding {
    pub(crate) object: &'static str,
    pub(crate) index: usize,
    pub(crate) embedding: Vector,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Vector {
    Numbers(Vec<f32>),
    /// Numbers of four bytes each, the lowest first.
    Base64(String),
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EmbeddingUsage {
    pub(crate) prompt_tokens: u64,
    pub(crate) total_tokens: u64,
}
