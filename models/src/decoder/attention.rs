//! Grouped-query attention over the paged cache.

use candle_core::{Result, Tensor};
use portcullis_kernels::{AttentionParams, PagedBatch, paged_attention};

use super::linear::{Linear, forward_all};
use super::norm::Norm;
use super::rope::Rope;
use crate::kv_cache::LayerCache;
use crate::weights::Weights;
use crate::{Config, ModelError};

pub(super) struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    output: Linear,
    /// Qwen3 normalises q and k by head, before the rotation.
    qk_norm: Option<(Norm, Norm)>,
    params: AttentionParams,
    num_heads: usize,
    num_kv_heads: usize,
    head_dim: usize,
}

impl Attention {
    pub(super) fn load(
        config: &Config,
        weights: &Weights,
        layer: &str,
        window: Option<usize>,
    ) -> std::result::Result<Self, ModelError> {
        let &Config {
            hidden_size,
            num_heads,
            num_kv_heads,
            head_dim,
            ..
        } = config;
        let (q_size, kv_size) = (num_heads * head_dim, num_kv_heads * head_dim);
        let linear = |name: &str, sizes, with_bias| {
            Linear::load(
                weights,
                &format!("{layer}.self_attn.{name}"),
                sizes,
                with_bias,
            )
        };
        let norm = |name: &str| {
            let name = format!("{layer}.self_attn.{name}.weight");
            Norm::load(weights, &name, head_dim, config)
        };
        Ok(Self {
            q: linear("q_proj", (hidden_size, q_size), config.qkv_bias)?,
            k: linear("k_proj", (hidden_size, kv_size), config.qkv_bias)?,
            v: linear("v_proj", (hidden_size, kv_size), config.qkv_bias)?,
            output: linear("o_proj", (q_size, hidden_size), config.output_bias)?,
            qk_norm: match config.qk_norm {
                true => Some((norm("q_norm")?, norm("k_norm")?)),
                false => None,
            },
            params: AttentionParams {
                scale: 1.0 / (head_dim as f32).sqrt(),
                window,
            },
            num_heads,
            num_kv_heads,
            head_dim,
        })
    }

    /// `[num_tokens, hidden]` to the same.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        rope: &Rope,
        batch: &PagedBatch,
        cache: &LayerCache,
    ) -> Result<Tensor> {
        let (q_norm, k_norm) = match &self.qk_norm {
            Some((q, k)) => (Some(q), Some(k)),
            None => (None, None),
        };
        let [q, k, v] = forward_all(x, [&self.q, &self.k, &self.v])?;
        let q = self.heads(q, self.num_heads, q_norm)?;
        let k = self.heads(k, self.num_kv_heads, k_norm)?;
        let v = self.heads(v, self.num_kv_heads, None)?;
        let q = rope.write(&q, &k, &v, batch, cache)?;
        let mixed = paged_attention(&q, &cache.k, &cache.v, batch, self.params)?;
        self.output.forward(&mixed.flatten_from(1)?)
    }

    /// `[num_tokens, heads * head_dim]` to `[num_tokens, heads, head_dim]`, each head normed if
    /// there is a norm.
    fn heads(&self, x: Tensor, heads: usize, norm: Option<&Norm>) -> Result<Tensor> {
        let x = match norm {
            Some(norm) => norm.forward(&x.reshape(((), self.head_dim))?)?,
            None => x,
        };
        x.reshape(((), heads, self.head_dim))
    }
}
