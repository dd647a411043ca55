//! `config.json` as it is written, and what makes a [`Config`] of it.

use candle_core::DType;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Architecture, Config, Experts, RopeScaling};
use crate::generation::OneOrMany;
use crate::mistakes::Mistakes;

const ARCHITECTURES: [(&str, Architecture); 5] = [
    ("LlamaForCausalLM", Architecture::Llama),
    ("MistralForCausalLM", Architecture::Mistral),
    ("MixtralForCausalLM", Architecture::Mixtral),
    ("Qwen2ForCausalLM", Architecture::Qwen2),
    ("Qwen3ForCausalLM", Architecture::Qwen3),
];

/// The file as it is: everything optional, nothing believed.
pub(super) struct RawConfig {
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
    partial_rotary_factor: Option<f64>,
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
    dtype: Option<String>,
    auto_map: Option<Value>,
    quantization_config: Option<Value>,
}

impl RawConfig {
    /// Field by field, so that a value of the wrong type hides no other mistake.
    pub(super) fn read(mut object: Map<String, Value>, mistakes: &mut Mistakes) -> Self {
        let (object, it) = (&mut object, mistakes);
        Self {
            architectures: it.field(object, "architectures"),
            hidden_size: it.field(object, "hidden_size"),
            intermediate_size: it.field(object, "intermediate_size"),
            num_hidden_layers: it.field(object, "num_hidden_layers"),
            num_attention_heads: it.field(object, "num_attention_heads"),
            num_key_value_heads: it.field(object, "num_key_value_heads"),
            head_dim: it.field(object, "head_dim"),
            vocab_size: it.field(object, "vocab_size"),
            max_position_embeddings: it.field(object, "max_position_embeddings"),
            rms_norm_eps: it.field(object, "rms_norm_eps"),
            rope_theta: it.field(object, "rope_theta"),
            rope_scaling: it.field(object, "rope_scaling"),
            rope_parameters: it.field(object, "rope_parameters"),
            partial_rotary_factor: it.field(object, "partial_rotary_factor"),
            tie_word_embeddings: it.field(object, "tie_word_embeddings"),
            attention_bias: it.field(object, "attention_bias"),
            mlp_bias: it.field(object, "mlp_bias"),
            hidden_act: it.field(object, "hidden_act"),
            sliding_window: it.field(object, "sliding_window"),
            use_sliding_window: it.field(object, "use_sliding_window"),
            max_window_layers: it.field(object, "max_window_layers"),
            layer_types: it.field(object, "layer_types"),
            num_local_experts: it.field(object, "num_local_experts"),
            num_experts_per_tok: it.field(object, "num_experts_per_tok"),
            eos_token_id: it.field(object, "eos_token_id"),
            dtype: it
                .field(object, "dtype")
                .or_else(|| it.field(object, "torch_dtype")),
            auto_map: it.field(object, "auto_map"),
            quantization_config: it.field(object, "quantization_config"),
        }
    }
}

impl RawConfig {
    /// The configuration, which is right if there are no mistakes.
    pub(super) fn check(&self, mistakes: &mut Mistakes) -> Config {
        self.check_supported(mistakes);
        let architecture = self.architecture(mistakes);
        let hidden_size = mistakes.require("hidden_size", self.hidden_size);
        let num_heads = mistakes.require("num_attention_heads", self.num_attention_heads);
        let num_kv_heads = self.num_key_value_heads.unwrap_or(num_heads);
        let head_dim = self.head_dim(architecture, hidden_size / num_heads);
        check_heads(num_heads, num_kv_heads, head_dim, mistakes);
        let num_layers = mistakes.require("num_hidden_layers", self.num_hidden_layers);
        let attention_bias = self.attention_bias.unwrap_or(false);
        Config {
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
            rope_theta: self.rope_theta(architecture),
            rope_scaling: self.rope_scaling(mistakes),
            tied_embeddings: self.tie_word_embeddings.unwrap_or(false),
            qkv_bias: attention_bias || architecture == Architecture::Qwen2,
            output_bias: attention_bias && architecture != Architecture::Qwen2,
            mlp_bias: self.mlp_bias.unwrap_or(false),
            qk_norm: architecture == Architecture::Qwen3,
            experts: self.experts(architecture, mistakes),
            windows: self.windows(architecture, num_layers, mistakes),
            eos_token_ids: self.eos_token_id.clone().map(Vec::from).unwrap_or_default(),
            saved_dtype: self.saved_dtype(),
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
        if let Some(part) = self.partial_rotary_factor.filter(|part| *part != 1.0) {
            mistakes.say(format!(
                "partial_rotary_factor {part} is not supported; 1 is"
            ));
        }
        if self.sliding_window == Some(0) {
            mistakes.say("sliding_window is 0");
        }
    }

    /// What transformers takes where the file does not say.
    fn head_dim(&self, architecture: Architecture, derived: usize) -> usize {
        self.head_dim.unwrap_or(match architecture {
            Architecture::Qwen3 => 128,
            _ => derived,
        })
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

    fn rope_theta(&self, architecture: Architecture) -> f64 {
        let usual = match architecture {
            Architecture::Mixtral => 1_000_000.0,
            _ => 10_000.0,
        };
        let nested = self
            .rope_parameters
            .as_ref()
            .and_then(|rope| rope.rope_theta);
        self.rope_theta.or(nested).unwrap_or(usual)
    }

    fn rope_scaling(&self, mistakes: &mut Mistakes) -> Option<RopeScaling> {
        let rope = self
            .rope_scaling
            .as_ref()
            .or(self.rope_parameters.as_ref())?;
        let mut number = |name: &str, value: Option<f64>| match value {
            Some(value) if value > 0.0 => value,
            _ => {
                mistakes.say(format!("rope_scaling: {name} is missing or too small"));
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
                high_freq_factor: number(
                    "high_freq_factor",
                    // Between the two the scaling is blended: there must be something between.
                    rope.high_freq_factor
                        .filter(|high| Some(*high) > rope.low_freq_factor),
                ),
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
                .map(|kind| match kind.as_str() {
                    "sliding_attention" => window,
                    "full_attention" => None,
                    other => {
                        mistakes.say(format!("layer_types: {other:?} is not supported"));
                        None
                    }
                })
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

    fn saved_dtype(&self) -> Option<DType> {
        match self.dtype.as_deref()? {
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
