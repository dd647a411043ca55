//! Embeddings: from the wire to a call, past the rules on prompts, and from its vectors to its
//! answer. A call is on record like every other; it has no choices.

mod request;
mod running;

use axum::Json;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_gate::Gate;
use portcullis_ledger::Outcome;
use portcullis_types::TokenId;

pub(crate) use request::EmbeddingRequest;
use running::Running;

use crate::answer::Verdict;
use crate::error::{ApiError, with_record};
use crate::limits::Place;
use crate::prompt::on_worker;
use crate::record::Facts;
use crate::state::App;
use crate::tally::{InputReport, Tally};
use crate::wire::embedding::{Embedding, EmbeddingUsage, Embeddings, Vector};

/// A call within all limits.
pub(crate) struct EmbeddingCall {
    pub(crate) model: String,
    pub(crate) texts: Vec<Vec<TokenId>>,
    pub(crate) format: Format,
    pub(crate) gate: Gate,
    /// What the rules on the texts came to.
    pub(crate) input: InputReport,
    /// What its record says of it.
    pub(crate) facts: Facts,
}

impl EmbeddingCall {
    /// Over all texts.
    pub(crate) fn num_tokens(&self) -> u64 {
        self.texts.iter().map(|text| text.len() as u64).sum()
    }
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Numbers,
    Base64,
}

/// Computes the vectors of a call and answers with them, once the call is on record.
///
/// # Errors
/// The queue is full, the texts cannot be computed, or the call cannot be recorded.
pub(crate) async fn answer(
    app: &App,
    call: EmbeddingCall,
    place: Place,
) -> Result<Response, ApiError> {
    let meter = place.meter();
    let EmbeddingCall {
        model,
        texts,
        format,
        gate,
        input,
        facts,
    } = call;
    let mut tally = Tally::new(&gate, 1, input);
    for (number, text) in texts.iter().enumerate() {
        tally.note_prompt(number, text.len());
    }
    let mut running = Running::submit(app, texts, &facts, tally, place)?;
    let record_id = running.record_id().cloned();
    let named = |error: ApiError| error.recorded_as(record_id.as_ref());
    let vectors = running.vectors().await.map_err(named)?;
    let tally = running.close(Outcome::Finished).await.map_err(named)?;
    let prompt_tokens = tally.usage().prompt_tokens;
    let admissibility = Verdict::new(&gate, false).told(&tally, record_id.as_ref());
    // A large answer takes a core for a while: not on a thread that answers others.
    let response = on_worker(move || {
        let answer = Embeddings {
            object: "list",
            data: written(vectors, format),
            model,
            usage: EmbeddingUsage {
                prompt_tokens,
                total_tokens: prompt_tokens,
            },
            admissibility,
        };
        Ok(Json(answer).into_response())
    });
    let response = with_record(response.await?, record_id.as_ref());
    Ok(match meter {
        Some(meter) => meter.note_on(response),
        None => response,
    })
}

fn written(vectors: Vec<Vec<f32>>, format: Format) -> Vec<Embedding> {
    let embeddings = vectors.into_iter().enumerate();
    let embeddings = embeddings.map(|(index, vector)| Embedding {
        object: "embedding",
        index,
        embedding: match format {
            Format::Numbers => Vector::Numbers(vector),
            Format::Base64 => Vector::Base64(base64_of(&vector)),
        },
    });
    embeddings.collect()
}

fn base64_of(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|n| n.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}
