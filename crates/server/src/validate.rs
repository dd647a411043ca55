//! From the wire to [`GenerateRequest`]: the only way. `params` checks what is asked for, `prompt`
//! takes the prompts past their rules.

use axum::body::Bytes;
use portcullis_engine::{GenerateParts, GenerateRequest, InvalidRequest};
use portcullis_gate::{Gate, Quota, RefusedInput};
use portcullis_store::{KeyId, NamedRuleSet};
use portcullis_types::{SamplingParams, StopParams, Tenant, TokenId};

use crate::budget::{Reservation, may_resample};
use crate::error::ApiError;
use crate::ids::new_seed;
use crate::middleware::RequestId;
use crate::params::{
    chat_logprobs, check_common, check_completion, check_logprobs, check_prompt_count,
    check_stop_tokens, required, sampling, stop,
};
use crate::prompt::{
    NotEncoded, admit_messages, admit_prompt, encode_chat, encode_prompts, messages, on_worker,
};
use crate::record::{Facts, retention, rulesets_used, sampling_used};
use crate::rules::{self, RuleSigners};
use crate::shape::Endpoint;
use crate::state::App;
use crate::tally::InputReport;
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
    /// What the rules on the prompt came to.
    pub(crate) input: InputReport,
    /// What its record says of it.
    pub(crate) facts: Facts,
}

/// What a request is bound to, and what its body cannot say.
pub(crate) struct Origin {
    pub(crate) request_id: RequestId,
    pub(crate) tenant: Tenant,
    pub(crate) key: Option<KeyId>,
    pub(crate) gate: Gate,
    pub(crate) signers: RuleSigners,
    pub(crate) body: Bytes,
}

/// The body of an inference route.
pub(crate) trait InferenceRequest: Sized + Send {
    /// # Errors
    /// The first field that cannot be read, by name.
    fn parse(body: &[u8]) -> Result<Self, ApiError>;

    /// The rule sets that the call wants to hold besides those that are bound.
    ///
    /// # Errors
    /// Something that is no name.
    fn named_rulesets(&self) -> Result<Vec<NamedRuleSet>, ApiError>;

    /// # Errors
    /// The first parameter that is missing, out of bounds or not built yet, by name; or a rule
    /// refused the prompt.
    fn validate(
        self,
        app: &App,
        origin: Origin,
    ) -> impl Future<Output = Result<Call, NotSubmitted>> + Send;
}

/// Why a call does not reach the engine.
pub(crate) enum NotSubmitted {
    /// It is none.
    Invalid(ApiError),
    /// A rule refused its prompt.
    Refused(Box<RefusedCall>),
}

/// A call whose prompt was refused.
pub(crate) struct RefusedCall {
    pub(crate) gate: Gate,
    pub(crate) facts: Facts,
    pub(crate) refused: RefusedInput,
}

impl From<ApiError> for NotSubmitted {
    fn from(error: ApiError) -> Self {
        Self::Invalid(error)
    }
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

impl InferenceRequest for ChatRequest {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        Ok(Self {
            common: wire::parse(body)?,
            own: wire::parse(body)?,
        })
    }

    fn named_rulesets(&self) -> Result<Vec<NamedRuleSet>, ApiError> {
        rules::named(&self.common)
    }

    async fn validate(self, app: &App, origin: Origin) -> Result<Call, NotSubmitted> {
        let Self { common, own } = self;
        check_common(app, &common)?;
        let top_logprobs = chat_logprobs(&own)?;
        let messages = messages(own.messages)?;
        let limit = own.max_completion_tokens.or(common.max_tokens);
        let draft = Draft::new(app, Endpoint::Chat, common, origin, top_logprobs, limit)?;
        let (worker, gate) = (app.clone(), draft.origin.gate.clone());
        let prompt = on_worker(move || {
            let (messages, input) = admit_messages(&gate, messages)?;
            let tokens = encode_chat(&worker, &messages)?;
            Ok((vec![tokens], input))
        });
        draft.into_call(app, prompt.await, 1)
    }
}

impl InferenceRequest for CompletionRequest {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        Ok(Self {
            common: wire::parse(body)?,
            own: wire::parse(body)?,
        })
    }

    fn named_rulesets(&self) -> Result<Vec<NamedRuleSet>, ApiError> {
        rules::named(&self.common)
    }

    async fn validate(self, app: &App, origin: Origin) -> Result<Call, NotSubmitted> {
        let Self { common, own } = self;
        check_common(app, &common)?;
        check_completion(&own, &common)?;
        let prompt = own.prompt.ok_or_else(|| required("prompt"))?;
        check_prompt_count(app, &prompt, common.n.unwrap_or(1))?;
        let limit = Some(common.max_tokens.unwrap_or(DEFAULT_COMPLETION_TOKENS));
        let draft = Draft::new(
            app,
            Endpoint::Completions,
            common,
            origin,
            own.logprobs,
            limit,
        )?;
        let (worker, gate, num_prompts) = (app.clone(), draft.origin.gate.clone(), prompt.len());
        let prompts = on_worker(move || {
            let (prompt, input) = admit_prompt(&worker, &gate, prompt)?;
            let tokens = encode_prompts(&worker, prompt)?;
            Ok((tokens, input))
        });
        draft.into_call(app, prompts.await, num_prompts)
    }
}

/// `max_tokens` of a text completion that does not say, as in OpenAI's API.
const DEFAULT_COMPLETION_TOKENS: usize = 16;

/// Everything about a call but its prompts.
struct Draft {
    endpoint: Endpoint,
    fields: CallFields,
    origin: Origin,
    sampling: SamplingParams,
    stop: StopParams,
    max_tokens: Option<usize>,
    logprobs: bool,
    retention: Option<String>,
}

/// The tokens of each prompt, and what the rules on them came to.
type Encoded = Result<(Vec<Vec<TokenId>>, InputReport), NotEncoded>;

impl Draft {
    fn new(
        app: &App,
        endpoint: Endpoint,
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
        let own = fields.admissibility.as_ref();
        let retention = retention(app, own.and_then(|own| own.retention.as_ref()))?;
        Ok(Self {
            endpoint,
            fields,
            origin,
            sampling,
            stop,
            max_tokens,
            logprobs,
            retention,
        })
    }

    fn into_call(
        mut self,
        app: &App,
        encoded: Encoded,
        num_prompts: usize,
    ) -> Result<Call, NotSubmitted> {
        let seeds = self.seeds(num_prompts);
        let (prompts, input) = match encoded {
            Ok(encoded) => encoded,
            Err(NotEncoded::Failed(error)) => return Err(error.into()),
            Err(NotEncoded::Refused(refused)) => {
                let facts = self.facts(&seeds, None);
                let call = RefusedCall {
                    gate: self.origin.gate,
                    facts,
                    refused: *refused,
                };
                return Err(NotSubmitted::Refused(Box::new(call)));
            }
        };
        let facts = self.facts(&seeds, Some(&prompts));
        let choices = self.fields.n.unwrap_or(1);
        let reservation = self.reserve(app, prompts.len() * choices as usize);
        let seeded = prompts.into_iter().zip(seeds);
        let requests: Result<Vec<_>, _> = seeded
            .map(|(prompt, seed)| self.request(app, prompt, seed))
            .collect();
        let options = self.fields.stream_options.unwrap_or_default();
        Ok(Call {
            endpoint: self.endpoint,
            requests: requests?,
            choices_per_prompt: choices as usize,
            gate: self.origin.gate,
            reservation,
            stream: self.fields.stream.unwrap_or(false),
            include_usage: options.include_usage.unwrap_or(false),
            logprobs: self.logprobs,
            end_tokens: self.stop.token_ids,
            input,
            facts,
        })
    }

    /// A seed that was given is that of every prompt, so that each repeats what it gives alone.
    fn seeds(&self, num_prompts: usize) -> Vec<u64> {
        let seed = || self.fields.seed.map_or_else(new_seed, |seed| seed as u64);
        (0..num_prompts).map(|_| seed()).collect()
    }

    /// What the record says, as far as it is known before the call begins.
    fn facts(&self, seeds: &[u64], prompts: Option<&[Vec<TokenId>]>) -> Facts {
        let Origin {
            request_id,
            tenant,
            key,
            gate,
            signers,
            body,
        } = &self.origin;
        Facts {
            request_id: (!request_id.is_given).then(|| request_id.id.clone()),
            endpoint: self.endpoint.path(),
            tenant: *tenant,
            key: key.clone(),
            rulesets: rulesets_used(gate, signers),
            body: body.clone(),
            prompts: prompts.map(<[_]>::to_vec),
            sampling: sampling_used(&self.sampling, seeds),
            choices: self.fields.n.unwrap_or(1) * seeds.len() as u32,
            stream: self.fields.stream.unwrap_or(false),
            retention: self.retention.clone(),
        }
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
        prompt: Vec<TokenId>,
        seed: u64,
    ) -> Result<GenerateRequest, ApiError> {
        let parts = GenerateParts {
            request_id: self.origin.request_id.id.clone(),
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
        GenerateRequest::new(parts, &app.limits).map_err(|error| on_wire(error, self.endpoint))
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
