//! [`CandleEmbedder`]: an encoder behind the engine's `Embedder`.

use std::num::NonZero;
use std::thread::available_parallelism;

use portcullis_engine::{Embedder, EmbeddingError};
use portcullis_models::Encoder;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Runs an encoder on the CPU.
///
/// Its threads are its own, half as many as there are cores: the model that answers never waits for
/// one of them in a queue, and keeps the other half.
pub struct CandleEmbedder {
    encoder: Encoder,
    threads: ThreadPool,
}

impl CandleEmbedder {
    /// Takes the encoder.
    ///
    /// # Errors
    /// The operating system gives no threads.
    pub fn new(encoder: Encoder) -> Result<Self, ThreadPoolBuildError> {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let threads = ThreadPoolBuilder::new()
            .num_threads((cores / 2).max(1))
            .thread_name(|number| format!("embedding-{number}"))
            .build()?;
        Ok(Self { encoder, threads })
    }
}

impl Embedder for CandleEmbedder {
    fn embed(&mut self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, EmbeddingError> {
        let encoder = &self.encoder;
        let vectors = self.threads.install(|| encoder.embed(texts));
        vectors.map_err(|error| EmbeddingError::Failed {
            message: error.to_string(),
        })
    }
}
