//! Logits against outside oracles: Hugging Face transformers (golden files made by
//! `scripts/golden/make.py`) for every family, candle-transformers for Llama and Mixtral.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use common::{FAMILIES, Golden, Pieces, worst_difference};
use portcullis_models::{LoadOptions, ModelError};

/// f32, against transformers: other orders of the same sums.
const TOLERANCE_F32: f32 = 1e-4;
/// f32, against candle-transformers: the same products, another attention.
const TOLERANCE_CANDLE: f32 = 1e-5;
/// bf16 keeps 8 bits: two layers of it on logits of about 4.
const TOLERANCE_BF16: f32 = 0.25;

#[test]
fn every_family_equals_transformers() {
    for family in FAMILIES {
        let golden = Golden::load(family);
        // At once, in chunks around the block size, token by token.
        for chunk in [usize::MAX, 33, 32, 31, 7, 1] {
            let logits = golden.compute(&LoadOptions::default(), Pieces::of(chunk));
            let worst = worst_difference(&logits, &golden.logits);
            assert!(
                worst <= TOLERANCE_F32,
                "{family} in chunks of {chunk}: off by {worst}"
            );
        }
    }
}

#[test]
fn bf16_stays_close() {
    for family in FAMILIES {
        let golden = Golden::load(family);
        let options = LoadOptions {
            dtype: DType::BF16,
            ..LoadOptions::default()
        };
        let logits = golden.compute(&options, Pieces::of(32));
        let far = rows_beyond(TOLERANCE_BF16, &logits, &golden.logits);
        // Where two experts are as likely but for rounding, a token may go to the other one.
        let allowed = usize::from(family == "mixtral");
        assert!(
            far <= allowed,
            "{family}: {far} rows are further off than {TOLERANCE_BF16}"
        );
    }
}

/// Rows of which some logit is further from the expected one.
fn rows_beyond(tolerance: f32, logits: &Tensor, expected: &Tensor) -> usize {
    let worst = (logits - expected).and_then(|off| off.abs()?.max(1)?.to_vec1::<f32>());
    let worst = worst.unwrap();
    worst.iter().filter(|&&off| off > tolerance).count()
}

/// A prefill and decodes of other sequences in the same steps change nothing but rounding.
#[test]
fn a_mixed_batch_equals_each_alone() {
    for family in FAMILIES {
        let golden = Golden::load(family);
        let worst = worst_difference(
            &golden.compute_in_company(&LoadOptions::default()),
            &golden.logits,
        );
        assert!(worst <= TOLERANCE_F32, "{family}: off by {worst}");
    }
}

#[test]
fn llama_equals_candle_transformers() -> Result<(), Box<dyn std::error::Error>> {
    use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
    let golden = Golden::load("llama2");
    let raw: LlamaConfig = serde_json::from_slice(&golden.read("config.json"))?;
    let config = raw.into_config(false);
    let model = Llama::load(weights(&golden)?, &config)?;
    let ours = golden.compute(&LoadOptions::default(), Pieces::of(usize::MAX));
    // It returns the logits of the last position: ask for every prefix.
    for len in [1, 2, 33, golden.tokens.len()] {
        let mut cache = Cache::new(true, DType::F32, &config, &Device::Cpu)?;
        let tokens = Tensor::new(&golden.tokens[..len], &Device::Cpu)?.unsqueeze(0)?;
        let theirs = model.forward(&tokens, 0, &mut cache)?.i(0)?;
        let worst = worst_difference(&ours.i(len - 1)?, &theirs);
        assert!(
            worst <= TOLERANCE_CANDLE,
            "after {len} tokens: off by {worst}"
        );
    }
    Ok(())
}

#[test]
fn mixtral_equals_candle_transformers() -> Result<(), Box<dyn std::error::Error>> {
    use candle_transformers::models::mixtral::{Config, Model};
    let golden = Golden::load("mixtral");
    let mut raw: serde_json::Value = serde_json::from_slice(&golden.read("config.json"))?;
    // It wants every field in its place, and a window: one longer than the sequence.
    raw["rope_theta"] = raw["rope_parameters"]["rope_theta"].clone();
    raw["sliding_window"] = 4096.into();
    raw["use_flash_attn"] = false.into();
    let config: Config = serde_json::from_value(raw)?;
    let ours = golden.compute(&LoadOptions::default(), Pieces::of(usize::MAX));
    for len in [1, 2, 33, golden.tokens.len()] {
        let mut model = Model::new(&config, weights(&golden)?)?;
        let tokens = Tensor::new(&golden.tokens[..len], &Device::Cpu)?.unsqueeze(0)?;
        let theirs = model.forward(&tokens, 0)?.i((0, 0))?;
        let worst = worst_difference(&ours.i(len - 1)?, &theirs);
        assert!(
            worst <= TOLERANCE_CANDLE,
            "after {len} tokens: off by {worst}"
        );
    }
    Ok(())
}

fn weights(golden: &Golden) -> Result<VarBuilder<'static>, ModelError> {
    let bytes = golden.read("model.safetensors");
    Ok(VarBuilder::from_buffered_safetensors(
        bytes,
        DType::F32,
        &Device::Cpu,
    )?)
}
