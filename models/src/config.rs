//! `config.json` of the Hugging Face layout: [`Config`] is what is left when every mistake is ruled
//! out.

mod raw;

use std::path::Path;

use candle_core::DType;
use portcullis_kernels::{BLOCK_TOKENS, decode_scratch_bytes};
use raw::RawConfig;

use crate::ModelError;
use crate::mistakes::{Mistakes, read_object};

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
        let mut mistakes = Mistakes::default();
        let raw = RawConfig::read(read_object(&path, &bytes)?, &mut mistakes);
        let config = raw.check(&mut mistakes);
        mistakes.none_or(config, &path)
    }

    /// Bytes that a block of the KV cache takes, all layers together.
    pub fn kv_bytes_per_block(&self, dtype: DType) -> usize {
        2 * self.num_layers
            * self.num_kv_heads
            * BLOCK_TOKENS
            * self.head_dim
            * dtype.size_in_bytes()
    }

    /// Bytes that attention of a decode takes on a card beside its cache, at most.
    pub fn decode_scratch_bytes(&self, rows: usize, context: usize) -> usize {
        decode_scratch_bytes(rows, self.num_heads, self.head_dim, context)
    }
}
