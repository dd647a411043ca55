//! Models by name: from a hub into its local cache, whose layout other tools share.

mod progress;

use std::path::PathBuf;

use hf_hub::{HFClient, HFClientSync, HFError, split_id};

use crate::ModelError;
use progress::Bar;

/// How a hub is reached. What is `None` is resolved by the client library as other tools do it:
/// from `HF_ENDPOINT`, `HF_TOKEN` or the saved login, `HF_HUB_CACHE`, `HF_HOME`.
#[derive(Clone, Default)]
pub struct HubOptions {
    /// Address of the hub.
    pub endpoint: Option<String>,
    /// For models that need one; sent to the hub alone.
    pub token: Option<String>,
    /// The folder that `HF_HOME` names; the cache is its `hub`.
    pub home: Option<PathBuf>,
    /// Branch, tag or commit; `None` is `main`.
    pub revision: Option<String>,
    /// Nothing is asked of the network: what is in the cache must do.
    pub is_offline: bool,
    /// Draws a bar on the terminal while downloading.
    pub shows_progress: bool,
}

/// Which files of a model are fetched.
struct Files {
    wanted: &'static [&'static str],
    unwanted: &'static [&'static str],
}

/// The files that serving takes. Other formats of the same weights stay where they are: folders
/// hold them, and `consolidated` files the same weights under other names.
const OF_DECODERS: Files = Files {
    wanted: &[
        "config.json",
        "generation_config.json",
        "tokenizer*",
        "special_tokens_map.json",
        "chat_template*",
        "*.safetensors",
        "*.safetensors.index.json",
    ],
    unwanted: &["*/*", "consolidated*"],
};

/// The same for embedding models, whose folder for pooling is one of sentence-transformers.
const OF_ENCODERS: Files = Files {
    wanted: &[
        "config.json",
        "config_sentence_transformers.json",
        "modules.json",
        "sentence_bert_config.json",
        "*_Pooling/config.json",
        "tokenizer*",
        "special_tokens_map.json",
        "*.safetensors",
        "*.safetensors.index.json",
    ],
    unwanted: &[
        "*/*.safetensors",
        "*/tokenizer*",
        "onnx/*",
        "openvino/*",
        "consolidated*",
    ],
};

/// Makes the model `org/name` available and returns its folder in the cache.
///
/// Files that the cache has at this commit are not asked for again; a download that broke off
/// starts again with the files that were not finished, each from its beginning. A hub that cannot
/// be reached is not missed if the revision was fetched before.
///
/// # Errors
/// [`ModelError::Hub`]: no such model or revision, no access, no network, or offline and not in the
/// cache.
pub fn fetch(name: &str, options: &HubOptions) -> Result<PathBuf, ModelError> {
    fetch_files(name, options, &OF_DECODERS)
}

/// [`fetch`] for an embedding model.
///
/// # Errors
/// As there.
pub fn fetch_encoder(name: &str, options: &HubOptions) -> Result<PathBuf, ModelError> {
    fetch_files(name, options, &OF_ENCODERS)
}

fn fetch_files(name: &str, options: &HubOptions, files: &Files) -> Result<PathBuf, ModelError> {
    let repository = Repository::new(name, options)?;
    let fetched = match options.is_offline {
        true => repository.cached(),
        false => match repository.download(files) {
            Err(error) if is_unreachable(&error) => repository.cached().map_err(|_| error),
            result => result,
        },
    };
    fetched.map_err(|error| repository.explain(&error))
}

struct Repository<'a> {
    name: &'a str,
    client: HFClient,
    blocking: HFClientSync,
    options: &'a HubOptions,
}

impl<'a> Repository<'a> {
    fn new(name: &'a str, options: &'a HubOptions) -> Result<Self, ModelError> {
        if !is_hub_name(name) {
            let message = "neither a folder nor a name on the hub, which is org/name";
            return Err(hub_error(name, message));
        }
        let unusable = |error: HFError| hub_error(name, error.to_string());
        let client = client(options).map_err(unusable)?;
        Ok(Self {
            name,
            blocking: HFClientSync::from_inner(client.clone()).map_err(unusable)?,
            client,
            options,
        })
    }

    fn download(&self, files: &Files) -> Result<PathBuf, HFError> {
        let (owner, name) = split_id(self.name);
        let owned = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
        let bar = self.options.shows_progress.then(Bar::default);
        self.blocking
            .model(owner, name)
            .snapshot_download()
            .maybe_revision(self.options.revision.clone())
            .allow_patterns(owned(files.wanted))
            .ignore_patterns(owned(files.unwanted))
            .maybe_progress(bar)
            .send()
    }

    fn cached(&self) -> Result<PathBuf, HFError> {
        let (owner, name) = split_id(self.name);
        self.blocking
            .model(owner, name)
            .snapshot_download()
            .maybe_revision(self.options.revision.clone())
            .local_files_only(true)
            .send()
    }

    fn revision(&self) -> &str {
        self.options.revision.as_deref().unwrap_or("main")
    }

    /// Says what to do about it.
    fn explain(&self, error: &HFError) -> ModelError {
        let endpoint = self.client.endpoint();
        let revision = self.revision();
        let message = match error {
            // The hub does not tell a stranger which of the two it is.
            HFError::RepoNotFound { .. } | HFError::AuthRequired { .. } => format!(
                "{endpoint} has no such model, or it needs a token with access to it: set HF_TOKEN"
            ),
            HFError::Forbidden { .. } => format!(
                "the token has no access: accept the model's terms on {endpoint}/{}",
                self.name
            ),
            HFError::RevisionNotFound { .. } => format!(
                "{endpoint} has no such model at revision {revision}, or it needs a token with \
                 access to it: set HF_TOKEN"
            ),
            HFError::LocalEntryNotFound { .. } => format!(
                "revision {revision} is not in the cache {}; fetch it once while not offline",
                self.client.cache_dir().display()
            ),
            other => format!("{endpoint} could not give it: {other}"),
        };
        hub_error(self.name, message)
    }
}

fn client(options: &HubOptions) -> Result<HFClient, HFError> {
    let mut builder = HFClient::builder();
    if let Some(endpoint) = &options.endpoint {
        builder = builder.endpoint(endpoint);
    }
    if let Some(token) = &options.token {
        builder = builder.token(token);
    }
    if let Some(home) = &options.home {
        builder = builder.cache_dir(home.join("hub"));
    }
    builder.build()
}

/// Whether there was no answer, rather than one that says no.
fn is_unreachable(error: &HFError) -> bool {
    match error {
        HFError::Request { .. } | HFError::RateLimited { .. } => true,
        HFError::Http { context } => context.status.is_server_error(),
        _ => false,
    }
}

/// `org/name`, of the characters that the hub allows.
fn is_hub_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(is_allowed)
    };
    name.split_once('/')
        .is_some_and(|(org, name)| is_part(org) && is_part(name))
}

fn hub_error(name: &str, message: impl Into<String>) -> ModelError {
    ModelError::Hub {
        name: name.into(),
        message: message.into(),
    }
}
