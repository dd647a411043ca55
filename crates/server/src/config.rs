//! What the server is told: its limits, and the model that it serves.

use std::time::Duration;

use portcullis_engine::{EmbeddingHandle, Limits};
use portcullis_gate::Quota;
use portcullis_ledger::ModelDigests;
use portcullis_store::DeploymentName;
use portcullis_text::{EncoderTokenizer, ToolFormat};
use portcullis_types::TokenId;

use crate::budget::KeyQuota;
use crate::cors::Cors;
use crate::trust::RuleSignatures;

/// What one connection may take, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Open connections. One more waits in the queue of the operating system until another closes.
    pub max_connections: u32,
    /// Bytes of all headers of a request; more gets 431.
    pub max_header_bytes: usize,
    /// How long a TLS handshake may take, and the header of a request from its first byte on.
    pub header_timeout: Duration,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
    /// How long a reader may take nothing of what it is sent.
    pub write_timeout: Duration,
}

impl ConnectionLimits {
    /// What holds unless told otherwise.
    pub const DEFAULT: Self = Self {
        max_connections: 16_384,
        max_header_bytes: 64 << 10,
        header_timeout: Duration::from_secs(10),
        // Above the minute for which most proxies keep a connection: who closes first should not
        // be the server, since a request may be on its way then.
        idle_timeout: Duration::from_secs(75),
        write_timeout: Duration::from_secs(30),
    };
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Limits and timeouts of the server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Bytes of a request body; more gets 413.
    pub max_body_bytes: usize,
    /// How long the body of a request may take to arrive; longer gets 408.
    pub body_timeout: Duration,
    /// Completions of one call: `n`, times the prompts of a `/v1/completions` call.
    pub max_choices: u32,
    /// Texts of one `/v1/embeddings` call.
    pub max_embedding_texts: usize,
    /// Tokens of one `/v1/embeddings` call, over all its texts.
    pub max_embedding_tokens: usize,
    /// Rule sets kept compiled; a rarer one is compiled again when it is next needed.
    pub max_compiled_rulesets: usize,
    /// How long the engine may have work and not step before `/health` says 503.
    pub stall_timeout: Duration,
    /// How often a stream that has nothing to say sends a comment.
    pub keep_alive_interval: Duration,
    /// How long running calls may take once the server is told to stop.
    pub drain_timeout: Duration,
    /// Whether inference needs no key while the store holds none. [`crate::Door`] takes it back
    /// when its listener is not bound to a loopback address.
    pub open_on_loopback: bool,
    /// How the model calls tools, where its template does not tell.
    pub tool_format: Option<ToolFormat>,
    /// Which pages in browsers may call.
    pub cors: Cors,
    /// What the gate may spend on one call; its choices share it.
    pub quota: Quota,
    /// What the gate may spend on the calls of one key.
    pub key_quota: KeyQuota,
    /// Whose signatures a rule set needs before it may hold.
    pub rule_signatures: RuleSignatures,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 4 << 20,
            body_timeout: Duration::from_secs(30),
            max_choices: 64,
            // As many as OpenAI's API takes.
            max_embedding_texts: 2048,
            max_embedding_tokens: 300_000,
            max_compiled_rulesets: 64,
            stall_timeout: Duration::from_secs(30),
            keep_alive_interval: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            open_on_loopback: true,
            tool_format: None,
            cors: Cors::Off,
            quota: Quota::default(),
            key_quota: KeyQuota::default(),
            rule_signatures: RuleSignatures::default(),
        }
    }
}

/// The model that answers, and the name under which users ask for it.
#[derive(Clone, Debug)]
pub struct ServedModel {
    /// What users put in `model`.
    pub deployment: DeploymentName,
    /// Where its weights come from, as `/v1/models` reports it.
    pub root: String,
    /// Prompt and completion together, in tokens.
    pub max_model_len: usize,
    /// Tokens that the model has logits for.
    pub vocab_size: usize,
    /// Tokens with which it ends its answers.
    pub end_tokens: Vec<TokenId>,
    /// How tokens are drawn when the caller does not say.
    pub defaults: SamplingDefaults,
    /// When it was made, or began to be served, in Unix seconds.
    pub created_unix: i64,
}

impl ServedModel {
    pub(crate) fn limits(&self, config: &ServerConfig) -> Limits {
        Limits {
            max_model_len: self.max_model_len,
            vocab_size: self.vocab_size,
            max_choices: config.max_choices,
        }
    }
}

/// The model that makes embeddings, beside the one that answers.
#[derive(Clone, Debug)]
pub struct ServedEmbedder {
    /// What users put in `model`.
    pub deployment: DeploymentName,
    /// Where its weights come from, as `/v1/models` reports it.
    pub root: String,
    /// Tokens of one text.
    pub max_tokens: usize,
    /// Numbers of one vector.
    pub dimensions: usize,
    /// Tokens that the model knows.
    pub vocab_size: usize,
    /// Its files, for records.
    pub digests: ModelDigests,
    /// When it began to be served, in Unix seconds.
    pub created_unix: i64,
    /// Turns texts into its tokens.
    pub tokenizer: EncoderTokenizer,
    /// The thread that owns it.
    pub handle: EmbeddingHandle,
}

/// What a model's `generation_config.json` recommends; its `Default` is that of OpenAI's API.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingDefaults {
    /// 0 is greedy.
    pub temperature: f32,
    /// In (0, 1].
    pub top_p: f32,
    /// `None` keeps every token.
    pub top_k: Option<u32>,
    /// In [0, 1].
    pub min_p: f32,
    /// 1 is off.
    pub repetition_penalty: f32,
}

impl Default for SamplingDefaults {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: None,
            min_p: 0.0,
            repetition_penalty: 1.0,
        }
    }
}
