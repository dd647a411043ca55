//! The tensors of a BERT checkpoint, each by its name in the file.

use std::collections::HashMap;

use candle_core::Tensor;

use super::EncoderConfig;
use crate::ModelError;
use crate::weights::Weights;

/// What a checkpoint with a head of its own puts before every name.
const PREFIX: &str = "bert.";

/// Every tensor of the model, under the name that the model asks for.
///
/// # Errors
/// One is missing or mis-shaped.
pub(super) fn load(
    weights: &Weights,
    config: &EncoderConfig,
) -> Result<HashMap<String, Tensor>, ModelError> {
    let load = |(name, shape): (String, Vec<usize>)| {
        let tensor = weights.get(&name_in_file(weights, &name), &shape)?;
        Ok((name, tensor))
    };
    all(config).into_iter().map(load).collect()
}

/// The same tensors come with and without a prefix, and norms by the names of BERT's first
/// checkpoints.
fn name_in_file(weights: &Weights, name: &str) -> String {
    let old = name
        .replace("LayerNorm.weight", "LayerNorm.gamma")
        .replace("LayerNorm.bias", "LayerNorm.beta");
    let spellings = [
        format!("{PREFIX}{name}"),
        format!("{PREFIX}{old}"),
        old.clone(),
    ];
    let found = spellings.into_iter().find(|name| weights.has(name));
    found.unwrap_or_else(|| name.to_owned())
}

/// Names and shapes.
fn all(config: &EncoderConfig) -> Vec<(String, Vec<usize>)> {
    let hidden = config.hidden_size;
    let mut tensors = vec![
        embedding("word", config.vocab_size, hidden),
        embedding("position", config.max_position, hidden),
        embedding("token_type", config.num_token_types, hidden),
    ];
    tensors.extend(norm("embeddings", hidden));
    for layer in 0..config.num_layers {
        let part = |part: &str| format!("encoder.layer.{layer}.{part}");
        for projection in ["query", "key", "value"] {
            let name = part(&format!("attention.self.{projection}"));
            tensors.extend(linear(&name, hidden, hidden));
        }
        tensors.extend(linear(&part("attention.output.dense"), hidden, hidden));
        tensors.extend(norm(&part("attention.output"), hidden));
        let inner = config.intermediate_size;
        tensors.extend(linear(&part("intermediate.dense"), hidden, inner));
        tensors.extend(linear(&part("output.dense"), inner, hidden));
        tensors.extend(norm(&part("output"), hidden));
    }
    tensors
}

fn embedding(of: &str, rows: usize, hidden: usize) -> (String, Vec<usize>) {
    let name = format!("embeddings.{of}_embeddings.weight");
    (name, vec![rows, hidden])
}

fn linear(name: &str, from: usize, to: usize) -> [(String, Vec<usize>); 2] {
    [
        (format!("{name}.weight"), vec![to, from]),
        (format!("{name}.bias"), vec![to]),
    ]
}

fn norm(part: &str, width: usize) -> [(String, Vec<usize>); 2] {
    ["weight", "bias"].map(|which| (format!("{part}.LayerNorm.{which}"), vec![width]))
}
