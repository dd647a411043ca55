//! The model that makes embeddings, beside the one that answers: found, loaded, put on its thread.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use portcullis_engine::{EmbeddingLimits, EmbeddingThread};
use portcullis_ledger::ModelDigests;
use portcullis_models::{Encoder, EncoderConfig};
use portcullis_runner::CandleEmbedder;
use portcullis_server::ServedEmbedder;
use portcullis_store::DeploymentName;
use portcullis_text::EncoderTokenizer;

use crate::clock::unix_now;
use crate::config::{Config, HubConfig, setting};
use crate::model::{deployment_of, locate};
use crate::model_digests;

/// Tokens of one batch. A call that comes while one is computed waits for its end.
const MAX_BATCHED_TOKENS: usize = 1024;
/// Tokens of all calls that wait: a few of the largest.
const MAX_WAITING_TOKENS: usize = 1 << 20;

/// A folder with an encoder, and everything read but its weights.
pub(crate) struct EmbeddingModel {
    dir: PathBuf,
    root: String,
    deployment: DeploymentName,
    shape: EncoderConfig,
    tokenizer: EncoderTokenizer,
}

impl EmbeddingModel {
    /// Finds the configured model, if there is one, and fetches it if it is on the hub. `taken` is
    /// the name of the model that answers.
    ///
    /// # Errors
    /// It is not there, none that can be served, or its name is taken.
    pub(crate) fn find(config: &Config, taken: &DeploymentName) -> Result<Option<Self>> {
        let Some(given) = &config.embedding else {
            return Ok(None);
        };
        let (name, flag) = (&given.name, setting::EMBEDDING_MODEL.flag());
        let deployment = match &given.deployment {
            Some(deployment) => deployment.clone(),
            None => deployment_of(name)
                .parse()
                .with_context(|| format!("give a name with --{flag} {name}=NAME"))?,
        };
        if deployment == *taken {
            bail!(
                "{deployment} is the name of the model that answers; give another with \
                 --{flag} {name}=NAME"
            );
        }
        // The revision that may be configured is one of the model that answers.
        let hub = HubConfig {
            revision: None,
            ..config.hub.clone()
        };
        let dir = locate(name, &hub, portcullis_models::fetch_encoder)?;
        Ok(Some(Self {
            root: name.clone(),
            deployment,
            shape: EncoderConfig::load(&dir)?,
            tokenizer: EncoderTokenizer::load(&dir)?,
            dir,
        }))
    }

    /// Loads the weights and starts the thread that owns them.
    ///
    /// # Errors
    /// They cannot be loaded.
    pub(crate) fn start(self, config: &Config) -> Result<(ServedEmbedder, EmbeddingThread)> {
        tracing::info!("loading {} for embeddings", self.root);
        let digests = match config.ledger.is_on {
            true => model_digests::of_model(&self.dir, None, &config.data_dir)?,
            false => ModelDigests::default(),
        };
        let encoder = Encoder::load(&self.dir)
            .with_context(|| format!("the weights of {} cannot be loaded", self.root))?;
        let limits = EmbeddingLimits {
            max_batched_tokens: MAX_BATCHED_TOKENS,
            max_waiting: config.engine.max_waiting,
            max_waiting_tokens: MAX_WAITING_TOKENS,
        };
        let embedder = CandleEmbedder::new(encoder).context("no threads for embeddings")?;
        let (handle, thread) = EmbeddingThread::start(limits, embedder)?;
        let served = ServedEmbedder {
            deployment: self.deployment,
            root: self.root,
            max_tokens: self.shape.max_tokens,
            dimensions: self.shape.hidden_size,
            vocab_size: self.shape.vocab_size,
            digests,
            created_unix: unix_now(),
            tokenizer: self.tokenizer,
            handle,
        };
        Ok((served, thread))
    }
}
