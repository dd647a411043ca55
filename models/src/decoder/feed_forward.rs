//! The feed-forward part: one gated MLP, or a mixture of them.

use candle_core::{DType, Result, Tensor};
use portcullis_kernels::silu_mul;

use super::linear::Linear;
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
        let gated = silu_mul(&self.gate.forward(x)?, &self.up.forward(x)?)?;
        self.down.forward(&gated)
    }
}

/// Each token goes to its likeliest experts, weighted. Source: Mixtral of Experts,
/// arXiv:2401.04088.
pub(super) struct Mixture {
    router: Linear,
    experts: Vec<Mlp>,
    experts_per_token: usize,
}

/// The tokens that go to one expert, and with which weight.
#[derive(Clone, Default)]
struct Load {
    rows: Vec<u32>,
    weights: Vec<f32>,
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
        let expert = |index| {
            Mlp::load(
                config,
                weights,
                &format!("{prefix}.experts.{index}"),
                ["w1", "w3", "w2"],
            )
        };
        let sizes = (config.hidden_size, num_experts);
        Ok(Self {
            router: Linear::load(weights, &format!("{prefix}.gate"), sizes, false)?,
            experts: (0..num_experts)
                .map(expert)
                .collect::<std::result::Result<_, _>>()?,
            experts_per_token,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut out = x.zeros_like()?;
        // In the order of the experts, so that a token's sum is the same in any batch.
        for (expert, load) in self.experts.iter().zip(self.route(x)?) {
            if load.rows.is_empty() {
                continue;
            }
            let count = load.rows.len();
            let rows = Tensor::from_vec(load.rows, count, x.device())?;
            let weights = Tensor::from_vec(load.weights, (count, 1), x.device())?;
            let computed = expert.forward(&x.index_select(&rows, 0)?)?;
            let weighted = computed.broadcast_mul(&weights.to_dtype(x.dtype())?)?;
            out = out.index_add(&rows, &weighted, 0)?;
        }
        Ok(out)
    }

    /// Which tokens each expert gets.
    fn route(&self, x: &Tensor) -> Result<Vec<Load>> {
        let logits = self
            .router
            .forward(x)?
            .to_dtype(DType::F32)?
            .to_vec2::<f32>()?;
        let mut loads = vec![Load::default(); self.experts.len()];
        for (row, logits) in logits.iter().enumerate() {
            for (expert, weight) in likeliest(logits, self.experts_per_token) {
                loads[expert].rows.push(row as u32);
                loads[expert].weights.push(weight);
            }
        }
        Ok(loads)
    }
}

/// The `k` largest logits with their softmax among themselves; ties go to the lower index.
fn likeliest(logits: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order.truncate(k);
    let max = logits[order[0]];
    let exponentials: Vec<f32> = order.iter().map(|&i| (logits[i] - max).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    order
        .into_iter()
        .zip(exponentials)
        .map(|(expert, e)| (expert, e / sum))
        .collect()
}
