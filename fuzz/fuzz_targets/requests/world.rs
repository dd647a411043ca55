//! The server that bodies are sent to: a model that repeats what it is told and may call tools, and
//! one that makes embeddings.

use std::path::Path;

use portcullis_engine::{Embedder, EmbeddingError, EmbeddingLimits, EmbeddingThread};
use portcullis_ledger::ModelDigests;
use portcullis_server::ServedEmbedder;
use portcullis_text::{EncoderTokenizer, ToolFormat};
use portcullis_types::TokenId;

use crate::common::{Server, Setup};

/// The name of the model that makes embeddings.
pub(crate) const EMBEDDER: &str = "encoder";

pub(crate) async fn start() -> Server {
    let mut setup = Setup {
        embedder: Some(embedder()),
        ..Setup::default()
    };
    setup.config.tool_format = Some(ToolFormat::Hermes);
    Server::with(setup).await
}

/// The vector of a text is how long it is.
struct Length;

impl Embedder for Length {
    fn embed(&mut self, texts: &[&[TokenId]]) -> Result<Vec<Vec<f32>>, EmbeddingError> {
        Ok(texts
            .iter()
            .map(|text| vec![text.len() as f32, 1.0])
            .collect())
    }
}

fn embedder() -> ServedEmbedder {
    let limits = EmbeddingLimits {
        max_batched_tokens: 64,
        max_waiting: 8,
        max_waiting_tokens: 1000,
    };
    let (handle, _) = EmbeddingThread::start(limits, Length).unwrap();
    let fixture = "../crates/text/tests/fixtures/word_piece";
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture);
    ServedEmbedder {
        deployment: EMBEDDER.parse().unwrap(),
        root: "encoder".into(),
        max_tokens: 12,
        dimensions: 2,
        vocab_size: 64,
        digests: ModelDigests::default(),
        created_unix: 0,
        tokenizer: EncoderTokenizer::load(&fixture).unwrap(),
        handle,
    }
}
