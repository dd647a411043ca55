//! The body of every error.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

/// `{"error": {…}}`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorBody {
    pub(crate) error: ErrorDetail,
    /// Ours: the record of a call that ended with an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admissibility: Option<RecordRef>,
}

/// Where a call that ended with an error is on record.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct RecordRef {
    pub(crate) record_id: String,
    pub(crate) status: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorDetail {
    pub(crate) message: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) param: Option<String>,
    pub(crate) code: Option<Cow<'static, str>>,
    /// Mistakes of a rule set, all at once; ours, and only for rule sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) diagnostics: Vec<Mistake>,
}

/// One mistake in a rule set.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Mistake {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
    pub(crate) mend: String,
}
