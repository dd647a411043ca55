//! A call that the engine can run: [`GenerateRequest`], and the only way to make one.

use std::sync::Arc;

use portcullis_gate::Gate;
use portcullis_types::{Priority, SamplingParams, StopParams, Tenant, TokenId};
use thiserror::Error;

/// Stop strings of a call, at most.
pub(crate) const STOP_STRINGS_MAX: usize = 16;
/// Bytes of one stop string, at most: it bounds what is held back for it.
pub(crate) const STOP_STRING_BYTES_MAX: usize = 256;
/// Entries of `stop_token_ids`, at most: each is looked at for every token.
pub(crate) const STOP_TOKEN_IDS_MAX: usize = 256;
/// Entries of `logit_bias`, at most.
pub(crate) const LOGIT_BIAS_MAX: usize = 1024;
/// `top_logprobs`, at most.
pub(crate) const TOP_LOGPROBS_MAX: u8 = 20;

/// What the model and the configuration allow.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Prompt and completion together, in tokens.
    pub max_model_len: usize,
    /// Tokens that the model knows.
    pub vocab_size: usize,
    /// Choices of one call (`n`).
    pub max_choices: u32,
}

/// What a caller asks for, not yet checked.
#[derive(Clone, Debug)]
pub struct GenerateParts {
    /// Names the call in logs.
    pub request_id: String,
    /// The prompt in tokens.
    pub prompt: Vec<TokenId>,
    /// How many completions (`n`).
    pub choices: u32,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// When a completion ends; its `max_tokens` is set from the field below.
    pub stop: StopParams,
    /// Tokens of completion at most; `None` takes what the context leaves.
    pub max_tokens: Option<usize>,
    /// How urgent.
    pub priority: Priority,
    /// Whose prefix cache.
    pub tenant: Tenant,
    /// The rule sets that hold.
    pub gate: Gate,
    /// Asks how likely each token of the prompt was, with so many of the likeliest ones.
    pub prompt_logprobs: Option<u8>,
    /// Control tokens that are part of the text of a completion.
    pub shown: Arc<[TokenId]>,
}

/// A call within all limits.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    pub(crate) request_id: String,
    pub(crate) prompt: Vec<TokenId>,
    pub(crate) choices: u32,
    pub(crate) sampling: SamplingParams,
    pub(crate) stop: Arc<StopParams>,
    pub(crate) priority: Priority,
    pub(crate) tenant: Tenant,
    pub(crate) gate: Gate,
    pub(crate) prompt_logprobs: Option<u8>,
    pub(crate) shown: Arc<[TokenId]>,
}

impl GenerateRequest {
    /// Checks every limit.
    ///
    /// # Errors
    /// The first parameter that is out of bounds, by the name it has on the wire.
    pub fn new(parts: GenerateParts, limits: &Limits) -> Result<Self, InvalidRequest> {
        let max_tokens = check_length(&parts, limits)?;
        check_choices(parts.choices, limits)?;
        check_sampling(&parts.sampling)?;
        check_stop(&parts.stop, max_tokens)?;
        check_tokens("prompt", parts.prompt.iter(), limits)?;
        check_tokens(
            "logit_bias",
            parts.sampling.logit_bias.iter().map(|(t, _)| t),
            limits,
        )?;
        check_tokens("stop_token_ids", parts.stop.token_ids.iter(), limits)?;
        Ok(Self {
            request_id: parts.request_id,
            prompt: parts.prompt,
            choices: parts.choices,
            sampling: parts.sampling,
            stop: Arc::new(StopParams {
                max_tokens,
                ..parts.stop
            }),
            priority: parts.priority,
            tenant: parts.tenant,
            gate: parts.gate,
            prompt_logprobs: parts.prompt_logprobs,
            shown: parts.shown,
        })
    }

    /// Names the call in logs.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Tokens of the prompt.
    pub fn prompt_len(&self) -> usize {
        self.prompt.len()
    }

    /// How many completions the call has.
    pub fn choices(&self) -> u32 {
        self.choices
    }

    /// The longest that a choice can become, in tokens.
    pub(crate) fn max_len(&self) -> usize {
        self.prompt.len() + self.stop.max_tokens
    }
}

fn check_length(parts: &GenerateParts, limits: &Limits) -> Result<usize, InvalidRequest> {
    let prompt = parts.prompt.len();
    if prompt == 0 {
        return Err(out_of_range("prompt", "must hold at least one token"));
    }
    let room = limits.max_model_len.saturating_sub(prompt);
    if room == 0 {
        return Err(InvalidRequest::ContextOverflow {
            max: limits.max_model_len,
            prompt,
        });
    }
    match parts.max_tokens {
        Some(0) => Err(out_of_range("max_tokens", "must be at least 1")),
        Some(asked) if asked > room => Err(InvalidRequest::CompletionOverflow {
            max: limits.max_model_len,
            prompt,
            asked,
        }),
        Some(asked) => Ok(asked),
        None => Ok(room),
    }
}

fn check_choices(choices: u32, limits: &Limits) -> Result<(), InvalidRequest> {
    if choices == 0 || choices > limits.max_choices {
        return Err(out_of_range(
            "n",
            format!("must be from 1 to {}", limits.max_choices),
        ));
    }
    Ok(())
}

fn check_sampling(sampling: &SamplingParams) -> Result<(), InvalidRequest> {
    check_range("temperature", sampling.temperature, 0.0, 2.0)?;
    check_range("min_p", sampling.min_p, 0.0, 1.0)?;
    check_range("presence_penalty", sampling.presence_penalty, -2.0, 2.0)?;
    check_range("frequency_penalty", sampling.frequency_penalty, -2.0, 2.0)?;
    if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
        return Err(out_of_range("top_p", "must be above 0 and at most 1"));
    }
    if !(sampling.repetition_penalty > 0.0 && sampling.repetition_penalty <= 10.0) {
        return Err(out_of_range(
            "repetition_penalty",
            "must be above 0 and at most 10",
        ));
    }
    if sampling.top_k == Some(0) {
        return Err(out_of_range(
            "top_k",
            "must be at least 1; leave it out to keep every token",
        ));
    }
    if sampling.top_logprobs > TOP_LOGPROBS_MAX {
        return Err(out_of_range(
            "top_logprobs",
            format!("must be at most {TOP_LOGPROBS_MAX}"),
        ));
    }
    if sampling.logit_bias.len() > LOGIT_BIAS_MAX {
        return Err(out_of_range(
            "logit_bias",
            format!("holds more than {LOGIT_BIAS_MAX} tokens"),
        ));
    }
    for &(_, bias) in &sampling.logit_bias {
        check_range("logit_bias", bias, -100.0, 100.0)?;
    }
    Ok(())
}

fn check_stop(stop: &StopParams, max_tokens: usize) -> Result<(), InvalidRequest> {
    if stop.min_tokens > max_tokens {
        return Err(out_of_range(
            "min_tokens",
            format!("is above max_tokens ({max_tokens})"),
        ));
    }
    if stop.strings.len() > STOP_STRINGS_MAX {
        return Err(out_of_range(
            "stop",
            format!("holds more than {STOP_STRINGS_MAX} strings"),
        ));
    }
    if stop.token_ids.len() > STOP_TOKEN_IDS_MAX {
        let bound = format!("holds more than {STOP_TOKEN_IDS_MAX} tokens");
        return Err(out_of_range("stop_token_ids", bound));
    }
    for string in &stop.strings {
        if string.is_empty() || string.len() > STOP_STRING_BYTES_MAX {
            let bound = format!("each string must have 1 to {STOP_STRING_BYTES_MAX} bytes");
            return Err(out_of_range("stop", bound));
        }
    }
    Ok(())
}

fn check_range(param: &'static str, value: f32, min: f32, max: f32) -> Result<(), InvalidRequest> {
    // Written so that NaN fails.
    if value >= min && value <= max {
        return Ok(());
    }
    Err(out_of_range(param, format!("must be from {min} to {max}")))
}

fn check_tokens<'a>(
    param: &'static str,
    mut tokens: impl Iterator<Item = &'a TokenId>,
    limits: &Limits,
) -> Result<(), InvalidRequest> {
    match tokens.find(|&&token| token as usize >= limits.vocab_size) {
        Some(&token) => Err(InvalidRequest::UnknownToken {
            param,
            token,
            vocab_size: limits.vocab_size,
        }),
        None => Ok(()),
    }
}

fn out_of_range(param: &'static str, message: impl Into<String>) -> InvalidRequest {
    InvalidRequest::OutOfRange {
        param,
        message: message.into(),
    }
}

/// Why a call cannot run: the caller's mistake, by parameter.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidRequest {
    /// The prompt leaves no room for a single token.
    #[error(
        "This model's maximum context length is {max} tokens. However, your messages resulted in \
         {prompt} tokens."
    )]
    ContextOverflow {
        /// Context length of the model.
        max: usize,
        /// Tokens of the prompt.
        prompt: usize,
    },
    /// Prompt and `max_tokens` together are too long.
    #[error(
        "This model's maximum context length is {max} tokens. However, you requested {} tokens \
         ({prompt} in the messages, {asked} in the completion).", prompt.saturating_add(*asked)
    )]
    CompletionOverflow {
        /// Context length of the model.
        max: usize,
        /// Tokens of the prompt.
        prompt: usize,
        /// `max_tokens` of the call.
        asked: usize,
    },
    /// A number or a list is out of bounds.
    #[error("{param} {message}")]
    OutOfRange {
        /// The parameter on the wire.
        param: &'static str,
        /// What it must be.
        message: String,
    },
    /// A token that the model does not know.
    #[error("{param} holds token {token}; the vocabulary has {vocab_size} tokens")]
    UnknownToken {
        /// The parameter on the wire.
        param: &'static str,
        /// The token.
        token: TokenId,
        /// Tokens that the model knows.
        vocab_size: usize,
    },
}

impl InvalidRequest {
    /// The parameter at fault, as the wire names it.
    pub fn param(&self) -> &'static str {
        match self {
            Self::ContextOverflow { .. } => "messages",
            Self::CompletionOverflow { .. } => "max_tokens",
            Self::OutOfRange { param, .. } | Self::UnknownToken { param, .. } => param,
        }
    }
}
