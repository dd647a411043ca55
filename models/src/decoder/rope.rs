//! Rotary position embedding. Source: RoFormer, arXiv:2104.09864; halves rotated as in Llama.

use std::f64::consts::PI;

use candle_core::{Device, Result, Tensor};
use portcullis_kernels::{PagedBatch, rope_kv_write};

use crate::kv_cache::LayerCache;
use crate::{Config, RopeScaling};

/// Cosines and sines for every position of the context, f32 `[max_position, head_dim / 2]`.
pub(super) struct Rope {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    pub(super) fn new(config: &Config, device: &Device) -> Result<Self> {
        let frequencies = frequencies(config);
        let angles: Vec<f32> = (0..config.max_position)
            .flat_map(|position| frequencies.iter().map(move |f| position as f32 * *f as f32))
            .collect();
        let angles = Tensor::from_vec(angles, (config.max_position, config.head_dim / 2), device)?;
        Ok(Self {
            cos: angles.cos()?,
            sin: angles.sin()?,
        })
    }

    /// Rotates q and k, `[num_tokens, heads, head_dim]`, to their positions, writes k and v into
    /// the cache and returns q.
    pub(super) fn write(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        batch: &PagedBatch,
        cache: &LayerCache,
    ) -> Result<Tensor> {
        rope_kv_write(q, k, v, &self.cos, &self.sin, &cache.k, &cache.v, batch)
    }
}

/// Radians per position for each pair of dimensions.
fn frequencies(config: &Config) -> Vec<f64> {
    let dim = config.head_dim as f64;
    let base = |i: usize| config.rope_theta.powf(-(2.0 * i as f64) / dim);
    let scaled = |frequency: f64| match config.rope_scaling {
        None => frequency,
        Some(RopeScaling::Linear { factor }) => frequency / factor,
        Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position,
        }) => {
            let wavelength = 2.0 * PI / frequency;
            let smooth = (original_max_position / wavelength - low_freq_factor)
                / (high_freq_factor - low_freq_factor);
            // Below 0 the wavelength is long, above 1 it is short.
            let keep = smooth.clamp(0.0, 1.0);
            frequency * (keep + (1.0 - keep) / factor)
        }
    };
    (0..config.head_dim / 2).map(|i| scaled(base(i))).collect()
}
