//! From the wire to [`EmbeddingCall`].

use portcullis_gate::Gate;
use portcullis_ledger::SamplingUsed;
use portcullis_store::{DeploymentName, NamedRuleSet};
use portcullis_types::TokenId;

use super::{EmbeddingCall, Format};
use crate::config::ServedEmbedder;
use crate::error::ApiError;
use crate::params::required;
use crate::prompt::{NotEncoded, admit_prompt, on_worker};
use crate::record::{Facts, OtherModel, retention, rulesets_used};
use crate::rules;
use crate::state::App;
use crate::tally::InputReport;
use crate::validate::{NotSubmitted, Origin, RefusedCall};
use crate::wire;
use crate::wire::call::ModelFields;
use crate::wire::completion::Prompt;
use crate::wire::embedding::EmbeddingFields;

/// A parsed `/v1/embeddings` body for the model that makes them.
pub(crate) struct EmbeddingRequest {
    common: ModelFields,
    own: EmbeddingFields,
    embedder: ServedEmbedder,
}

impl EmbeddingRequest {
    /// # Errors
    /// The first field that cannot be read, by name; or no such model makes embeddings here.
    pub(crate) fn parse(app: &App, body: &[u8]) -> Result<Self, ApiError> {
        let (common, own): (ModelFields, _) = (wire::parse(body)?, wire::parse(body)?);
        let model = common.model.as_deref().ok_or_else(|| required("model"))?;
        Ok(Self {
            embedder: find(app, model)?.clone(),
            common,
            own,
        })
    }

    /// What rule sets bind to.
    pub(crate) fn deployment(&self) -> &DeploymentName {
        &self.embedder.deployment
    }

    /// The rule sets that the call wants to hold besides those that are bound.
    ///
    /// # Errors
    /// Something that is no name.
    pub(crate) fn named_rulesets(&self) -> Result<Vec<NamedRuleSet>, ApiError> {
        rules::named(self.common.admissibility.as_ref())
    }

    /// # Errors
    /// The first parameter that is missing, out of bounds or not possible, by name; or a rule
    /// refused a text.
    pub(crate) async fn validate(
        self,
        app: &App,
        origin: Origin,
    ) -> Result<EmbeddingCall, NotSubmitted> {
        let format = format(self.own.encoding_format.as_deref())?;
        check_dimensions(self.own.dimensions, &self.embedder)?;
        let own = self.common.admissibility.as_ref();
        let retention = retention(app, own.and_then(|own| own.retention.as_ref()))?;
        let input = self.own.input.ok_or_else(|| required("input"))?;
        check_count(&input, app.config.max_embedding_texts)?;
        let max_tokens = app.config.max_embedding_tokens;
        let (embedder, gate) = (self.embedder.clone(), origin.gate.clone());
        let encoded = on_worker(move || encode(&embedder, &gate, input, max_tokens)).await;
        let facts = |texts| facts(&origin, &self.embedder, texts, retention);
        match encoded {
            Ok((texts, input)) => Ok(EmbeddingCall {
                model: self.embedder.deployment.to_string(),
                facts: facts(Some(texts.clone())),
                texts,
                format,
                gate: origin.gate,
                input,
            }),
            Err(NotEncoded::Failed(error)) => Err(error.into()),
            Err(NotEncoded::Refused(refused)) => {
                let facts = facts(None);
                let call = RefusedCall {
                    gate: origin.gate,
                    facts,
                    refused: *refused,
                };
                Err(NotSubmitted::Refused(Box::new(call)))
            }
        }
    }
}

fn find<'a>(app: &'a App, model: &str) -> Result<&'a ServedEmbedder, ApiError> {
    let of_this_name = |embedder: &&ServedEmbedder| embedder.deployment.as_str() == model;
    if let Some(embedder) = app.embedder.as_ref().filter(of_this_name) {
        return Ok(embedder);
    }
    if model != app.model.deployment.as_str() {
        return Err(ApiError::no_such_model(model));
    }
    let said = match &app.embedder {
        Some(embedder) => format!(
            "{model} answers and makes no embeddings; {} does",
            embedder.deployment
        ),
        None => format!(
            "{model} answers and makes no embeddings; a server started with --embedding-model does"
        ),
    };
    Err(ApiError::invalid("model", said))
}

fn format(asked: Option<&str>) -> Result<Format, ApiError> {
    match asked {
        None | Some("float") => Ok(Format::Numbers),
        Some("base64") => Ok(Format::Base64),
        Some(_) => Err(ApiError::invalid(
            "encoding_format",
            "must be float or base64",
        )),
    }
}

/// The beginning of a vector means something only where the model was trained for it.
fn check_dimensions(asked: Option<usize>, embedder: &ServedEmbedder) -> Result<(), ApiError> {
    match asked {
        Some(asked) if asked != embedder.dimensions => Err(ApiError::invalid(
            "dimensions",
            format!(
                "must be {}, or be left out: the vectors of {} cannot be shortened",
                embedder.dimensions, embedder.deployment
            ),
        )),
        _ => Ok(()),
    }
}

fn check_count(input: &Prompt, max: usize) -> Result<(), ApiError> {
    match input.len() {
        0 => Err(ApiError::invalid("input", "must hold at least one text")),
        texts if texts > max => Err(ApiError::invalid(
            "input",
            format!("holds {texts} texts; it may hold {max}"),
        )),
        _ => Ok(()),
    }
}

/// The tokens of each text, past the rules on prompts.
fn encode(
    embedder: &ServedEmbedder,
    gate: &Gate,
    input: Prompt,
    max_tokens: usize,
) -> Result<(Vec<Vec<TokenId>>, InputReport), NotEncoded> {
    check_texts(embedder, &input)?;
    let read = |tokens: &[TokenId]| embedder.tokenizer.decode(tokens, true);
    let (input, report) = admit_prompt(read, gate, input)?;
    let is_list = !matches!(input, Prompt::Text(_) | Prompt::Tokens(_));
    let texts = tokens(embedder, input)?;
    for (index, text) in texts.iter().enumerate() {
        if text.len() > embedder.max_tokens {
            return Err(too_long(embedder, &param(is_list, index), text.len()).into());
        }
    }
    let total: usize = texts.iter().map(Vec::len).sum();
    if total > max_tokens {
        let said = format!("has {total} tokens over all texts; it may have {max_tokens}");
        return Err(ApiError::invalid("input", said).into());
    }
    Ok((texts, report))
}

fn tokens(embedder: &ServedEmbedder, input: Prompt) -> Result<Vec<Vec<TokenId>>, ApiError> {
    let encode = |text: String| Ok(embedder.tokenizer.encode(&text)?);
    match input {
        Prompt::Text(text) => Ok(vec![encode(text)?]),
        Prompt::Texts(texts) => texts.into_iter().map(encode).collect(),
        Prompt::Tokens(tokens) => Ok(vec![tokens]),
        Prompt::TokenLists(lists) => Ok(lists),
    }
}

/// Each text says something, in words or in tokens that the model has.
fn check_texts(embedder: &ServedEmbedder, input: &Prompt) -> Result<(), ApiError> {
    let check_text = |param: String, text: &str| match text.is_empty() {
        true => Err(ApiError::invalid(param, "must not be empty")),
        false => Ok(()),
    };
    let check_tokens = |param: String, tokens: &[TokenId]| {
        let is_unknown = |id: &&TokenId| **id as usize >= embedder.vocab_size;
        match tokens.iter().find(is_unknown) {
            _ if tokens.is_empty() => Err(ApiError::invalid(param, "must not be empty")),
            Some(id) => {
                let said = format!("{id} is no token of {}", embedder.deployment);
                Err(ApiError::invalid(param, said))
            }
            None => Ok(()),
        }
    };
    match input {
        Prompt::Text(text) => check_text(param(false, 0), text),
        Prompt::Tokens(tokens) => check_tokens(param(false, 0), tokens),
        Prompt::Texts(texts) => (0..)
            .zip(texts)
            .try_for_each(|(index, text)| check_text(param(true, index), text)),
        Prompt::TokenLists(lists) => (0..)
            .zip(lists)
            .try_for_each(|(index, tokens)| check_tokens(param(true, index), tokens)),
    }
}

fn param(is_list: bool, index: usize) -> String {
    match is_list {
        true => format!("input.[{index}]"),
        false => "input".to_owned(),
    }
}

/// Nothing is cut off: half a text would be found for what it does not say.
fn too_long(embedder: &ServedEmbedder, param: &str, tokens: usize) -> ApiError {
    let max = embedder.max_tokens;
    let message = format!(
        "{param}: This model's maximum context length is {max} tokens. However, this text has \
         {tokens} tokens; send it in parts."
    );
    ApiError::bad_request(message)
        .blaming(param)
        .with_code("context_length_exceeded")
}

fn facts(
    origin: &Origin,
    embedder: &ServedEmbedder,
    texts: Option<Vec<Vec<TokenId>>>,
    retention: Option<String>,
) -> Facts {
    let Origin {
        request_id,
        tenant,
        key,
        gate,
        signers,
        body,
    } = origin;
    Facts {
        request_id: (!request_id.is_given).then(|| request_id.id.clone()),
        endpoint: "/v1/embeddings",
        tenant: *tenant,
        key: key.clone(),
        rulesets: rulesets_used(gate, signers),
        body: body.clone(),
        prompts: texts,
        // Nothing is drawn.
        sampling: SamplingUsed::default(),
        choices: 0,
        stream: false,
        retention,
        model: Some(OtherModel {
            deployment: embedder.deployment.to_string(),
            digests: embedder.digests.clone(),
        }),
    }
}
