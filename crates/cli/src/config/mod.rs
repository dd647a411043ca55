//! One typed configuration from flags, environment and file: [`RawConfig`] becomes [`Config`], and
//! every mistake is reported at once, with where it stands and what is allowed.

mod mistake;
mod parse;
mod raw;
pub(crate) mod setting;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_runner::DeviceChoice;
use portcullis_server::{
    ConnectionLimits, Cors, KeyQuota, Prices, RuleSignatures, TextPolicy, TlsFiles,
};
use portcullis_store::{DeploymentName, TextClass};
use portcullis_text::ToolFormat;

pub(crate) use mistake::Mistakes;
pub(crate) use raw::{Flags, misspelt_variables};

use crate::env::Environment;
use parse::{number, one_of};
use raw::RawConfig;

/// Everything that can be configured, valid.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// What is served.
    pub(crate) model: ModelConfig,
    /// What makes embeddings, if anything does.
    pub(crate) embedding: Option<EmbeddingConfig>,
    /// How much at once.
    pub(crate) engine: EngineLimits,
    /// Where and for how long.
    pub(crate) server: ServerSettings,
    /// What the gate may spend on a call.
    pub(crate) quota: portcullis_gate::Quota,
    /// What the gate may spend on the calls of one key.
    pub(crate) key_quota: KeyQuota,
    /// Whose signatures a rule set needs.
    pub(crate) rule_signatures: RuleSignatures,
    /// What is put on record.
    pub(crate) ledger: LedgerConfig,
    /// Keys, rule sets, bindings, records and the demo.
    pub(crate) data_dir: PathBuf,
    /// Where models come from.
    pub(crate) hub: HubConfig,
    /// What is told on stderr.
    pub(crate) log: LogConfig,
}

/// What is served, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelConfig {
    /// Folder or name on the hub; `None` is the bundled demo.
    pub(crate) name: Option<String>,
    /// The name that clients send; `None` takes the model's.
    pub(crate) deployment: Option<DeploymentName>,
    pub(crate) device: DeviceChoice,
    pub(crate) dtype: Dtype,
    pub(crate) load_format: LoadFormat,
    /// `None` is told by the chat template.
    pub(crate) tool_format: Option<ToolFormat>,
}

/// What makes embeddings, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EmbeddingConfig {
    /// Folder or name on the hub.
    pub(crate) name: String,
    /// The name that clients send; `None` takes the model's.
    pub(crate) deployment: Option<DeploymentName>,
}

/// Bounds of the engine; `None` is worked out from model and machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EngineLimits {
    pub(crate) max_model_len: Option<usize>,
    pub(crate) max_num_seqs: usize,
    pub(crate) max_batched_tokens: usize,
    pub(crate) kv_cache_bytes: Option<u64>,
    pub(crate) cuda_graphs: bool,
    pub(crate) max_waiting: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerSettings {
    pub(crate) bind: SocketAddr,
    /// `None` is plain HTTP.
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) cors: Cors,
    pub(crate) connections: ConnectionLimits,
    pub(crate) body_timeout: Duration,
    pub(crate) drain_timeout: Duration,
}

/// What is put on record, and signed with what.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LedgerConfig {
    pub(crate) is_on: bool,
    pub(crate) record_key: KeySource,
    pub(crate) log_key: KeySource,
    pub(crate) texts: TextPolicy,
    pub(crate) prices: Prices,
}

/// Where a signing key comes from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// The data directory, where it is made at the first start.
    Own,
    File(PathBuf),
    Pem(String),
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HubConfig {
    pub(crate) revision: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) home: Option<PathBuf>,
    pub(crate) is_offline: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    pub(crate) format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub(crate) filter: String,
    /// Where spans are sent.
    pub(crate) otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    F32,
    Bf16,
    F16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadFormat {
    Auto,
    Dummy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Reads everything that was given.
    ///
    /// # Errors
    /// All mistakes at once.
    pub(crate) fn load(flags: &Flags, environment: &Environment) -> Result<Self, Mistakes> {
        let mut raw = RawConfig::gather(flags, environment);
        let config = Self {
            model: ModelConfig::read(&mut raw),
            embedding: raw.read(setting::EMBEDDING_MODEL, parse::embedding_model),
            engine: EngineLimits::read(&mut raw),
            server: ServerSettings::read(&mut raw),
            quota: read_quota(&mut raw),
            key_quota: read_key_quota(&mut raw),
            rule_signatures: raw
                .read(setting::RULE_SIGNATURES, one_of(RULE_SIGNATURES_WORDS))
                .unwrap_or_default(),
            ledger: LedgerConfig::read(&mut raw),
            data_dir: read_data_dir(&mut raw, environment),
            hub: HubConfig::read(&mut raw),
            log: LogConfig::read(&mut raw),
        };
        raw.finish(config)
    }

    /// The same, where a data directory is all that is asked for.
    ///
    /// # Errors
    /// All mistakes at once.
    pub(crate) fn load_data_dir(
        flags: &Flags,
        environment: &Environment,
    ) -> Result<PathBuf, Mistakes> {
        let mut raw = RawConfig::gather(flags, environment);
        let data_dir = read_data_dir(&mut raw, environment);
        raw.finish(data_dir)
    }
}

impl ModelConfig {
    fn read(raw: &mut RawConfig) -> Self {
        let device = raw.read(setting::DEVICE, device).unwrap_or(USUAL_DEVICE);
        Self {
            name: raw.read(setting::MODEL, parse::text),
            deployment: raw.read(setting::DEPLOYMENT, parse::deployment),
            device,
            dtype: raw
                .read(setting::DTYPE, one_of(Dtype::WORDS))
                .unwrap_or(Dtype::usual_on(device)),
            load_format: raw
                .read(setting::LOAD_FORMAT, one_of(LoadFormat::WORDS))
                .unwrap_or(LoadFormat::Auto),
            tool_format: raw.read(setting::TOOL_FORMAT, one_of(TOOL_FORMAT_WORDS)),
        }
    }
}

impl EngineLimits {
    fn read(raw: &mut RawConfig) -> Self {
        let max_batched_tokens = raw
            .read(setting::MAX_BATCHED_TOKENS, number(1, 1 << 17))
            .unwrap_or(1024);
        Self {
            max_model_len: raw.read(setting::MAX_MODEL_LEN, number(2, 1 << 24)),
            // Each sequence of a step takes at least one of its tokens.
            max_num_seqs: raw
                .read(setting::MAX_NUM_SEQS, |text| {
                    let max_num_seqs = number(1, 4096)(text)?;
                    parse::at_most(
                        max_num_seqs,
                        setting::MAX_BATCHED_TOKENS,
                        max_batched_tokens,
                    )
                })
                .unwrap_or(max_batched_tokens.min(64)),
            max_batched_tokens,
            kv_cache_bytes: raw.read(setting::KV_CACHE_MEMORY, parse::size),
            cuda_graphs: raw
                .read(setting::CUDA_GRAPHS, parse::switch)
                .unwrap_or(false),
            max_waiting: raw
                .read(setting::MAX_WAITING, number(1, 1 << 16))
                .unwrap_or(256),
        }
    }
}

impl ServerSettings {
    fn read(raw: &mut RawConfig) -> Self {
        Self {
            bind: raw
                .read(setting::BIND, parse::address)
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8000))),
            tls: read_tls(raw),
            cors: raw
                .read(setting::CORS_ORIGIN, parse::origins)
                .unwrap_or_default(),
            connections: read_connections(raw),
            body_timeout: raw
                .read(setting::BODY_TIMEOUT, parse::duration)
                .unwrap_or(Duration::from_secs(30)),
            drain_timeout: raw
                .read(setting::DRAIN_TIMEOUT, parse::duration)
                .unwrap_or(Duration::from_secs(30)),
        }
    }
}

fn read_tls(raw: &mut RawConfig) -> Option<TlsFiles> {
    let cert = raw.read(setting::TLS_CERT, parse::path);
    let key = raw.read(setting::TLS_KEY, parse::path);
    match (cert, key) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => {
            raw.missing(
                setting::TLS_KEY,
                "a certificate is of no use without its key",
            );
            None
        }
        (None, Some(_)) => {
            raw.missing(
                setting::TLS_CERT,
                "a key is of no use without its certificate",
            );
            None
        }
    }
}

fn read_connections(raw: &mut RawConfig) -> ConnectionLimits {
    let default = ConnectionLimits::DEFAULT;
    ConnectionLimits {
        max_connections: raw
            .read(setting::MAX_CONNECTIONS, number(1, 1 << 20))
            .unwrap_or(default.max_connections),
        header_timeout: raw
            .read(setting::HEADER_TIMEOUT, parse::duration)
            .unwrap_or(default.header_timeout),
        idle_timeout: raw
            .read(setting::IDLE_TIMEOUT, parse::duration)
            .unwrap_or(default.idle_timeout),
        write_timeout: raw
            .read(setting::WRITE_TIMEOUT, parse::duration)
            .unwrap_or(default.write_timeout),
        ..default
    }
}

fn read_quota(raw: &mut RawConfig) -> portcullis_gate::Quota {
    let default = portcullis_gate::Quota::default();
    portcullis_gate::Quota {
        attempts_max: raw
            .read(setting::GATE_ATTEMPTS_MAX, number(0, 1 << 20))
            .unwrap_or(default.attempts_max),
        discarded_tokens_max: raw
            .read(setting::GATE_DISCARDED_TOKENS_MAX, number(0, 1 << 24))
            .unwrap_or(default.discarded_tokens_max),
    }
}

fn read_key_quota(raw: &mut RawConfig) -> KeyQuota {
    let default = KeyQuota::default();
    KeyQuota {
        attempts_per_minute: raw
            .read(setting::GATE_KEY_ATTEMPTS, parse::number_or_off(1 << 24))
            .unwrap_or(default.attempts_per_minute),
        discarded_tokens_per_minute: raw
            .read(
                setting::GATE_KEY_DISCARDED_TOKENS,
                parse::number_or_off(1 << 30),
            )
            .unwrap_or(default.discarded_tokens_per_minute),
    }
}

const TOOL_FORMAT_WORDS: &[(&str, ToolFormat)] = &[
    ("hermes", ToolFormat::Hermes),
    ("llama3", ToolFormat::Llama3),
    ("mistral", ToolFormat::Mistral),
];

const RULE_SIGNATURES_WORDS: &[(&str, RuleSignatures)] = &[
    ("author", RuleSignatures::Author),
    ("author_and_approver", RuleSignatures::AuthorAndApprover),
    ("allow_unsigned", RuleSignatures::AllowUnsigned),
];

fn read_data_dir(raw: &mut RawConfig, environment: &Environment) -> PathBuf {
    let given = raw.read(setting::DATA_DIR, parse::path);
    given
        .or_else(|| environment.default_data_dir())
        .unwrap_or_else(|| {
            raw.missing(
                setting::DATA_DIR,
                "there is no HOME to keep data in; say where it goes",
            );
            PathBuf::new()
        })
}

impl LedgerConfig {
    fn read(raw: &mut RawConfig) -> Self {
        let (requests, outputs) = raw
            .read(setting::KEEP_TEXT, one_of(KEEP_TEXT_WORDS))
            .unwrap_or_default();
        Self {
            is_on: raw.read(setting::RECORDS, parse::switch).unwrap_or(true),
            record_key: KeySource::read(raw, setting::RECORD_KEY_FILE, setting::RECORD_KEY),
            log_key: KeySource::read(raw, setting::LOG_KEY_FILE, setting::LOG_KEY),
            texts: TextPolicy {
                requests,
                outputs,
                classes: raw
                    .read(setting::TEXT_RETENTION, parse::text_classes)
                    .unwrap_or_else(|| vec![usual_class()]),
            },
            prices: raw
                .read(setting::TOKEN_PRICES, parse::token_prices)
                .unwrap_or_default(),
        }
    }
}

/// Requests, and outputs.
const KEEP_TEXT_WORDS: &[(&str, (bool, bool))] = &[
    ("none", (false, false)),
    ("outputs", (false, true)),
    ("all", (true, true)),
];

fn usual_class() -> TextClass {
    TextClass {
        name: "standard".to_owned(),
        keep_s: 30 * 24 * 60 * 60,
    }
}

impl KeySource {
    /// The key itself is stronger than the file that holds it.
    fn read(raw: &mut RawConfig, file: setting::Setting, pem: setting::Setting) -> Self {
        let file = raw.read(file, parse::path).map(Self::File);
        let pem = raw.read(pem, parse::private_key).map(Self::Pem);
        pem.or(file).unwrap_or(Self::Own)
    }
}

// By hand, so that a key is in no log.
impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own => f.write_str("Own"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Pem(_) => f.write_str("Pem(***)"),
        }
    }
}

impl HubConfig {
    fn read(raw: &mut RawConfig) -> Self {
        Self {
            revision: raw.read(setting::REVISION, parse::text),
            endpoint: raw.read(setting::HUB_ENDPOINT, parse::url),
            token: raw.read(setting::HUB_TOKEN, parse::text),
            home: raw.read(setting::HUB_HOME, parse::path),
            is_offline: raw
                .read(setting::HUB_OFFLINE, parse::switch)
                .unwrap_or(false),
        }
    }
}

// By hand, so that the token is in no log.
impl std::fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubConfig")
            .field("revision", &self.revision)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("home", &self.home)
            .field("is_offline", &self.is_offline)
            .finish()
    }
}

impl LogConfig {
    fn read(raw: &mut RawConfig) -> Self {
        Self {
            format: raw
                .read(setting::LOG_FORMAT, one_of(LogFormat::WORDS))
                .unwrap_or(LogFormat::Text),
            filter: raw
                .read(setting::LOG_LEVEL, parse::log_filter)
                .unwrap_or_else(|| "info".to_owned()),
            otlp_endpoint: raw.read(setting::OTLP_ENDPOINT, parse::url),
        }
    }
}

impl Dtype {
    const WORDS: &[(&str, Self)] = &[("f32", Self::F32), ("bf16", Self::Bf16), ("f16", Self::F16)];

    /// What a device computes with unless told otherwise.
    fn usual_on(device: DeviceChoice) -> Self {
        match device {
            DeviceChoice::Cpu => Self::F32,
            DeviceChoice::Cuda(_) => Self::Bf16,
        }
    }
}

impl LoadFormat {
    const WORDS: &[(&str, Self)] = &[("auto", Self::Auto), ("dummy", Self::Dummy)];
}

impl LogFormat {
    const WORDS: &[(&str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// A build for cards uses the first one.
const USUAL_DEVICE: DeviceChoice = match cfg!(feature = "cuda") {
    true => DeviceChoice::Cuda(0),
    false => DeviceChoice::Cpu,
};

fn device(text: &str) -> parse::Parsed<DeviceChoice> {
    let ordinal = match text.split_once(':') {
        None if text == "cpu" => return Ok(DeviceChoice::Cpu),
        None if text == "cuda" => Some(0),
        Some(("cuda", ordinal)) => ordinal.parse().ok(),
        _ => None,
    };
    let ordinal = ordinal.ok_or("must be cpu, cuda or cuda:N, N being the number of a card")?;
    match cfg!(feature = "cuda") {
        true => Ok(DeviceChoice::Cuda(ordinal)),
        false => {
            Err("must be cpu: this build knows no cards; build it with --features cuda".into())
        }
    }
}

#[cfg(test)]
mod tests;
