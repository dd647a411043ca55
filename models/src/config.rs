//! `config.json` of the Hugging Face layout: [`Config`] is what is left when every mistake is ruled
//! out.

use std::path::Path;

use candle_core::DType;
use portcullis_kernels::BLOCK_TOKENS;
use serde::Deserialize;

use crate::ModelError;

/// The families that one decoder covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2 and 3.
    Llama,
    /// Mistral.
    Mistral,
    /// Mixtral: Mistral with experts.
    Mixtral,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3.
    Qwen3,
}

const ARCHITECTURES: [(&str, Architecture); 5] = [
    ("LlamaForCausalLM", Architecture::Llama),
    ("MistralForCausalLM", Architecture::Mistral),
    ("MixtralForCausalLM", Architecture::Mixtral),
    ("Qwen2ForCausalLM", Architecture::Qwen2),
    ("Qwen3ForCausalLM", Architecture::Qwen3),
];

/// How rotary frequencies are changed for longer contexts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Positions divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Llama 3: long wavelengths scaled, short ones kept, smooth between.
    Llama3 {
        /// Of the long wavelengths.
        factor: f64,
        /// Below it a wavelength is long.
        low_freq_factor: f64,
        /// Above it a wavelength is short.
        high_freq_factor: f64,
        /// Context length of the first training.
        original_max_position: f64,
    },
}

/// A mixture of experts in place of the feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Experts {
    /// How many there are.
    pub num_experts: usize,
    /// How many each token goes to.
    pub experts_per_token: usize,
}

/// A decoder's shape, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward part, or of one expert.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads: a divisor of `num_heads`.
    pub num_kv_heads: usize,
    /// Width of a head, even.
    pub head_dim: usize,
    /// Tokens that the model knows.
    pub vocab_size: usize,
    /// Context length that the model was made for.
    pub max_position: usize,
    /// Added to the variance in RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How they are scaled.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the output projection is the embedding.
    pub tied_embeddings: bool,
    /// Whether q, k and v have a bias.
    pub qkv_bias: bool,
    /// Whether the attention's output has one.
    pub output_bias: bool,
    /// Whether the feed-forward projections have one.
    pub mlp_bias: bool,
    /// Whether q and k are normalised by head.
    pub qk_norm: bool,
    /// Experts, for Mixtral.
    pub experts: Option<Experts>,
    /// For each layer, how many of the last positions it sees; `None` sees all.
    pub windows: Vec<Option<usize>>,
    /// Tokens that end an answer, as config.json says.
    pub eos_token_ids: Vec<u32>,
    /// The dtype that the weights were saved in, if the file says.
    pub saved_dtype: Option<DType>,
}

impl Config {
    /// Reads `config.json` of a folder.
    ///
    /// # Errors
    /// The file cannot be read, or says what no decoder here can do: all mistakes at once.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let path = dir.join("config.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ModelError::NotAModel {
                    path: dir.into(),
                    what: "config.json",
                });
            }
            Err(source) => return Err(ModelError::Unreadable { path, source }),
        };
        let raw: RawConfig = match serde_json::from_slice(&bytes) {
            Ok(raw) => raw,
            Err(error) => {
                return Err(ModelError::Config {
                    path,
                    mistakes: vec![error.to_string()],
                });
            }
        };
        raw.check()
            .map_err(|mistakes| ModelError::Config { path, mistakes })
    }

    /// Bytes that a block of the KV cache takes, all layers together.
    pub fn kv_bytes_per_block(&self, dtype: DType) -> usize {
        2 * self.num_layers
            * self.num_kv_heads
            * BLOCK_TOKENS
            * self.head_dim
            * dtype.size_in_bytes()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

#[derive(Deserialize)]
struct RawRope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

/// The file as it is: everything optional, nothing believed.
#[derive(Deserialize)]
struct RawConfig {
    architectures: Option<Vec<String>>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    num_local_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    eos_token_id: Option<OneOrMany>,
    #[serde(alias = "dtype")]
    torch_dtype: Option<String>,
    auto_map: Option<serde_json::Value>,
    quantization_config: Option<serde_json::Value>,
}

/// Collects mistakes while the rest is still looked at.
#[derive(Default)]
struct Mistakes(Vec<String>);

impl Mistakes {
    fn require(&mut self, name: &str, value: Option<usize>) -> usize {
        match value {
            Some(0) => self.say(format!("{name} is 0")),
            Some(value) => return value,
            None => self.say(format!("{name} is missing")),
        }
        1
    }

    fn say(&mut self, mistake: impl Into<String>) {
        self.0.push(mistake.into());
    }
}

impl RawConfig {
    fn check(&self) -> Result<Config, Vec<String>> {
        let mut mistakes = Mistakes::default();
        self.check_supported(&mut mistakes);
        let architecture = self.architecture(&mut mistakes);
        let hidden_size = mistakes.require("hidden_size", self.hidden_size);
        let num_heads = mistakes.require("num_attention_heads", self.num_attention_heads);
        let num_kv_heads = self.num_key_value_heads.unwrap_or(num_heads);
        let head_dim = self.head_dim.unwrap_or(hidden_size / num_heads);
        check_heads(num_heads, num_kv_heads, head_dim, &mut mistakes);
        let num_layers = mistakes.require("num_hidden_layers", self.num_hidden_layers);
        let attention_bias = self.attention_bias.unwrap_or(false);
        let config = Config {
            architecture,
            hidden_size,
            intermediate_size: mistakes.require("intermediate_size", self.intermediate_size),
            num_layers,
            num_heads,
            num_kv_heads,
            head_dim,
            vocab_size: mistakes.require("vocab_size", self.vocab_size),
            max_position: mistakes.require("max_position_embeddings", self.max_position_embeddings),
            rms_norm_eps: self.rms_norm_eps.unwrap_or(1e-6),
            rope_theta: self.rope_theta(),
            rope_scaling: self.rope_scaling(&mut mistakes),
            tied_embeddings: self.tie_word_embeddings.unwrap_or(false),
            qkv_bias: attention_bias || architecture == Architecture::Qwen2,
            output_bias: attention_bias && architecture != Architecture::Qwen2,
            mlp_bias: self.mlp_bias.unwrap_or(false),
            qk_norm: architecture == Architecture::Qwen3,
            experts: self.experts(architecture, &mut mistakes),
            windows: self.windows(architecture, num_layers, &mut mistakes),
            eos_token_ids: self.eos_token_ids(),
            saved_dtype: self.saved_dtype(),
        };
        if mistakes.0.is_empty() {
            Ok(config)
        } else {
            Err(mistakes.0)
        }
    }

    fn check_supported(&self, mistakes: &mut Mistakes) {
        if self.auto_map.is_some() {
            mistakes
                .say("auto_map asks to run code that comes with the model, which is never done");
        }
        if self.quantization_config.is_some() {
            mistakes.say("quantised weights are not supported; use a bf16, f16 or f32 checkpoint");
        }
        if let Some(activation) = self.hidden_act.as_deref().filter(|a| *a != "silu") {
            mistakes.say(format!(
                "hidden_act {activation:?} is not supported; silu is"
            ));
        }
    }

    fn architecture(&self, mistakes: &mut Mistakes) -> Architecture {
        let names = self.architectures.as_deref().unwrap_or_default();
        let known = |name: &String| ARCHITECTURES.iter().find(|(known, _)| known == name);
        if let Some((_, architecture)) = names.iter().find_map(known) {
            return *architecture;
        }
        let supported = ARCHITECTURES.map(|(name, _)| name).join(", ");
        mistakes.say(match names.first() {
            Some(name) => {
                format!("architecture {name} is not supported; supported are {supported}")
            }
            None => format!("architectures is missing; supported are {supported}"),
        });
        Architecture::Llama
    }

    fn rope_theta(&self) -> f64 {
        let nested = self
            .rope_parameters
            .as_ref()
            .and_then(|rope| rope.rope_theta);
        self.rope_theta.or(nested).unwrap_or(10_000.0)
    }

    fn rope_scaling(&self, mistakes: &mut Mistakes) -> Option<RopeScaling> {
        let rope = self
            .rope_scaling
            .as_ref()
            .or(self.rope_parameters.as_ref())?;
        let mut number = |name: &str, value: Option<f64>| match value {
            Some(value) if value > 0.0 => value,
            _ => {
                mistakes.say(format!("rope_scaling: {name} is missing or not above 0"));
                1.0
            }
        };
        match rope.rope_type.as_deref() {
            None | Some("default") => None,
            Some("linear") => Some(RopeScaling::Linear {
                factor: number("factor", rope.factor),
            }),
            Some("llama3") => Some(RopeScaling::Llama3 {
                factor: number("factor", rope.factor),
                low_freq_factor: number("low_freq_factor", rope.low_freq_factor),
                high_freq_factor: number("high_freq_factor", rope.high_freq_factor),
                original_max_position: number(
                    "original_max_position_embeddings",
                    rope.original_max_position_embeddings,
                ),
            }),
            Some(other) => {
                mistakes.say(format!(
                    "rope_scaling {other:?} is not supported; llama3 and linear are"
                ));
                None
            }
        }
    }

    fn experts(&self, architecture: Architecture, mistakes: &mut Mistakes) -> Option<Experts> {
        if architecture != Architecture::Mixtral {
            return None;
        }
        let num_experts = mistakes.require("num_local_experts", self.num_local_experts);
        let experts_per_token = mistakes.require("num_experts_per_tok", self.num_experts_per_tok);
        if experts_per_token > num_experts {
            mistakes.say(format!(
                "num_experts_per_tok {experts_per_token} is above num_local_experts {num_experts}"
            ));
        }
        Some(Experts {
            num_experts,
            experts_per_token,
        })
    }

    /// Mistral has a window in every layer; Qwen2 only where it is asked for, by layer.
    fn windows(
        &self,
        architecture: Architecture,
        num_layers: usize,
        mistakes: &mut Mistakes,
    ) -> Vec<Option<usize>> {
        let is_qwen = matches!(architecture, Architecture::Qwen2 | Architecture::Qwen3);
        let window = match architecture {
            Architecture::Llama => None,
            _ if is_qwen && !self.use_sliding_window.unwrap_or(false) => None,
            _ => self.sliding_window,
        };
        if let Some(types) = &self.layer_types {
            if types.len() != num_layers {
                mistakes.say(format!(
                    "layer_types has {} entries for {num_layers} layers",
                    types.len()
                ));
            }
            return types
                .iter()
                .map(|t| window.filter(|_| t == "sliding_attention"))
                .collect();
        }
        let first = if is_qwen {
            self.max_window_layers.unwrap_or(num_layers)
        } else {
            0
        };
        (0..num_layers)
            .map(|layer| window.filter(|_| layer >= first))
            .collect()
    }

    fn eos_token_ids(&self) -> Vec<u32> {
        match &self.eos_token_id {
            Some(OneOrMany::One(id)) => vec![*id],
            Some(OneOrMany::Many(ids)) => ids.clone(),
            None => Vec::new(),
        }
    }

    fn saved_dtype(&self) -> Option<DType> {
        match self.torch_dtype.as_deref()? {
            "float32" => Some(DType::F32),
            "bfloat16" => Some(DType::BF16),
            "float16" => Some(DType::F16),
            _ => None,
        }
    }
}

fn check_heads(heads: usize, kv_heads: usize, head_dim: usize, mistakes: &mut Mistakes) {
    if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        mistakes.say(format!(
            "num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
        ));
    }
    if head_dim == 0 || !head_dim.is_multiple_of(2) {
        mistakes.say(format!("head_dim {head_dim} is not an even number above 0"));
    }
}

/// What `generation_config.json` recommends for a call that does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// Temperature; 0 where the file says not to sample.
    pub temperature: Option<f32>,
    /// Nucleus.
    pub top_p: Option<f32>,
    /// Likeliest tokens.
    pub top_k: Option<u32>,
    /// Divides logits of tokens seen.
    pub repetition_penalty: Option<f32>,
}

#[derive(Deserialize)]
struct RawGeneration {
    eos_token_id: Option<OneOrMany>,
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
    repetition_penalty: Option<f32>,
}

impl GenerationDefaults {
    /// Reads `generation_config.json`; a folder without one recommends nothing but the end tokens
    /// of `config`.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn load(dir: &Path, config: &Config) -> Result<Self, ModelError> {
        let path = dir.join("generation_config.json");
        let Ok(bytes) = std::fs::read(&path) else {
            return Ok(Self {
                eos_token_ids: config.eos_token_ids.clone(),
                ..Self::default()
            });
        };
        let raw: RawGeneration =
            serde_json::from_slice(&bytes).map_err(|e| ModelError::Config {
                path,
                mistakes: vec![e.to_string()],
            })?;
        let eos_token_ids = match raw.eos_token_id {
            Some(OneOrMany::One(id)) => vec![id],
            Some(OneOrMany::Many(ids)) => ids,
            None => config.eos_token_ids.clone(),
        };
        let temperature = if raw.do_sample == Some(false) {
            Some(0.0)
        } else {
            raw.temperature
        };
        Ok(Self {
            eos_token_ids,
            temperature,
            top_p: raw.top_p,
            top_k: raw.top_k.filter(|k| *k > 0),
            repetition_penalty: raw.repetition_penalty,
        })
    }
}
