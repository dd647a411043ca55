//! The model's tokens as grammars see them, prepared when the first rule asks for them.

use std::sync::{Arc, OnceLock};

use portcullis_gate::{Gate, Vocabulary, VocabularyError};

use crate::error::ApiError;
use crate::state::App;

/// Made once: a large vocabulary takes a moment.
#[derive(Default)]
pub(crate) struct VocabularyCell(OnceLock<Result<Arc<Vocabulary>, VocabularyError>>);

/// Prepares the rules of `gate` that are about the model's tokens.
///
/// # Errors
/// The model has no end token, or a grammar is beyond its limits with this model: then nothing is
/// generated.
pub(crate) async fn for_model(app: &App, gate: Gate) -> Result<Gate, ApiError> {
    if !gate.needs_model() {
        return Ok(gate);
    }
    let app = Arc::clone(app);
    let prepared = tokio::task::spawn_blocking(move || prepare(&app, gate)).await;
    prepared.unwrap_or_else(|panic| {
        tracing::error!(%panic, "preparing a rule set for the model panicked");
        Err(unavailable())
    })
}

fn prepare(app: &App, gate: Gate) -> Result<Gate, ApiError> {
    let vocabulary = prepared(app).map_err(|_| unavailable())?;
    gate.for_model(vocabulary).map_err(|error| {
        tracing::error!(%error, "a grammar cannot be used with this model");
        unavailable()
    })
}

/// The model's tokens, for what a caller asks its answer to be.
///
/// # Errors
/// The model has no end token: a constrained answer could never end.
pub(crate) fn of_model(app: &App) -> Result<Arc<Vocabulary>, ApiError> {
    let known = prepared(app).map(Arc::clone);
    known.map_err(|error| ApiError::internal(&error.to_string()).with_code("no_grammars"))
}

fn prepared(app: &App) -> Result<&Arc<Vocabulary>, &VocabularyError> {
    let vocabulary = app.vocabulary.0.get_or_init(|| {
        let bytes = |token| app.tokenizer.completion_bytes(token);
        Vocabulary::new(app.model.vocab_size, bytes, &app.model.end_tokens).map(Arc::new)
    });
    vocabulary.as_ref().inspect_err(|error| {
        tracing::error!(%error, "grammars cannot be used with this model");
    })
}

/// Fail closed: what must be constrained and cannot be is not generated.
fn unavailable() -> ApiError {
    let message = "a rule set that holds for this call cannot be used with this model, so nothing \
                   is generated; the server's log says why";
    ApiError::internal(message).with_code("ruleset_unavailable")
}
