//! What chat and text completions have in common.

use std::collections::BTreeMap;

use portcullis_types::{Priority, TokenId, Usage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tools::ResponseFormatField;
use super::words::PrioritySchema;

/// The fields of a request that both endpoints know. Read from the same bytes as the endpoint's
/// own fields; each reading ignores the fields of the other.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "a JSON object")]
pub(crate) struct CallFields {
    pub(crate) model: Option<String>,
    pub(crate) stream: Option<bool>,
    pub(crate) stream_options: Option<StreamOptions>,
    pub(crate) n: Option<u32>,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) min_tokens: Option<usize>,
    pub(crate) temperature: Option<f32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) top_k: Option<i64>,
    pub(crate) min_p: Option<f32>,
    pub(crate) presence_penalty: Option<f32>,
    pub(crate) frequency_penalty: Option<f32>,
    pub(crate) repetition_penalty: Option<f32>,
    pub(crate) logit_bias: Option<BTreeMap<TokenId, f32>>,
    pub(crate) seed: Option<i64>,
    pub(crate) stop: Option<Stop>,
    pub(crate) stop_token_ids: Option<Vec<TokenId>>,
    pub(crate) ignore_eos: Option<bool>,
    #[schemars(with = "Option<PrioritySchema>")]
    pub(crate) priority: Option<Priority>,
    /// Read for its type alone: identity comes from the key.
    #[serde(rename = "user")]
    pub(crate) _user: Option<String>,
    pub(crate) response_format: Option<ResponseFormatField>,
    pub(crate) admissibility: Option<AdmissibilityFields>,
}

impl CallFields {
    pub(crate) fn include_usage(&self) -> bool {
        let options = self.stream_options.as_ref();
        options
            .and_then(|options| options.include_usage)
            .unwrap_or(false)
    }
}

/// What a call asks of the gate; ours. A misspelt field is refused: it would ask for nothing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "an object with rulesets and retention"
)]
pub(crate) struct AdmissibilityFields {
    /// Rule sets that are to hold besides those that are bound: `name` or `name@version`.
    pub(crate) rulesets: Vec<String>,
    /// The class that says how long the call's text is kept, where texts are kept.
    pub(crate) retention: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
pub(crate) enum Stop {
    One(String),
    Many(Vec<String>),
}

/// What a call cost, as clients read it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct UsageBody {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct CompletionDetails {
    /// Ours: drawn, and thrown away because the gate refused what they would have said.
    discarded_tokens: u64,
}

impl From<Usage> for UsageBody {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cached_tokens,
            },
            completion_tokens_details: CompletionDetails {
                discarded_tokens: usage.discarded_tokens,
            },
        }
    }
}

/// What the gate did and where it is on record; ours, on the last part of an answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Admissibility {
    /// Where calls are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) record_id: Option<String>,
    pub(crate) status: AdmissibilityStatus,
    pub(crate) rulesets: Vec<RuleSetRef>,
    /// Roll-backs, over all choices.
    pub(crate) attempts: u64,
    /// What was acted on; bounded by the gate.
    pub(crate) findings: Vec<FindingRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AdmissibilityStatus {
    /// The gate let every choice come to its end.
    Admitted,
    /// The gate ended a choice.
    Refused,
    /// No rule set holds; a set in mode `observe` changes no byte of an answer, this one included.
    Ungated,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct RuleSetRef {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) mode: &'static str,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct FindingRef {
    pub(crate) ruleset: String,
    pub(crate) version: u32,
    pub(crate) rule: String,
    pub(crate) action: &'static str,
    /// `input` or `output`.
    pub(crate) on: &'static str,
}
