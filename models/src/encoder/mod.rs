//! Embedding models: an encoder of the BERT family, and what makes one vector of its states, after
//! the files of sentence-transformers.

mod config;
mod tensors;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::BertModel;

pub use config::{EncoderConfig, Pooling};

use crate::ModelError;
use crate::weights::Weights;

/// Keeps the norm of a vector of zeros from dividing it. Source: torch's `normalize`.
const NORM_MIN: f64 = 1e-12;

/// An embedding model on the CPU, in f32.
pub struct Encoder {
    config: EncoderConfig,
    model: BertModel,
}

impl Encoder {
    /// Reads a folder as sentence-transformers has it; one without its files is pooled by the mean,
    /// as it does.
    ///
    /// # Errors
    /// The folder asks for what is not done here, or a tensor is missing, mis-shaped or broken.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let config = EncoderConfig::load(dir)?;
        let weights = Weights::open(dir, DType::F32, &Device::Cpu)?;
        let tensors = tensors::load(&weights, &config)?;
        let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let model = BertModel::load(builder, &config.bert())?;
        Ok(Self { config, model })
    }

    /// The checked configuration.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// One vector of [`EncoderConfig::hidden_size`] for each text, which has at least one token and
    /// at most [`EncoderConfig::max_tokens`]. What a text gives does not depend on its neighbours,
    /// but for rounding.
    ///
    /// # Errors
    /// A tensor operation fails, as for a token that the model does not have.
    pub fn embed(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, ModelError> {
        let (tokens, mask) = self.lay_out(texts)?;
        let states = self
            .model
            .forward(&tokens, &tokens.zeros_like()?, Some(&mask))?;
        let vectors = match self.config.pooling {
            Pooling::FirstToken => states.narrow(1, 0, 1)?.squeeze(1)?,
            Pooling::Mean => mean(&states, &mask)?,
        };
        let vectors = match self.config.normalised {
            true => normalise(&vectors)?,
            false => vectors,
        };
        Ok(vectors.to_vec2()?)
    }

    /// Tokens, filled up to the longest text, and 1 where they are a text's: both
    /// `[num_texts, longest]`.
    fn lay_out(&self, texts: &[&[u32]]) -> candle_core::Result<(Tensor, Tensor)> {
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let padding = |text: &[u32]| longest - text.len();
        let mut tokens = Vec::with_capacity(texts.len() * longest);
        let mut mask = Vec::with_capacity(texts.len() * longest);
        for text in texts {
            tokens.extend_from_slice(text);
            tokens.extend(std::iter::repeat_n(self.config.pad_token, padding(text)));
            mask.extend(std::iter::repeat_n(1f32, text.len()));
            mask.extend(std::iter::repeat_n(0f32, padding(text)));
        }
        let shape = (texts.len(), longest);
        Ok((
            Tensor::from_vec(tokens, shape, &Device::Cpu)?,
            Tensor::from_vec(mask, shape, &Device::Cpu)?,
        ))
    }
}

/// The mean of a text's own states: `[num_texts, longest, hidden]` to `[num_texts, hidden]`.
fn mean(states: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
    let sums = states.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?;
    sums.broadcast_div(&mask.sum_keepdim(1)?)
}

fn normalise(vectors: &Tensor) -> candle_core::Result<Tensor> {
    let norms = vectors.sqr()?.sum_keepdim(1)?.sqrt()?;
    vectors.broadcast_div(&norms.maximum(NORM_MIN)?)
}
