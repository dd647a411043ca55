//! From what an endpoint asks for to [`GenerateRequest`]: the only way. `ask` reads the wire,
//! `params` checks what is asked for, `prompt` takes the prompts past their rules.

use std::sync::Arc;

use axum::body::Bytes;
use portcullis_engine::{GenerateParts, GenerateRequest, InvalidRequest, Limits};
use portcullis_gate::{AnswerForm, Gate, Quota, RefusedInput};
use portcullis_store::KeyId;
use portcullis_types::{SamplingParams, StopParams, Tenant, TokenId};

use crate::budget::{Reservation, may_resample};
use crate::error::ApiError;
use crate::ids::new_seed;
use crate::middleware::RequestId;
use crate::params::{check_logprobs, check_stop_tokens, sampling, stop};
use crate::prompt::NotEncoded;
use crate::record::{Facts, retention, rulesets_used, sampling_used};
use crate::rules::RuleSigners;
use crate::shape::Shape;
use crate::state::App;
use crate::tally::InputReport;
use crate::tools::AnswerReader;
use crate::wire::call::{AdmissibilityFields, CallFields};

/// A call within all limits: what is handed to the engine and how it is to be answered.
pub(crate) struct Call {
    pub(crate) telling: Telling,
    /// One for each prompt.
    pub(crate) requests: Vec<GenerateRequest>,
    pub(crate) choices_per_prompt: usize,
    pub(crate) gate: Gate,
    /// What the gate may spend on it.
    pub(crate) reservation: Reservation,
    pub(crate) stream: bool,
    /// Whether the answer tells what the gate took.
    pub(crate) tells_timings: bool,
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

    /// What the call asks of the gate.
    fn admissibility(&self) -> Option<&AdmissibilityFields>;

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

/// How many tokens an answer may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxTokens {
    /// `None`: what the context leaves.
    tokens: Option<usize>,
    /// Whether more than the context leaves is cut down to it, and not refused.
    is_bound: bool,
    /// The field to blame for a prompt that is too long.
    prompt_param: &'static str,
}

impl MaxTokens {
    pub(crate) fn asked(tokens: Option<usize>) -> Self {
        Self {
            tokens,
            is_bound: false,
            prompt_param: "messages",
        }
    }

    pub(crate) fn at_most(tokens: Option<usize>) -> Self {
        Self {
            is_bound: true,
            ..Self::asked(tokens)
        }
    }

    pub(crate) fn blaming(self, prompt_param: &'static str) -> Self {
        Self {
            prompt_param,
            ..self
        }
    }

    fn blame(self, error: InvalidRequest) -> ApiError {
        match error {
            // The words that Anthropic's clients know it by.
            InvalidRequest::ContextOverflow { max, prompt } if self.is_bound => {
                let said = format!("prompt is too long: {prompt} tokens > {max} maximum");
                let error = ApiError::bad_request(said).with_code("context_length_exceeded");
                error.blaming(self.prompt_param)
            }
            InvalidRequest::ContextOverflow { .. } => {
                ApiError::from(error).blaming(self.prompt_param)
            }
            error => error.into(),
        }
    }

    fn for_prompt(self, prompt: &[TokenId], limits: &Limits) -> Option<usize> {
        // Where there is no room at all, the prompt is at fault.
        let room = limits.max_model_len.saturating_sub(prompt.len()).max(1);
        match self.is_bound {
            true => self.tokens.map(|tokens| tokens.min(room)),
            false => self.tokens,
        }
    }
}

/// Everything about a call but its prompts.
pub(crate) struct Draft {
    path: &'static str,
    fields: CallFields,
    origin: Origin,
    sampling: SamplingParams,
    stop: StopParams,
    max_tokens: MaxTokens,
    retention: Option<String>,
    /// Log-probabilities of the prompt, if they are asked for.
    prompt_logprobs: Option<u8>,
    /// Control tokens that are part of the answer's text.
    shown: Arc<[TokenId]>,
}

/// What is made of a call on a worker.
pub(crate) struct Prepared {
    /// The tokens of each prompt.
    pub(crate) prompts: Vec<Vec<TokenId>>,
    /// What the rules on them came to.
    pub(crate) input: InputReport,
    /// What an answer must be.
    pub(crate) form: Option<AnswerForm>,
}

/// How the answer is told.
pub(crate) struct Telling {
    pub(crate) shape: Box<dyn Shape>,
    /// Reads each choice.
    pub(crate) reader: AnswerReader,
}

impl Draft {
    pub(crate) fn new(
        app: &App,
        path: &'static str,
        fields: CallFields,
        origin: Origin,
        logprobs: Option<u8>,
        max_tokens: MaxTokens,
    ) -> Result<Self, ApiError> {
        check_logprobs(logprobs, &origin.gate)?;
        check_stop_tokens(&fields, &origin.gate)?;
        let sampling = sampling(app, &fields, logprobs.unwrap_or(0))?;
        let stop = stop(app, &fields);
        let own = fields.admissibility.as_ref();
        let retention = retention(app, own.and_then(|own| own.retention.as_ref()))?;
        Ok(Self {
            path,
            fields,
            origin,
            sampling,
            stop,
            max_tokens,
            retention,
            prompt_logprobs: None,
            shown: Arc::default(),
        })
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.origin.gate
    }

    /// Tokens that end an answer and are no part of it.
    pub(crate) fn end_tokens(&self) -> &[TokenId] {
        &self.stop.token_ids
    }

    /// Makes these control tokens text of the answer, as far as the model has them.
    pub(crate) fn show(&mut self, app: &App, names: &[&str]) {
        let tokens = names.iter().filter_map(|name| app.tokenizer.token_id(name));
        self.shown = tokens.collect();
    }

    /// Asks for log-probabilities of the prompt, with so many of the likeliest tokens.
    pub(crate) fn score_prompt(&mut self, top: Option<u8>) {
        self.prompt_logprobs = top;
    }

    pub(crate) fn into_call(
        mut self,
        app: &App,
        prepared: Result<Prepared, NotEncoded>,
        num_prompts: usize,
        telling: Telling,
    ) -> Result<Call, NotSubmitted> {
        let seeds = self.seeds(num_prompts);
        let prepared = match prepared {
            Ok(prepared) => prepared,
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
        let facts = self.facts(&seeds, Some(&prepared.prompts));
        let choices = self.fields.n.unwrap_or(1);
        let reservation = self.reserve(app, prepared.prompts.len() * choices as usize);
        if let Some(form) = prepared.form {
            self.origin.gate = self.origin.gate.with_form(form);
        }
        let seeded = prepared.prompts.into_iter().zip(seeds);
        let requests: Result<Vec<_>, _> = seeded
            .map(|(prompt, seed)| self.request(app, prompt, seed))
            .collect();
        Ok(Call {
            telling,
            requests: requests?,
            choices_per_prompt: choices as usize,
            gate: self.origin.gate,
            reservation,
            stream: self.fields.stream.unwrap_or(false),
            tells_timings: (self.fields.admissibility.as_ref()).is_some_and(|own| own.timings),
            input: prepared.input,
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
            endpoint: self.path,
            tenant: *tenant,
            key: key.clone(),
            rulesets: rulesets_used(gate, signers),
            body: body.clone(),
            prompts: prompts.map(<[_]>::to_vec),
            sampling: sampling_used(&self.sampling, seeds),
            choices: self.fields.n.unwrap_or(1) * seeds.len() as u32,
            stream: self.fields.stream.unwrap_or(false),
            retention: self.retention.clone(),
            model: None,
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
        let max_tokens = self.max_tokens.for_prompt(&prompt, &app.limits);
        let parts = GenerateParts {
            request_id: self.origin.request_id.id.clone(),
            prompt,
            choices: self.fields.n.unwrap_or(1),
            sampling: SamplingParams {
                seed,
                ..self.sampling.clone()
            },
            stop: self.stop.clone(),
            max_tokens,
            prompt_logprobs: self.prompt_logprobs,
            shown: Arc::clone(&self.shown),
            priority: self.fields.priority.unwrap_or_default(),
            tenant: self.origin.tenant,
            gate: self.origin.gate.clone(),
        };
        GenerateRequest::new(parts, &app.limits).map_err(|error| self.max_tokens.blame(error))
    }
}
