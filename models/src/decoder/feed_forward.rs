//! The feed-forward part: one gated MLP, or a mixture of them.

use candle_core::{Result, Tensor};
use portcullis_kernels::{mixture, route, silu_mul};

use super::linear::{Linear, forward_all};
use crate::weights::Weights;
use crate::{Config, Experts, ModelError};

pub(super) enum FeedForward {
    Dense(Mlp),
    Experts(Mixture),
}

impl FeedForward {
    pub(super) fn load(
        config: &Config,
        weights: &Weights,
        layer: &str,
    ) -> std::result::Result<Self, ModelError> {
        match config.experts {
            Some(experts) => Ok(Self::Experts(Mixture::load(
                config, experts, weights, layer,
            )?)),
            None => Ok(Self::Dense(Mlp::load(
                config,
                weights,
                &format!("{layer}.mlp"),
                ["gate_proj", "up_proj", "down_proj"],
            )?)),
        }
    }

    /// `[num_tokens, hidden]` to the same.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(mlp) => mlp.forward(x),
            Self::Experts(mixture) => mixture.forward(x),
        }
    }
}

/// `down(silu(gate(x)) * up(x))`. Source: GLU variants, arXiv:2002.05202.
pub(super) struct Mlp {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Mlp {
    fn load(
        config: &Config,
        weights: &Weights,
        prefix: &str,
        [gate, up, down]: [&str; 3],
    ) -> std::result::Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |name, sizes| {
            Linear::load(weights, &format!("{prefix}.{name}"), sizes, config.mlp_bias)
        };
        Ok(Self {
            gate: linear(gate, (hidden, inner))?,
            up: linear(up, (hidden, inner))?,
            down: linear(down, (inner, hidden))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [gate, up] = forward_all(x, [&self.gate, &self.up])?;
        self.down.forward(&silu_mul(&gate, &up)?)
    }
}

/// Each token goes to its likeliest experts, weighted. Source: Mixtral of Experts,
/// arXiv:2401.04088.
pub(super) struct Mixture {
    router: Linear,
    experts_per_token: usize,
    /// `[num_experts, inner, hidden]`
    gate: Tensor,
    up: Tensor,
    /// `[num_experts, hidden, inner]`
    down: Tensor,
}

impl Mixture {
    fn load(
        config: &Config,
        Experts {
            num_experts,
            experts_per_token,
        }: Experts,
        weights: &Weights,
        layer: &str,
    ) -> std::result::Result<Self, ModelError> {
        let prefix = format!("{layer}.block_sparse_moe");
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let stacked = |name: &str, shape: [usize; 2]| {
            let expert = |index| {
                let name = format!("{prefix}.experts.{index}.{name}.weight");
                weights.get(&name, &shape)
            };
            let experts: Vec<Tensor> = (0..num_experts)
                .map(expert)
                .collect::<std::result::Result<_, _>>()?;
            Ok::<_, ModelError>(Tensor::stack(&experts, 0)?)
        };
        let sizes = (hidden, num_experts);
        Ok(Self {
            router: Linear::load(weights, &format!("{prefix}.gate"), sizes, false)?,
            experts_per_token,
            gate: stacked("w1", [inner, hidden])?,
            up: stacked("w3", [inner, hidden])?,
            down: stacked("w2", [hidden, inner])?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let routing = route(&self.router.forward(x)?, self.experts_per_token)?;
        mixture(x, &routing, &self.gate, &self.up, &self.down)
    }
}
