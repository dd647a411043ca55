//! One decoder for all families: [`Decoder::forward`] is the whole model.

mod attention;
mod decode;
mod feed_forward;
mod linear;
mod norm;
mod rope;

use std::path::Path;

use attention::Attention;
use candle_core::{DType, Device, Tensor, bail};
pub use decode::decode_rows;
use feed_forward::FeedForward;
use linear::Linear;
use norm::{Norm, Stream};
use portcullis_kernels::{PagedBatch, SequenceSpan, embedding};
use rope::Rope;

use crate::weights::Weights;
use crate::{Config, KvCache, ModelError};

/// A decoder-only transformer with its weights.
pub struct Decoder {
    config: Config,
    dtype: DType,
    device: Device,
    /// `[vocab, hidden]`
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Norm,
    output: Linear,
    rope: Rope,
}

/// Where the weights come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadFormat {
    /// The safetensors files of the folder.
    #[default]
    Auto,
    /// Random weights of the configured shape; the folder needs config.json alone.
    Dummy {
        /// Of the random numbers.
        seed: u64,
    },
}

/// How a decoder is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// f32, bf16 or f16: the dtype of weights, activations and cache.
    pub dtype: DType,
    /// Where it runs.
    pub device: Device,
    /// Where the weights come from.
    pub format: LoadFormat,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            dtype: DType::F32,
            device: Device::Cpu,
            format: LoadFormat::Auto,
        }
    }
}

/// The tokens of one step: prefill chunks and decodes of several sequences, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Token ids, `[num_tokens]`.
    pub tokens: Vec<u32>,
    /// Position of each token in its sequence, `[num_tokens]`.
    pub positions: Vec<u32>,
    /// The sequences in row order.
    pub sequences: Vec<SequenceSpan>,
    /// Rows whose logits are wanted.
    pub sample_rows: Vec<u32>,
}

impl Decoder {
    /// Loads the model of a folder.
    ///
    /// # Errors
    /// The configuration is not supported, or a tensor is missing, mis-shaped or broken.
    pub fn load(dir: &Path, options: &LoadOptions) -> Result<Self, ModelError> {
        let config = Config::load(dir)?;
        let LoadOptions {
            dtype,
            device,
            format,
        } = options;
        let weights = match format {
            LoadFormat::Auto => Weights::open(dir, *dtype, device)?,
            LoadFormat::Dummy { seed } => Weights::dummy(*seed, *dtype, device),
        };
        Self::build(config, &weights, *dtype, device)
    }

    fn build(
        config: Config,
        weights: &Weights,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let vocab = [config.vocab_size, config.hidden_size];
        let table = weights.get("model.embed_tokens.weight", &vocab)?;
        let output = match config.tied_embeddings {
            true => Linear::new(&table, None)?,
            false => Linear::new(&weights.get("lm_head.weight", &vocab)?, None)?,
        };
        let layer = |index| Layer::load(&config, weights, index);
        Ok(Self {
            layers: (0..config.num_layers)
                .map(layer)
                .collect::<Result<_, _>>()?,
            norm: Norm::load(weights, "model.norm.weight", config.hidden_size, &config)?,
            embedding: table,
            output,
            rope: Rope::new(&config, device)?,
            dtype,
            device: device.clone(),
            config,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The dtype of weights, activations and cache.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A cache for this decoder.
    ///
    /// # Errors
    /// The device has no memory for it.
    pub fn new_cache(&self, num_blocks: usize) -> Result<KvCache, ModelError> {
        KvCache::new(&self.config, num_blocks, self.dtype, &self.device)
    }

    /// Computes a step: writes K and V of every token into `cache`, and returns the logits of the
    /// sampled rows, f32 `[num_sample_rows, vocab]`.
    ///
    /// # Errors
    /// A batch that does not hold together, or memory that ran out.
    pub fn forward(&self, batch: &Batch, cache: &mut KvCache) -> Result<Tensor, ModelError> {
        let paged = PagedBatch::new(batch.sequences.clone(), cache.num_blocks(), &self.device)?;
        self.check(batch, paged.num_tokens())?;
        let tokens = Tensor::new(batch.tokens.as_slice(), &self.device)?;
        let stream = self.through_layers(&tokens, &paged, cache)?;
        if batch.sample_rows.is_empty() {
            // A card has no tensors without elements.
            return Ok(Tensor::zeros(
                (0, self.config.vocab_size),
                DType::F32,
                &Device::Cpu,
            )?);
        }
        let rows = Tensor::new(batch.sample_rows.as_slice(), &self.device)?;
        let sampled = stream.select(&rows)?.norm(&self.norm)?;
        Ok(self.output.forward(&sampled)?.to_dtype(DType::F32)?)
    }

    fn through_layers(
        &self,
        tokens: &Tensor,
        batch: &PagedBatch,
        cache: &mut KvCache,
    ) -> candle_core::Result<Stream> {
        let mut stream = Stream::new(embedding(tokens, &self.embedding)?);
        for (index, layer) in self.layers.iter().enumerate() {
            layer.forward(&mut stream, &self.rope, batch, cache.layer(index))?;
        }
        Ok(stream)
    }

    /// What the ops would not see, or see as an index out of bounds somewhere inside.
    fn check(&self, batch: &Batch, num_tokens: usize) -> candle_core::Result<()> {
        let Batch {
            tokens,
            positions,
            sequences,
            sample_rows,
        } = batch;
        if tokens.len() != num_tokens || positions.len() != num_tokens {
            bail!(
                "{} tokens and {} positions for sequences of {num_tokens} rows",
                tokens.len(),
                positions.len()
            );
        }
        let expected = sequences
            .iter()
            .flat_map(|s| s.first_position()..s.context_len);
        if !expected.eq(positions.iter().map(|&p| p as usize)) {
            bail!("positions are not those of the sequences");
        }
        let max_position = self.config.max_position;
        if let Some(longest) = sequences.iter().find(|s| s.context_len > max_position) {
            let len = longest.context_len;
            bail!("a sequence of {len} tokens, the model was made for {max_position}");
        }
        let vocab_size = self.config.vocab_size;
        if let Some(token) = tokens.iter().find(|&&t| t as usize >= vocab_size) {
            bail!("token {token} is none of the {vocab_size} of the vocabulary");
        }
        if let Some(row) = sample_rows.iter().find(|&&r| r as usize >= num_tokens) {
            bail!("row {row} is sampled, the batch has {num_tokens}");
        }
        Ok(())
    }
}

/// One decoder layer: attention and feed-forward, each with a norm before and a residual around.
struct Layer {
    attention_norm: Norm,
    attention: Attention,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

impl Layer {
    fn load(config: &Config, weights: &Weights, index: usize) -> Result<Self, ModelError> {
        let prefix = format!("model.layers.{index}");
        let norm = |name: &str| {
            let name = format!("{prefix}.{name}.weight");
            Norm::load(weights, &name, config.hidden_size, config)
        };
        Ok(Self {
            attention_norm: norm("input_layernorm")?,
            attention: Attention::load(config, weights, &prefix, config.windows[index])?,
            feed_forward_norm: norm("post_attention_layernorm")?,
            feed_forward: FeedForward::load(config, weights, &prefix)?,
        })
    }

    fn forward(
        &self,
        stream: &mut Stream,
        rope: &Rope,
        batch: &PagedBatch,
        cache: &crate::kv_cache::LayerCache,
    ) -> candle_core::Result<()> {
        let normed = stream.norm(&self.attention_norm)?;
        stream.add(self.attention.forward(&normed, rope, batch, cache)?);
        let normed = stream.norm(&self.feed_forward_norm)?;
        stream.add(self.feed_forward.forward(&normed)?);
        Ok(())
    }
}
