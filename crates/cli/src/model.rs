//! The model that is served: found, described, loaded.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytesize::ByteSize;
use candle_core::DType;
use portcullis_models::{Decoder, GenerationDefaults, HubOptions, LoadOptions, ModelError};
use portcullis_runner::DeviceChoice;
use portcullis_server::SamplingDefaults;
use portcullis_text::{ChatTemplate, Tokenizer};
use portcullis_types::TokenId;

use crate::args::build;
use crate::config::{Config, Dtype, EngineLimits, HubConfig, LoadFormat, ModelConfig, setting};
use crate::demo;
use crate::kv_plan::KvPlan;

/// Dummy weights are the same at every start.
const DUMMY_SEED: u64 = 0;

/// A model folder, with everything read but its weights.
pub(crate) struct Model {
    /// Where it is.
    pub(crate) dir: PathBuf,
    /// What it was asked for as.
    pub(crate) root: String,
    /// The name that clients send, unless configured.
    pub(crate) default_deployment: String,
    pub(crate) shape: portcullis_models::Config,
    pub(crate) generation: GenerationDefaults,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: Option<ChatTemplate>,
    device: DeviceChoice,
    dtype: DType,
    format: portcullis_models::LoadFormat,
}

impl Model {
    /// Finds the configured model, and fetches it if it is on the hub; without a name, unpacks the
    /// demo.
    ///
    /// # Errors
    /// It is not there, or no model that can be served.
    pub(crate) fn find(config: &Config) -> Result<Self> {
        match &config.model.name {
            None => {
                let dir = demo::unpack_model(&config.data_dir)?;
                Self::read(dir, "the bundled demo", demo::DEPLOYMENT, &config.model)
            }
            Some(name) => {
                let dir = locate(name, &config.hub, portcullis_models::fetch)?;
                Self::read(dir, name, deployment_of(name), &config.model)
            }
        }
    }

    fn read(dir: PathBuf, root: &str, deployment: &str, config: &ModelConfig) -> Result<Self> {
        let shape = portcullis_models::Config::load(&dir)?;
        let generation = GenerationDefaults::load(&dir, &shape)?;
        let tokenizer = Tokenizer::load(&dir)?;
        let template = ChatTemplate::load(&dir, &tokenizer)?;
        Ok(Self {
            root: root.to_owned(),
            default_deployment: deployment.to_owned(),
            shape,
            generation,
            tokenizer,
            template,
            device: config.device,
            dtype: dtype(config.dtype),
            format: load_format(config.load_format),
            dir,
        })
    }

    /// Reads or makes the weights, on the device where they are used.
    ///
    /// # Errors
    /// A tensor is missing, mis-shaped or broken, or the device is not there or has no memory.
    pub(crate) fn load_weights(&self) -> Result<Decoder> {
        let device = portcullis_runner::open(self.device)?;
        let options = LoadOptions {
            dtype: self.dtype,
            device,
            format: self.format,
        };
        Decoder::load(&self.dir, &options).map_err(|error| {
            let message = match portcullis_runner::is_out_of_memory(&error) {
                true => self.too_large(),
                false => format!("the weights of {} cannot be loaded", self.root),
            };
            anyhow::Error::new(error).context(message)
        })
    }

    fn too_large(&self) -> String {
        let weights = ByteSize(weight_bytes(&self.dir));
        format!(
            "the card has no memory for the weights of {} ({weights} on disk); see nvidia-smi for \
             what else is in it, or take a smaller model or --dtype bf16",
            self.root
        )
    }

    /// What computes it, where and in which numbers, as records tell.
    pub(crate) fn engine_build(&self) -> String {
        let (device, dtype) = (self.device, self.dtype.as_str());
        build(&format!("device {device}, {dtype}"))
    }

    /// What stands for weights that are made, not read.
    pub(crate) fn dummy_weights(&self) -> Option<String> {
        match self.format {
            portcullis_models::LoadFormat::Auto => None,
            portcullis_models::LoadFormat::Dummy { seed } => Some(format!(
                "dummy weights of seed {seed}, {}",
                self.dtype.as_str()
            )),
        }
    }

    /// How large its KV cache becomes, and so how long its sequences; see [`KvPlan::new`].
    ///
    /// # Errors
    /// Longer ones were asked for than the model was made for, or than the cache holds.
    pub(crate) fn plan_kv(&self, limits: &EngineLimits, usual_bytes: u64) -> Result<KvPlan> {
        self.check_len(limits)?;
        let (most, bytes_per_block) = (self.shape.max_position, self.kv_bytes_per_block());
        Ok(KvPlan::new(limits, usual_bytes, most, bytes_per_block)?)
    }

    /// # Errors
    /// Longer sequences were asked for than the model was made for.
    pub(crate) fn check_len(&self, limits: &EngineLimits) -> Result<()> {
        let most = self.shape.max_position;
        if let Some(asked) = limits.max_model_len.filter(|&asked| asked > most) {
            bail!(
                "--{} {asked} is more than {} was made for; it can have {most} at most",
                setting::MAX_MODEL_LEN.flag(),
                self.root
            );
        }
        Ok(())
    }

    /// Bytes that a block of the KV cache takes.
    pub(crate) fn kv_bytes_per_block(&self) -> u64 {
        self.shape.kv_bytes_per_block(self.dtype) as u64
    }

    /// Tokens with which it ends its answers.
    pub(crate) fn end_tokens(&self) -> Vec<TokenId> {
        match self.generation.eos_token_ids.as_slice() {
            [] => self.tokenizer.eos_token_id().into_iter().collect(),
            ids => ids.to_vec(),
        }
    }

    /// How tokens are drawn when the caller does not say.
    pub(crate) fn sampling_defaults(&self) -> SamplingDefaults {
        let usual = SamplingDefaults::default();
        let GenerationDefaults {
            temperature,
            top_p,
            top_k,
            repetition_penalty,
            ..
        } = self.generation;
        SamplingDefaults {
            temperature: temperature.unwrap_or(usual.temperature),
            top_p: top_p.unwrap_or(usual.top_p),
            top_k: top_k.or(usual.top_k),
            repetition_penalty: repetition_penalty.unwrap_or(usual.repetition_penalty),
            ..usual
        }
    }

    /// In a few words: family, weights on disk, dtype, device.
    pub(crate) fn summary(&self) -> String {
        let weights = ByteSize(weight_bytes(&self.dir));
        let dtype = self.dtype.as_str();
        let place = match self.device {
            DeviceChoice::Cpu => "the CPU".to_owned(),
            DeviceChoice::Cuda(ordinal) => format!("CUDA device {ordinal}"),
        };
        format!(
            "{:?}, {weights} of weights, {dtype} on {place}",
            self.shape.architecture
        )
    }
}

/// Bytes of the safetensors files in a folder.
pub(crate) fn weight_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let weights =
        entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "safetensors"));
    // Through the links of the hub's cache.
    weights
        .filter_map(|entry| Some(std::fs::metadata(entry.path()).ok()?.len()))
        .sum()
}

fn dtype(dtype: Dtype) -> DType {
    match dtype {
        Dtype::F32 => DType::F32,
        Dtype::Bf16 => DType::BF16,
        Dtype::F16 => DType::F16,
    }
}

fn load_format(format: LoadFormat) -> portcullis_models::LoadFormat {
    match format {
        LoadFormat::Auto => portcullis_models::LoadFormat::Auto,
        LoadFormat::Dummy => portcullis_models::LoadFormat::Dummy { seed: DUMMY_SEED },
    }
}

/// A folder here, or else a name on the hub, from where `fetch` gets it.
///
/// # Errors
/// It is neither.
pub(crate) fn locate(
    name: &str,
    hub: &HubConfig,
    fetch: fn(&str, &HubOptions) -> Result<PathBuf, ModelError>,
) -> Result<PathBuf> {
    if Path::new(name).is_dir() {
        return Ok(PathBuf::from(name));
    }
    let options = HubOptions {
        endpoint: hub.endpoint.clone(),
        token: hub.token.clone(),
        home: hub.home.clone(),
        revision: hub.revision.clone(),
        is_offline: hub.is_offline,
        shows_progress: std::io::stderr().is_terminal(),
    };
    let place = if hub.is_offline {
        "the hub's cache"
    } else {
        "the hub"
    };
    tracing::info!("{name} is no folder here: looking for it in {place}");
    fetch(name, &options)
        .with_context(|| format!("{name} is no folder here, and {place} has not given it either"))
}

/// Whether a name looks like `org/name` rather than like a path.
pub(crate) fn may_be_on_hub(name: &str) -> bool {
    name.matches('/').count() == 1 && !name.starts_with(['.', '/', '~'])
}

/// A folder's own name, or the whole name on the hub.
pub(crate) fn deployment_of(name: &str) -> &str {
    let path = Path::new(name);
    match path.is_dir() {
        true => path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or(name),
        false => name,
    }
}
