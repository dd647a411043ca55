//! What the endpoints that run a model have in common.

use std::borrow::Cow;
use std::collections::BTreeMap;

use portcullis_types::{Priority, TokenId, Usage};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tools::ResponseFormatField;
use super::words::PrioritySchema;

/// What every endpoint that runs a model reads.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "a JSON object")]
pub(crate) struct ModelFields {
    /// The deployment, as `/v1/models` lists it.
    pub(crate) model: Option<String>,
    /// Read for its type alone: identity comes from the key.
    #[serde(rename = "user")]
    pub(crate) _user: Option<String>,
    /// What the call asks of the gate.
    pub(crate) admissibility: Option<AdmissibilityFields>,
}

/// The fields of a request for text. Read from the same bytes as the endpoint's own fields; each
/// reading ignores the fields of the other. Responses and messages pass some over: see
/// [`ConversationFields`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "a JSON object")]
pub(crate) struct CallFields {
    /// The deployment, as `/v1/models` lists it.
    pub(crate) model: Option<String>,
    /// Whether the answer comes as events while it is written.
    pub(crate) stream: Option<bool>,
    pub(crate) stream_options: Option<StreamOptions>,
    /// How many answers.
    pub(crate) n: Option<u32>,
    /// Tokens of an answer, at most; without it, what the context leaves (16 for text completions).
    pub(crate) max_tokens: Option<usize>,
    /// An answer does not end before so many tokens.
    pub(crate) min_tokens: Option<usize>,
    /// From 0, which is greedy, to 2.
    pub(crate) temperature: Option<f32>,
    /// Keeps the likeliest tokens that together have this probability: above 0, at most 1.
    pub(crate) top_p: Option<f32>,
    /// Keeps so many of the likeliest tokens; -1 keeps all.
    pub(crate) top_k: Option<i64>,
    /// Keeps tokens at least this likely, relative to the likeliest: from 0 to 1.
    pub(crate) min_p: Option<f32>,
    /// From -2 to 2.
    pub(crate) presence_penalty: Option<f32>,
    /// From -2 to 2.
    pub(crate) frequency_penalty: Option<f32>,
    /// Above 0, at most 10; 1 is off.
    pub(crate) repetition_penalty: Option<f32>,
    /// Added to the logits of tokens, by id: from -100 to 100.
    pub(crate) logit_bias: Option<BTreeMap<TokenId, f32>>,
    /// The same seed gives the same answer.
    pub(crate) seed: Option<i64>,
    /// An answer ends before any of these: up to 16 strings of up to 256 bytes.
    pub(crate) stop: Option<Stop>,
    /// An answer ends with any of these.
    pub(crate) stop_token_ids: Option<Vec<TokenId>>,
    /// Whether the model's own end does not end an answer.
    pub(crate) ignore_eos: Option<bool>,
    /// How urgent the call is.
    #[schemars(with = "Option<PrioritySchema>")]
    pub(crate) priority: Option<Priority>,
    /// Read for its type alone: identity comes from the key.
    #[serde(rename = "user")]
    pub(crate) _user: Option<String>,
    /// What an answer must be.
    pub(crate) response_format: Option<ResponseFormatField>,
    /// What the call asks of the gate.
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

/// [`CallFields`] for the document of responses and messages, which give one answer and have its form
/// in a field of their own.
pub(crate) struct ConversationFields;

impl JsonSchema for ConversationFields {
    fn schema_name() -> Cow<'static, str> {
        "ConversationFields".into()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        let mut schema = CallFields::json_schema(schemas);
        if let Some(Value::Object(fields)) = schema.get_mut("properties") {
            for passed_over in ["n", "response_format"] {
                fields.remove(passed_over);
            }
        }
        schema
    }
}

/// What a call asks of the gate; ours. A misspelt field is refused: it would ask for nothing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "an object with rulesets, retention and timings"
)]
pub(crate) struct AdmissibilityFields {
    /// Rule sets that are to hold besides those that are bound: `name` or `name@version`.
    pub(crate) rulesets: Vec<String>,
    /// The class that says how long the call's text is kept, where texts are kept.
    pub(crate) retention: Option<String>,
    /// Whether the answer is to tell what the gate took.
    pub(crate) timings: bool,
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
    /// Where a call asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timings: Option<GateTimings>,
}

/// What the gate took.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct GateTimings {
    /// From the first token drawn to the first one released; of several choices, the longest.
    pub(crate) first_held_ms: f64,
    /// The longest that text waited for its verdict.
    pub(crate) held_ms: f64,
    /// Spent in the gate, over all choices.
    pub(crate) gate_ms: f64,
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
