//! Rotary position embedding. Source: RoFormer, arXiv:2104.09864; halves rotated as in Llama.

use std::f64::consts::PI;

use candle_core::{DType, Device, Result, Tensor};

use crate::{Config, RopeScaling};

/// Cosines and sines for every position of the context, `[max_position, head_dim / 2]`.
pub(super) struct Rope {
    cos: Tensor,
    sin: Tensor,
    device: Device,
}

/// Cosines and sines of the rows of a batch, `[num_tokens, head_dim / 2]`.
pub(super) struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    pub(super) fn new(config: &Config, dtype: DType, device: &Device) -> Result<Self> {
        let frequencies = frequencies(config);
        let angles: Vec<f32> = (0..config.max_position)
            .flat_map(|position| frequencies.iter().map(move |f| position as f32 * *f as f32))
            .collect();
        let angles = Tensor::from_vec(angles, (config.max_position, config.head_dim / 2), device)?;
        Ok(Self {
            cos: angles.cos()?.to_dtype(dtype)?,
            sin: angles.sin()?.to_dtype(dtype)?,
            device: device.clone(),
        })
    }

    pub(super) fn at(&self, positions: &[u32]) -> Result<Rotation> {
        let positions = Tensor::new(positions, &self.device)?;
        Ok(Rotation {
            cos: self.cos.index_select(&positions, 0)?,
            sin: self.sin.index_select(&positions, 0)?,
        })
    }
}

impl Rotation {
    /// Rotates q or k, `[num_tokens, heads, head_dim]`.
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::rotary_emb::rope_thd(&x.unsqueeze(0)?.contiguous()?, &self.cos, &self.sin)?
            .squeeze(0)
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
