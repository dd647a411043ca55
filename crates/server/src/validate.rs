//! From the wire to [`GenerateRequest`]: the only way. `params` checks what is asked for, `prompt`
//! takes the prompts past their rules.

use portcullis_engine::{GenerateParts, GenerateRequest, InvalidRequest};
use portcullis_gate::{Finding, Gate, Quota};
use portcullis_store::{KeyId, NamedRuleSet};
use portcullis_types::{SamplingParams, StopParams, Tenant, TokenId};

use crate::budget::{Reservation, may_resample};
use crate::error::ApiError;
use crate::ids::new_seed;
use crate::params::{
    chat_logprobs, check_common, check_completion, check_logprobs, check_prompt_count,
    check_stop_tokens, required, sampling, stop,
};
use crate::prompt::{
    admit_messages, admit_prompt, encode_chat, encode_prompts, messages, on_worker,
};
use crate::rules;
use crate::shape::Endpoint;
use crate::state::App;
use crate::wire;
use crate::wire::call::CallFields;
use crate::wire::chat::ChatFields;
use crate::wire::completion::CompletionFields;

/// A call within all limits: what is handed to the engine and how it is to be answered.
pub(crate) struct Call {
    pub(crate) endpoint: Endpoint,
    /// One for each prompt.
    pub(crate) requests: Vec<GenerateRequest>,
    pub(crate) choices_per_prompt: usize,
    pub(crate) gate: Gate,
    /// What the gate may spend on it.
    pub(crate) reservation: Reservation,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// Whether the caller wants log-probabilities.
    pub(crate) logprobs: bool,
    /// Tokens that end an answer and are no part of it.
    pub(crate) end_tokens: Vec<TokenId>,
    /// What rules found in the prompt.
    pub(crate) findings: Vec<Finding>,
}

/// What a request is bound to, and what its body cannot say.
pub(crate) struct Origin {
    pub(crate) request_id: String,
    pub(crate) tenant: Tenant,
    pub(crate) key: Option<KeyId>,
    pub(crate) gate: Gate,
}

/// A parsed `/v1/chat/completions` body.
pub(crate) struct ChatRequest {
    common: CallFields,
    own: ChatFields,
}

/// A parsed `/v1/completions` body.
pub(crate) struct CompletionRequest {
    common: CallFields,
    own: CompletionFields,
}

impl ChatRequest {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        Ok(Self {
            common: wire::parse(body)?,
            own: wire::parse(body)?,
        })
    }

    /// The rule sets that the call wants to hold besides those that are bound.
    pub(crate) fn named_rulesets(&self) -> Result<Vec<NamedRuleSet>, ApiError> {
        rules::named(&self.common)
    }

    /// # Errors
    /// The first parameter that is missing, out of bounds or not built yet, by name.
    pub(crate) async fn validate(self, app: &App, origin: Origin) -> Result<Call, ApiError> {
        let Self { common, own } = self;
        check_common(app, &common)?;
        let top_logprobs = chat_logprobs(&own)?;
        let messages = messages(own.messages)?;
        let limit = own.max_completion_tokens.or(common.max_tokens);
        let draft = Draft::new(app, common, origin, top_logprobs, limit)?;
        let (app, gate) = (app.clone(), draft.origin.gate.clone());
        let prompt = on_worker(move || {
            let (messages, findings) = admit_messages(&gate, messages)?;
            let tokens = encode_chat(&app, &messages)?;
            Ok((app, tokens, findings))
        });
        let (app, tokens, findings) = prompt.await?;
        draft.into_call(&app, Endpoint::Chat, vec![tokens], findings)
    }
}

impl CompletionRequest {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        Ok(Self {
            common: wire::parse(body)?,
            own: wire::parse(body)?,
        })
    }

    /// The rule sets that the call wants to hold besides those that are bound.
    pub(crate) fn named_rulesets(&self) -> Result<Vec<NamedRuleSet>, ApiError> {
        rules::named(&self.common)
    }

    /// # Errors
    /// The first parameter that is missing, out of bounds or not built yet, by name.
    pub(crate) async fn validate(self, app: &App, origin: Origin) -> Result<Call, ApiError> {
        let Self { common, own } = self;
        check_common(app, &common)?;
        check_completion(&own, &common)?;
        let prompt = own.prompt.ok_or_else(|| required("prompt"))?;
        check_prompt_count(app, &prompt, common.n.unwrap_or(1))?;
        let limit = Some(common.max_tokens.unwrap_or(DEFAULT_COMPLETION_TOKENS));
        let draft = Draft::new(app, common, origin, own.logprobs, limit)?;
        let (app, gate) = (app.clone(), draft.origin.gate.clone());
        let prompts = on_worker(move || {
            let (prompt, findings) = admit_prompt(&app, &gate, prompt)?;
            let tokens = encode_prompts(&app, prompt)?;
            Ok((app, tokens, findings))
        });
        let (app, tokens, findings) = prompts.await?;
        draft.into_call(&app, Endpoint::Completions, tokens, findings)
    }
}

/// `max_tokens` of a text completion that does not say, as in OpenAI's API.
const DEFAULT_COMPLETION_TOKENS: usize = 16;

/// Everything about a call but its prompts.
struct Draft {
    fields: CallFields,
    origin: Origin,
    sampling: SamplingParams,
    stop: StopParams,
    max_tokens: Option<usize>,
    logprobs: bool,
}

impl Draft {
    fn new(
        app: &App,
        fields: CallFields,
        origin: Origin,
        logprobs: Option<u8>,
        max_tokens: Option<usize>,
    ) -> Result<Self, ApiError> {
        check_logprobs(logprobs, &origin.gate)?;
        check_stop_tokens(&fields, &origin.gate)?;
        let sampling = sampling(app, &fields, logprobs.unwrap_or(0))?;
        let stop = stop(app, &fields);
        let logprobs = logprobs.is_some();
        Ok(Self {
            fields,
            origin,
            sampling,
            stop,
            max_tokens,
            logprobs,
        })
    }

    fn into_call(
        mut self,
        app: &App,
        endpoint: Endpoint,
        prompts: Vec<Vec<TokenId>>,
        findings: Vec<Finding>,
    ) -> Result<Call, ApiError> {
        let choices = self.fields.n.unwrap_or(1);
        let reservation = self.reserve(app, prompts.len() * choices as usize);
        let requests: Result<Vec<_>, _> = prompts
            .into_iter()
            .map(|prompt| self.request(app, endpoint, prompt))
            .collect();
        let options = self.fields.stream_options.unwrap_or_default();
        Ok(Call {
            endpoint,
            requests: requests?,
            choices_per_prompt: choices as usize,
            gate: self.origin.gate,
            reservation,
            stream: self.fields.stream.unwrap_or(false),
            include_usage: options.include_usage.unwrap_or(false),
            logprobs: self.logprobs,
            end_tokens: self.stop.token_ids,
            findings,
        })
    }

    /// Settles what the gate may spend on each choice.
    fn reserve(&mut self, app: &App, choices: usize) -> Reservation {
        let Origin { key, gate, .. } = &mut self.origin;
        let wanted = match may_resample(gate) {
            true => gate.quota(),
            false => Quota::NONE,
        };
        let now = app.clock.now();
        let reservation = app.budgets.reserve(key.as_ref(), wanted, choices, now);
        *gate = gate.clone().with_quota(reservation.per_choice());
        reservation
    }

    fn request(
        &self,
        app: &App,
        endpoint: Endpoint,
        prompt: Vec<TokenId>,
    ) -> Result<GenerateRequest, ApiError> {
        // The same seed for every prompt of a call, so that each repeats what it gives alone.
        let seed = self.fields.seed.map_or_else(new_seed, |seed| seed as u64);
        let parts = GenerateParts {
            request_id: self.origin.request_id.clone(),
            prompt,
            choices: self.fields.n.unwrap_or(1),
            sampling: SamplingParams {
                seed,
                ..self.sampling.clone()
            },
            stop: self.stop.clone(),
            max_tokens: self.max_tokens,
            priority: self.fields.priority.unwrap_or_default(),
            tenant: self.origin.tenant,
            gate: self.origin.gate.clone(),
        };
        GenerateRequest::new(parts, &app.limits).map_err(|error| on_wire(error, endpoint))
    }
}

/// The engine blames `messages` for a prompt that is too long; a text completion has none.
fn on_wire(error: InvalidRequest, endpoint: Endpoint) -> ApiError {
    let overflows = matches!(error, InvalidRequest::ContextOverflow { .. });
    match (overflows, endpoint) {
        (true, Endpoint::Completions) => ApiError::from(error).blaming("prompt"),
        _ => error.into(),
    }
}
