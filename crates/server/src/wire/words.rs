//! What other crates say on the wire, for the document of the API alone: the types themselves know
//! nothing of schemas. A test compares.

#![expect(dead_code, reason = "these types are read by their derive alone")]

use schemars::JsonSchema;

/// How urgent a call is.
#[derive(JsonSchema)]
#[schemars(rename = "Priority", rename_all = "lowercase")]
pub(crate) enum PrioritySchema {
    /// Nobody waits at a screen.
    Batch,
    /// The default.
    Standard,
    /// Somebody speaks with it.
    Realtime,
}

/// What a key may do.
#[derive(JsonSchema)]
#[schemars(rename = "KeyRole", rename_all = "lowercase")]
pub(crate) enum KeyRoleSchema {
    /// Calls models.
    Inference,
    /// Writes rule sets.
    Author,
    /// Puts rule sets into force.
    Approver,
    /// Reads records.
    Auditor,
    /// Manages keys and everything else.
    Admin,
}

/// What a key may ask for; null is without limit.
#[derive(JsonSchema)]
#[schemars(rename = "KeyLimits")]
pub(crate) struct KeyLimitsSchema {
    /// Requests in any minute.
    requests_per_minute: Option<u64>,
    /// Tokens in any minute.
    tokens_per_minute: Option<u64>,
    /// Tokens in a day of UTC.
    tokens_per_day: Option<u64>,
    /// Requests that are under way at a time.
    max_concurrent_requests: Option<u64>,
}

/// What a signature says.
#[derive(JsonSchema)]
#[schemars(rename = "SignerRole", rename_all = "lowercase")]
pub(crate) enum SignerRoleSchema {
    /// I wrote this.
    Author,
    /// I have read this, and it may be put into force.
    Approver,
}

/// Where a version of a rule set stands.
#[derive(JsonSchema)]
#[schemars(rename = "RuleSetState", rename_all = "lowercase")]
pub(crate) enum RuleSetStateSchema {
    /// It holds for nobody; it may be observed.
    Registered,
    /// The one version that bindings without a version follow.
    Active,
    /// Another version was activated; bindings that name this one keep it.
    Superseded,
    /// Over.
    Retired,
}

/// Tokens of a call.
#[derive(JsonSchema)]
#[schemars(rename = "TokenCounts")]
pub(crate) struct TokenCountsSchema {
    /// Of the prompts.
    prompt: u64,
    /// Of these, found in the prefix cache.
    cached: u64,
    /// Released.
    released: u64,
    /// Drawn and thrown away.
    discarded: u64,
}

/// Who speaks.
#[derive(JsonSchema)]
#[schemars(rename = "Role", rename_all = "lowercase")]
pub(crate) enum RoleSchema {
    /// Instructions from whoever runs the application.
    System,
    /// The newer name of `system`.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

/// A tool that an earlier answer called.
#[derive(JsonSchema)]
#[schemars(rename = "ToolCall")]
pub(crate) struct ToolCallSchema {
    /// Names the call; the tool's message repeats it.
    id: String,
    function: FunctionCallSchema,
}

#[derive(JsonSchema)]
#[schemars(rename = "FunctionCall")]
pub(crate) struct FunctionCallSchema {
    name: String,
    /// JSON in a string.
    arguments: String,
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::Value;

    use super::*;

    /// The words that a schema allows.
    fn words<T: JsonSchema>() -> Vec<Value> {
        let schema = schemars::schema_for!(T).to_value();
        let branches = schema["oneOf"].as_array().cloned().unwrap_or_default();
        let named = branches.iter().flat_map(|branch| {
            let several = branch["enum"].as_array().cloned().unwrap_or_default();
            several.into_iter().chain(branch.get("const").cloned())
        });
        named.collect()
    }

    fn fields<T: JsonSchema>() -> Vec<String> {
        let schema = schemars::schema_for!(T).to_value();
        let fields = schema["properties"].as_object().cloned();
        fields.unwrap_or_default().keys().cloned().collect()
    }

    fn said<T: Serialize>(values: impl IntoIterator<Item = T>) -> Vec<Value> {
        let said = values.into_iter().map(|value| serde_json::to_value(value));
        said.map(|value| value.expect("words are JSON")).collect()
    }

    #[test]
    fn the_words_are_those_of_the_types() {
        use portcullis_types::Priority::{Batch, Realtime, Standard};
        assert_eq!(words::<PrioritySchema>(), said([Batch, Standard, Realtime]));
        assert_eq!(words::<KeyRoleSchema>(), said(portcullis_store::Role::ALL));
        use portcullis_store::SignerRole::{Approver, Author};
        assert_eq!(words::<SignerRoleSchema>(), said([Author, Approver]));
        use portcullis_store::RuleSetState::{Active, Registered, Retired, Superseded};
        let states = [Registered, Active, Superseded, Retired];
        assert_eq!(words::<RuleSetStateSchema>(), said(states));
        use portcullis_text::Role::{Assistant, Developer, System, Tool, User};
        let roles = [System, Developer, User, Assistant, Tool];
        assert_eq!(words::<RoleSchema>(), said(roles));
    }

    #[test]
    fn the_fields_are_those_of_the_types() {
        let names = |value: Value| -> Vec<String> {
            let object = value.as_object().cloned().unwrap_or_default();
            object.keys().cloned().collect()
        };
        let limits = portcullis_store::KeyLimits::default();
        let limits = serde_json::to_value(limits).expect("limits are JSON");
        assert_eq!(fields::<KeyLimitsSchema>(), names(limits));
        let counts = portcullis_ledger::TokenCounts::default();
        let counts = serde_json::to_value(counts).expect("counts are JSON");
        assert_eq!(fields::<TokenCountsSchema>(), names(counts));
    }
}
