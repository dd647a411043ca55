//! The settings: one table, from which flags, environment variables and keys of the file come.

/// One setting and its names: `max_num_seqs` in the file is `--max-num-seqs` on the command line
/// and `PORTCULLIS_MAX_NUM_SEQS` in the environment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Key in the file.
    pub(crate) key: &'static str,
    /// Stands for the value in the help.
    pub(crate) value_name: &'static str,
    /// What it does.
    pub(crate) help: &'static str,
    /// A variable of other tools that means the same; ours is stronger.
    pub(crate) foreign_variable: Option<&'static str>,
    /// Not a flag, since everyone on a machine sees the flags of its processes; never printed.
    pub(crate) is_secret: bool,
    /// May be given several times; in the file as an array, in the environment with commas.
    pub(crate) is_list: bool,
}

pub(crate) const MODEL: Setting = setting(
    "model",
    "NAME_OR_DIR",
    "Model to serve: a folder in the Hugging Face layout or a name on the hub [default: the bundled demo]",
);
pub(crate) const REVISION: Setting = setting(
    "revision",
    "REVISION",
    "Branch, tag or commit of a model on the hub [default: main]",
);
pub(crate) const DEPLOYMENT: Setting = setting(
    "deployment",
    "NAME",
    "Name that clients send as `model`; rule sets bind to it [default: the model's name]",
);
pub(crate) const EMBEDDING_MODEL: Setting = setting(
    "embedding_model",
    "NAME_OR_DIR[=NAME]",
    "Model for /v1/embeddings, a BERT encoder as a folder or a name on the hub, and the name that clients send [default: none]",
);
pub(crate) const BIND: Setting = setting(
    "bind",
    "ADDRESS",
    "Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8000]",
);
pub(crate) const TLS_CERT: Setting = setting(
    "tls_cert",
    "FILE",
    "Certificate chain in PEM: HTTPS instead of HTTP; read again when it changes and on SIGHUP [default: none]",
);
pub(crate) const TLS_KEY: Setting = setting(
    "tls_key",
    "FILE",
    "Private key of the certificate, in PEM [default: none]",
);
pub(crate) const CORS_ORIGIN: Setting = setting(
    "cors_origin",
    "ORIGIN",
    "Pages in browsers that may call: https://app.example, repeatable, or * for all [default: none]",
)
.list();
pub(crate) const DATA_DIR: Setting = setting(
    "data_dir",
    "DIR",
    "Keys, rule sets, records and kept texts [default: $XDG_DATA_HOME/portcullis or ~/.local/share/portcullis]",
);
pub(crate) const DEVICE: Setting = setting(
    "device",
    "DEVICE",
    "Where the model runs: cpu; in a build with CUDA also cuda or cuda:N [default: cpu; there, cuda]",
);
pub(crate) const DTYPE: Setting = setting(
    "dtype",
    "DTYPE",
    "Numbers of weights and KV cache: f32, bf16 or f16 [default: f32 on the CPU, bf16 on a card]",
);
pub(crate) const LOAD_FORMAT: Setting = setting(
    "load_format",
    "FORMAT",
    "auto reads the weights; dummy makes random ones of the configured shape [default: auto]",
);
pub(crate) const TOOL_FORMAT: Setting = setting(
    "tool_format",
    "FORMAT",
    "How the model writes calls of tools: hermes, llama3 or mistral [default: what its chat template shows]",
);
pub(crate) const MAX_MODEL_LEN: Setting = setting(
    "max_model_len",
    "TOKENS",
    "Prompt and completion together, at most [default: what the model was made for, or what the KV cache holds unless its size is given]",
);
pub(crate) const MAX_NUM_SEQS: Setting = setting(
    "max_num_seqs",
    "N",
    "Sequences computed at once, at most; no more than max_batched_tokens [default: 64]",
);
pub(crate) const MAX_BATCHED_TOKENS: Setting = setting(
    "max_batched_tokens",
    "TOKENS",
    "Tokens computed in one step, at most [default: 1024]",
);
pub(crate) const KV_CACHE_MEMORY: Setting = setting(
    "kv_cache_memory",
    "SIZE",
    "Memory of the KV cache, such as 4GiB or 512MB [default: a quarter of what is free, at most 1GiB; on a card all that weights and steps leave]",
);
pub(crate) const CUDA_GRAPHS: Setting = setting(
    "cuda_graphs",
    "BOOL",
    "On a card, run decodes as CUDA graphs, which no card has done yet: true or false [default: false]",
);
pub(crate) const MAX_WAITING: Setting = setting(
    "max_waiting",
    "N",
    "Calls that may wait; one more gets 429 [default: 256]",
);
pub(crate) const MAX_CONNECTIONS: Setting = setting(
    "max_connections",
    "N",
    "Open connections; one more waits until another closes [default: 16384]",
);
pub(crate) const HEADER_TIMEOUT: Setting = setting(
    "header_timeout",
    "DURATION",
    "How long the header of a request may take to arrive, such as 10s [default: 10s]",
);
pub(crate) const BODY_TIMEOUT: Setting = setting(
    "body_timeout",
    "DURATION",
    "How long the body of a request may take to arrive; longer gets 408 [default: 30s]",
);
pub(crate) const IDLE_TIMEOUT: Setting = setting(
    "idle_timeout",
    "DURATION",
    "How long a connection without a request is kept [default: 75s]",
);
pub(crate) const WRITE_TIMEOUT: Setting = setting(
    "write_timeout",
    "DURATION",
    "How long a reader may take nothing of its answer before it is cut off [default: 30s]",
);
pub(crate) const DRAIN_TIMEOUT: Setting = setting(
    "drain_timeout",
    "DURATION",
    "How long running calls may finish after SIGTERM, such as 30s [default: 30s]",
);
pub(crate) const GATE_ATTEMPTS_MAX: Setting = setting(
    "gate_attempts_max",
    "N",
    "Rollbacks in one call, at most, shared evenly by its choices [default: 32]",
);
pub(crate) const GATE_DISCARDED_TOKENS_MAX: Setting = setting(
    "gate_discarded_tokens_max",
    "TOKENS",
    "Tokens thrown away in one call, at most, shared evenly by its choices [default: 1024]",
);
pub(crate) const GATE_KEY_ATTEMPTS: Setting = setting(
    "gate_key_attempts_per_minute",
    "N",
    "Rollbacks in all calls of one key in a minute, at most; off is without limit [default: 4096]",
);
pub(crate) const GATE_KEY_DISCARDED_TOKENS: Setting = setting(
    "gate_key_discarded_tokens_per_minute",
    "TOKENS",
    "Tokens thrown away in all calls of one key in a minute, at most; off is without limit [default: 131072]",
);
pub(crate) const RULE_SIGNATURES: Setting = setting(
    "rule_signatures",
    "WHOSE",
    "Signatures that a rule set needs before it may hold: author, author_and_approver or allow_unsigned [default: author]",
);
pub(crate) const RECORDS: Setting = setting(
    "records",
    "BOOL",
    "Keep a signed record of every call, and answer none without: true or false [default: true]",
);
pub(crate) const RECORD_KEY_FILE: Setting = setting(
    "record_key_file",
    "FILE",
    "Ed25519 key in PEM that signs records [default: keys/record.key in the data directory, made at the first start]",
);
pub(crate) const RECORD_KEY: Setting =
    setting("record_key", "PEM", "The key that signs records, itself").secret();
pub(crate) const LOG_KEY_FILE: Setting = setting(
    "log_key_file",
    "FILE",
    "Ed25519 key in PEM that signs checkpoints of the log of records [default: keys/log.key, made likewise]",
);
pub(crate) const LOG_KEY: Setting =
    setting("log_key", "PEM", "The key that signs checkpoints, itself").secret();
pub(crate) const KEEP_TEXT: Setting = setting(
    "keep_text",
    "WHICH",
    "Texts of calls to keep beside the log, where they can be erased: none, outputs or all [default: none]",
);
pub(crate) const TEXT_RETENTION: Setting = setting(
    "text_retention",
    "CLASSES",
    "How long they are kept: classes that a call may name, the first for those that name none [default: standard=30d]",
);
pub(crate) const TOKEN_PRICES: Setting = setting(
    "token_prices",
    "PRICES",
    "What a million tokens cost, for /v1/usage: prompt=0.15,cached=0.08,released=0.60,discarded=0.60 [default: nothing]",
);
pub(crate) const HUB_ENDPOINT: Setting = setting(
    "hub_endpoint",
    "URL",
    "Hub to fetch models from [default: https://huggingface.co]",
)
.known_elsewhere_as("HF_ENDPOINT");
pub(crate) const HUB_TOKEN: Setting =
    setting("hub_token", "TOKEN", "Token for models that need one")
        .known_elsewhere_as("HF_TOKEN")
        .secret();
pub(crate) const HUB_HOME: Setting = setting(
    "hub_home",
    "DIR",
    "Cache of the hub [default: ~/.cache/huggingface]",
)
.known_elsewhere_as("HF_HOME");
pub(crate) const HUB_OFFLINE: Setting = setting(
    "hub_offline",
    "BOOL",
    "Take models from the cache alone: true or false [default: false]",
)
.known_elsewhere_as("HF_HUB_OFFLINE");
pub(crate) const LOG_FORMAT: Setting = setting(
    "log_format",
    "FORMAT",
    "Log lines on stderr as text or json [default: text]",
);
pub(crate) const OTLP_ENDPOINT: Setting = setting(
    "otlp_endpoint",
    "URL",
    "Where spans are sent, by OTLP over HTTP, such as http://localhost:4318 [default: nowhere]",
)
.known_elsewhere_as("OTEL_EXPORTER_OTLP_ENDPOINT");
pub(crate) const LOG_LEVEL: Setting = setting(
    "log_level",
    "LEVEL",
    "error, warn, info, debug or trace, also for one part: info,portcullis_engine=debug [default: info]",
);

/// Every setting, in the order of the help.
pub(crate) const ALL: &[Setting] = &[
    MODEL,
    REVISION,
    DEPLOYMENT,
    EMBEDDING_MODEL,
    BIND,
    TLS_CERT,
    TLS_KEY,
    CORS_ORIGIN,
    DATA_DIR,
    DEVICE,
    DTYPE,
    LOAD_FORMAT,
    TOOL_FORMAT,
    MAX_MODEL_LEN,
    MAX_NUM_SEQS,
    MAX_BATCHED_TOKENS,
    KV_CACHE_MEMORY,
    CUDA_GRAPHS,
    MAX_WAITING,
    MAX_CONNECTIONS,
    HEADER_TIMEOUT,
    BODY_TIMEOUT,
    IDLE_TIMEOUT,
    WRITE_TIMEOUT,
    DRAIN_TIMEOUT,
    GATE_ATTEMPTS_MAX,
    GATE_DISCARDED_TOKENS_MAX,
    GATE_KEY_ATTEMPTS,
    GATE_KEY_DISCARDED_TOKENS,
    RULE_SIGNATURES,
    RECORDS,
    RECORD_KEY_FILE,
    RECORD_KEY,
    LOG_KEY_FILE,
    LOG_KEY,
    KEEP_TEXT,
    TEXT_RETENTION,
    TOKEN_PRICES,
    HUB_ENDPOINT,
    HUB_TOKEN,
    HUB_HOME,
    HUB_OFFLINE,
    LOG_FORMAT,
    LOG_LEVEL,
    OTLP_ENDPOINT,
];

/// Those of an engine without a server.
pub(crate) const OF_ENGINES: &[Setting] = &[
    MODEL,
    REVISION,
    DATA_DIR,
    DEVICE,
    DTYPE,
    LOAD_FORMAT,
    MAX_MODEL_LEN,
    MAX_NUM_SEQS,
    MAX_BATCHED_TOKENS,
    KV_CACHE_MEMORY,
    CUDA_GRAPHS,
    HUB_ENDPOINT,
    HUB_TOKEN,
    HUB_HOME,
    HUB_OFFLINE,
    LOG_FORMAT,
    LOG_LEVEL,
];

/// What fetching and describing a model needs.
pub(crate) const OF_MODELS: &[Setting] = &[
    REVISION,
    DTYPE,
    HUB_ENDPOINT,
    HUB_TOKEN,
    HUB_HOME,
    HUB_OFFLINE,
];

/// What begins every variable of ours.
pub(crate) const VARIABLE_PREFIX: &str = "PORTCULLIS_";

impl Setting {
    /// The long flag, without the dashes.
    pub(crate) fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// The environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.key.to_uppercase())
    }

    const fn known_elsewhere_as(mut self, variable: &'static str) -> Self {
        self.foreign_variable = Some(variable);
        self
    }

    const fn list(mut self) -> Self {
        self.is_list = true;
        self
    }

    const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }
}

const fn setting(key: &'static str, value_name: &'static str, help: &'static str) -> Setting {
    Setting {
        key,
        value_name,
        help,
        foreign_variable: None,
        is_secret: false,
        is_list: false,
    }
}
