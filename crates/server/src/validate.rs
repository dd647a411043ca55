//! From the wire to [`GenerateRequest`]: the only way, and where every limit is checked.

use portcullis_engine::{GenerateParts, GenerateRequest, InvalidRequest};
use portcullis_gate::{AdmittedInput, Finding, Gate, Mode, Quota};
use portcullis_store::{KeyId, NamedRuleSet};
use portcullis_text::{Message, RenderOptions, Role};
use portcullis_types::{SamplingParams, StopParams, Tenant, TokenId};
use serde_json::Value;

use crate::budget::{Reservation, may_resample};
use crate::error::ApiError;
use crate::ids::new_seed;
use crate::rules;
use crate::shape::Endpoint;
use crate::state::App;
use crate::wire;
use crate::wire::call::{CallFields, Stop};
use crate::wire::chat::{ChatFields, ChatMessage, Content, Part};
use crate::wire::completion::{CompletionFields, Prompt};

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

fn check_common(app: &App, fields: &CallFields) -> Result<(), ApiError> {
    let model = fields.model.as_deref().ok_or_else(|| required("model"))?;
    if model != app.model.deployment.as_str() {
        return Err(ApiError::no_such_model(model));
    }
    check_unbuilt(fields)?;
    check_choices(app, fields.n.unwrap_or(1))?;
    if fields.stream_options.is_some() && !fields.stream.unwrap_or(false) {
        return Err(ApiError::invalid(
            "stream_options",
            "is only allowed when stream is true",
        ));
    }
    Ok(())
}

/// What clients of this API may send and this server cannot do is refused, never ignored.
fn check_unbuilt(fields: &CallFields) -> Result<(), ApiError> {
    let has_tools = |tools: &Option<Vec<Value>>| tools.as_ref().is_some_and(|all| !all.is_empty());
    if has_tools(&fields.tools) {
        return Err(ApiError::not_built(
            "tools",
            "calling tools is not supported yet",
        ));
    }
    if has_tools(&fields.functions) {
        return Err(ApiError::not_built(
            "functions",
            "calling functions is not supported yet",
        ));
    }
    if fields
        .tool_choice
        .as_ref()
        .is_some_and(|choice| choice != "none")
    {
        return Err(ApiError::not_built(
            "tool_choice",
            "only \"none\" is supported yet",
        ));
    }
    match &fields.response_format {
        Some(format) if format.kind != "text" => Err(ApiError::not_built(
            "response_format",
            "only {\"type\": \"text\"} is supported yet",
        )),
        _ => Ok(()),
    }
}

fn check_choices(app: &App, choices: u32) -> Result<(), ApiError> {
    let max = app.config.max_choices;
    match (1..=max).contains(&choices) {
        true => Ok(()),
        false => Err(ApiError::invalid("n", format!("must be from 1 to {max}"))),
    }
}

fn check_completion(own: &CompletionFields, common: &CallFields) -> Result<(), ApiError> {
    if own.echo.unwrap_or(false) {
        return Err(ApiError::not_built(
            "echo",
            "repeating the prompt is not supported yet",
        ));
    }
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

fn check_prompt_count(app: &App, prompt: &Prompt, choices: u32) -> Result<(), ApiError> {
    let prompts = match prompt {
        Prompt::Text(_) | Prompt::Tokens(_) => 1,
        Prompt::Texts(texts) => texts.len(),
        Prompt::TokenLists(lists) => lists.len(),
    };
    let max = (app.config.max_choices / choices) as usize;
    match prompts {
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
fn check_logprobs(logprobs: Option<u8>, gate: &Gate) -> Result<(), ApiError> {
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
fn check_stop_tokens(fields: &CallFields, gate: &Gate) -> Result<(), ApiError> {
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

/// Lets the rules on prompts look at every message, whoever is said to have written it.
fn admit_messages(
    gate: &Gate,
    mut messages: Vec<Message>,
) -> Result<(Vec<Message>, Vec<Finding>), ApiError> {
    if !gate.reads_input() {
        return Ok((messages, Vec::new()));
    }
    let texts = messages
        .iter_mut()
        .map(|message| std::mem::take(&mut message.content));
    let admitted = admit(gate, texts.collect())?;
    for (message, text) in messages.iter_mut().zip(admitted.texts) {
        message.content = text;
    }
    Ok((messages, admitted.findings))
}

/// Lets the rules on prompts look at every prompt; tokens are read as the text that they are.
fn admit_prompt(
    app: &App,
    gate: &Gate,
    prompt: Prompt,
) -> Result<(Prompt, Vec<Finding>), ApiError> {
    if !gate.reads_input() {
        return Ok((prompt, Vec::new()));
    }
    let read = |tokens: &Vec<TokenId>| app.tokenizer.decode(tokens, false);
    let texts: Vec<String> = match &prompt {
        Prompt::Text(text) => vec![text.clone()],
        Prompt::Texts(texts) => texts.clone(),
        Prompt::Tokens(tokens) => vec![read(tokens)],
        Prompt::TokenLists(lists) => lists.iter().map(read).collect(),
    };
    let admitted = admit(gate, texts.clone())?;
    // Tokens stay as they were sent unless something in them was replaced.
    let prompt = match admitted.texts == texts {
        true => prompt,
        false => Prompt::Texts(admitted.texts),
    };
    Ok((prompt, admitted.findings))
}

fn admit(gate: &Gate, texts: Vec<String>) -> Result<AdmittedInput, ApiError> {
    gate.check_input(texts)
        .map_err(|refused| (&refused.refusal).into())
}

fn chat_logprobs(own: &ChatFields) -> Result<Option<u8>, ApiError> {
    match (own.logprobs.unwrap_or(false), own.top_logprobs) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(ApiError::invalid(
            "top_logprobs",
            "is only allowed when logprobs is true",
        )),
    }
}

fn sampling(app: &App, fields: &CallFields, top_logprobs: u8) -> Result<SamplingParams, ApiError> {
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

fn stop(app: &App, fields: &CallFields) -> StopParams {
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

fn messages(messages: Option<Vec<ChatMessage>>) -> Result<Vec<Message>, ApiError> {
    let messages = messages.ok_or_else(|| required("messages"))?;
    if messages.is_empty() {
        return Err(ApiError::invalid(
            "messages",
            "must hold at least one message",
        ));
    }
    messages
        .into_iter()
        .enumerate()
        .map(|(index, message)| one_message(index, message))
        .collect()
}

fn one_message(index: usize, message: ChatMessage) -> Result<Message, ApiError> {
    let param = || format!("messages.[{index}].content");
    let content = match (message.content, message.role) {
        (Some(Content::Text(text)), _) => text,
        (Some(Content::Parts(parts)), _) => joined(parts)
            .ok_or_else(|| ApiError::invalid(param(), "may hold text parts and no others"))?,
        // An answer that only called tools has no content.
        (None, Role::Assistant) => String::new(),
        (None, _) => return Err(ApiError::invalid(param(), "must be text")),
    };
    Ok(Message {
        // Templates know the older name.
        role: match message.role {
            Role::Developer => Role::System,
            role => role,
        },
        content,
        name: message.name,
        tool_calls: message.tool_calls.unwrap_or_default(),
        tool_call_id: message.tool_call_id,
    })
}

/// As vLLM joins them.
fn joined(parts: Vec<Part>) -> Option<String> {
    let texts: Option<Vec<String>> = parts
        .into_iter()
        .map(|part| part.text.filter(|_| part.kind == "text"))
        .collect();
    Some(texts?.join("\n"))
}

fn encode_chat(app: &App, messages: &[Message]) -> Result<Vec<TokenId>, ApiError> {
    let template = app.template.as_ref().ok_or_else(|| {
        ApiError::bad_request(
            "this model has no chat template; use /v1/completions, or serve a chat model",
        )
    })?;
    let options = RenderOptions {
        add_generation_prompt: true,
        now_unix_s: Some((app.wall)()),
        ..RenderOptions::default()
    };
    let prompt = template.render(messages, options)?;
    Ok(app.tokenizer.encode_prompt(&prompt)?)
}

fn encode_prompts(app: &App, prompt: Prompt) -> Result<Vec<Vec<TokenId>>, ApiError> {
    let encode = |text: String| Ok(app.tokenizer.encode(&text, true)?);
    match prompt {
        Prompt::Text(text) => Ok(vec![encode(text)?]),
        Prompt::Texts(texts) => texts.into_iter().map(encode).collect(),
        Prompt::Tokens(tokens) => Ok(vec![tokens]),
        Prompt::TokenLists(lists) => Ok(lists),
    }
}

/// Templates and tokenizers take a core for as long as the text is long: not on a thread that
/// answers others.
async fn on_worker<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| {
            tracing::error!(%panic, "encoding a prompt panicked");
            Err(ApiError::internal(
                "the server met a bug while it encoded the prompt",
            ))
        })
}

fn required(param: &str) -> ApiError {
    ApiError::invalid(param, "is required").with_code("missing_required_parameter")
}
