//! The parameters of a call: what may be asked for here, and what it means to the engine.

use portcullis_gate::{Gate, Mode};
use portcullis_types::{SamplingParams, StopParams};

use crate::error::ApiError;
use crate::state::App;
use crate::wire::call::{CallFields, Stop};
use crate::wire::completion::{CompletionFields, Prompt};

pub(crate) fn check_model(app: &App, model: Option<&str>) -> Result<(), ApiError> {
    let model = model.ok_or_else(|| required("model"))?;
    match model == app.model.deployment.as_str() {
        true => Ok(()),
        false => Err(ApiError::no_such_model(model)),
    }
}

pub(crate) fn check_common(app: &App, fields: &CallFields) -> Result<(), ApiError> {
    check_model(app, fields.model.as_deref())?;
    check_choices(app, fields.n.unwrap_or(1))?;
    if fields.stream_options.is_some() && !fields.stream.unwrap_or(false) {
        return Err(ApiError::invalid(
            "stream_options",
            "is only allowed when stream is true",
        ));
    }
    Ok(())
}

fn check_choices(app: &App, choices: u32) -> Result<(), ApiError> {
    let max = app.config.max_choices;
    match (1..=max).contains(&choices) {
        true => Ok(()),
        false => Err(ApiError::invalid("n", format!("must be from 1 to {max}"))),
    }
}

pub(crate) fn check_completion(
    own: &CompletionFields,
    common: &CallFields,
) -> Result<(), ApiError> {
    if own
        .best_of
        .is_some_and(|best_of| best_of != common.n.unwrap_or(1))
    {
        return Err(ApiError::not_built(
            "best_of",
            "must equal n, or be left out",
        ));
    }
    if own.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
        return Err(ApiError::not_built(
            "suffix",
            "filling in the middle is not supported yet",
        ));
    }
    Ok(())
}

pub(crate) fn check_prompt_count(app: &App, prompt: &Prompt, choices: u32) -> Result<(), ApiError> {
    let max = (app.config.max_choices / choices) as usize;
    match prompt.len() {
        0 => Err(ApiError::invalid("prompt", "must hold at least one prompt")),
        prompts if prompts > max => Err(ApiError::invalid(
            "prompt",
            format!("holds {prompts} prompts; with n = {choices} it may hold {max}"),
        )),
        _ => Ok(()),
    }
}

/// Log-probabilities name tokens that no rule has judged: alternatives, and tokens whose text a stop
/// string cut off. Under an enforced rule set nothing unjudged leaves.
pub(crate) fn check_logprobs(logprobs: Option<u8>, gate: &Gate) -> Result<(), ApiError> {
    match enforced(gate).filter(|_| logprobs.is_some()) {
        Some(set) => Err(ApiError::invalid(
            "logprobs",
            format!(
                "is not answered while a rule set is enforced ({set}): log-probabilities would \
                 tell of text that it has not judged"
            ),
        )),
        None => Ok(()),
    }
}

/// Where an answer ends with a token of the caller's choice, the end tells which token came next,
/// also where a rule would have replaced it.
pub(crate) fn check_stop_tokens(fields: &CallFields, gate: &Gate) -> Result<(), ApiError> {
    let asks = fields
        .stop_token_ids
        .as_ref()
        .is_some_and(|ids| !ids.is_empty());
    match enforced(gate).filter(|_| asks) {
        Some(set) => Err(ApiError::invalid(
            "stop_token_ids",
            format!(
                "is not possible while a rule set is enforced ({set}): it would tell of tokens \
                 that are not released; use `stop`"
            ),
        )),
        None => Ok(()),
    }
}

/// The name of the first rule set that acts.
fn enforced(gate: &Gate) -> Option<&str> {
    let mut enforced = gate.sets().iter().filter(|set| set.mode() == Mode::Enforce);
    enforced.next().map(|set| set.set().name())
}

pub(crate) fn chat_logprobs(
    logprobs: Option<bool>,
    top_logprobs: Option<u8>,
) -> Result<Option<u8>, ApiError> {
    match (logprobs.unwrap_or(false), top_logprobs) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(ApiError::invalid(
            "top_logprobs",
            "is only allowed when logprobs is true",
        )),
    }
}

pub(crate) fn sampling(
    app: &App,
    fields: &CallFields,
    top_logprobs: u8,
) -> Result<SamplingParams, ApiError> {
    let defaults = &app.model.defaults;
    let bias = fields.logit_bias.iter().flatten();
    Ok(SamplingParams {
        temperature: fields.temperature.unwrap_or(defaults.temperature),
        top_k: match fields.top_k {
            None => defaults.top_k,
            Some(top_k) => checked_top_k(top_k)?,
        },
        top_p: fields.top_p.unwrap_or(defaults.top_p),
        min_p: fields.min_p.unwrap_or(defaults.min_p),
        presence_penalty: fields.presence_penalty.unwrap_or(0.0),
        frequency_penalty: fields.frequency_penalty.unwrap_or(0.0),
        repetition_penalty: fields
            .repetition_penalty
            .unwrap_or(defaults.repetition_penalty),
        seed: 0,
        logit_bias: bias.map(|(&token, &bias)| (token, bias)).collect(),
        top_logprobs,
    })
}

/// In vLLM's API, 0 and -1 keep every token.
fn checked_top_k(top_k: i64) -> Result<Option<u32>, ApiError> {
    match (top_k, u32::try_from(top_k)) {
        (-1 | 0, _) => Ok(None),
        (_, Ok(top_k)) => Ok(Some(top_k)),
        _ => Err(ApiError::invalid(
            "top_k",
            "must be at least 1, or -1 to keep every token",
        )),
    }
}

pub(crate) fn stop(app: &App, fields: &CallFields) -> StopParams {
    let model_ends = match fields.ignore_eos.unwrap_or(false) {
        true => &[],
        false => app.model.end_tokens.as_slice(),
    };
    let asked = fields.stop_token_ids.iter().flatten();
    StopParams {
        // Set by the engine from the call's own limit and the room in the context.
        max_tokens: 0,
        min_tokens: fields.min_tokens.unwrap_or(0),
        strings: match &fields.stop {
            None => Vec::new(),
            Some(Stop::One(string)) => vec![string.clone()],
            Some(Stop::Many(strings)) => strings.clone(),
        },
        token_ids: model_ends.iter().chain(asked).copied().collect(),
    }
}

pub(crate) fn required(param: &str) -> ApiError {
    ApiError::invalid(param, "is required").with_code("missing_required_parameter")
}
