//! Where weights come from makes no difference: shards, other dtypes, random numbers.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use common::{Golden, Pieces, worst_difference};
use portcullis_models::{Config, GenerationDefaults, LoadFormat, LoadOptions};

#[test]
fn shards_are_one_model() {
    let golden = Golden::load("mixtral");
    let whole = golden.compute(&LoadOptions::default(), Pieces::of(32));
    let dir = tempfile::tempdir().unwrap();
    write_shards(&golden, dir.path(), 3);
    let sharded = golden.moved(dir.path());
    let logits = sharded.compute(&LoadOptions::default(), Pieces::of(32));
    assert_eq!(worst_difference(&whole, &logits), 0.0);
}

/// Every third tensor in a file, as no real checkpoint does: the index alone says where.
fn write_shards(golden: &Golden, dir: &Path, count: usize) {
    let mut tensors: Vec<(String, Tensor)> = tensors(golden).into_iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut weight_map = serde_json::Map::new();
    for shard in 0..count {
        let file = format!("model-{:05}-of-{count:05}.safetensors", shard + 1);
        let part: HashMap<_, _> = tensors.iter().skip(shard).step_by(count).cloned().collect();
        candle_core::safetensors::save(&part, dir.join(&file)).unwrap();
        weight_map.extend(part.into_keys().map(|name| (name, file.clone().into())));
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": weight_map }).to_string();
    std::fs::write(dir.join("model.safetensors.index.json"), index).unwrap();
    std::fs::write(dir.join("config.json"), golden.read("config.json")).unwrap();
}

/// What a file holds in fewer bits is widened without change.
#[test]
fn half_precision_files_load_as_f32() {
    for family in ["llama3", "qwen2"] {
        let golden = Golden::load(family);
        for dtype in [DType::F16, DType::BF16] {
            let narrow = |t: &Tensor| t.to_dtype(dtype).unwrap();
            let wide = |t: &Tensor| narrow(t).to_dtype(DType::F32).unwrap();
            let narrow = compute_with(&golden, narrow);
            let wide = compute_with(&golden, wide);
            assert_eq!(worst_difference(&narrow, &wide), 0.0, "{family} {dtype:?}");
        }
    }
}

fn compute_with(golden: &Golden, change: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let dir = tempfile::tempdir().unwrap();
    let changed: HashMap<_, _> = tensors(golden)
        .into_iter()
        .map(|(name, tensor)| (name, change(&tensor)))
        .collect();
    candle_core::safetensors::save(&changed, dir.path().join("model.safetensors")).unwrap();
    std::fs::write(dir.path().join("config.json"), golden.read("config.json")).unwrap();
    let moved = golden.moved(dir.path());
    moved.compute(&LoadOptions::default(), Pieces::of(32))
}

fn tensors(golden: &Golden) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden.dir.join("model.safetensors"), &Device::Cpu).unwrap()
}

#[test]
fn dummy_weights_are_of_their_seed() {
    for family in common::FAMILIES {
        let golden = Golden::load(family);
        let of = |seed| {
            let options = LoadOptions {
                format: LoadFormat::Dummy { seed },
                ..LoadOptions::default()
            };
            golden.compute(&options, Pieces::of(32))
        };
        assert_eq!(worst_difference(&of(1), &of(1)), 0.0, "{family}");
        assert!(worst_difference(&of(1), &of(2)) > 1e-3, "{family}");
        let values = of(1).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(
            values.iter().all(|v| v.is_finite() && *v != 0.0),
            "{family}"
        );
    }
}

#[test]
fn a_step_may_sample_nothing() {
    let golden = Golden::load("llama2");
    let decoder = portcullis_models::Decoder::load(&golden.dir, &LoadOptions::default()).unwrap();
    let mut cache = decoder.new_cache(1).unwrap();
    let batch = portcullis_models::Batch {
        tokens: vec![1],
        positions: vec![0],
        sequences: vec![portcullis_models::SequenceSpan {
            query_start: 0,
            query_len: 1,
            context_len: 1,
            block_table: vec![0],
        }],
        sample_rows: vec![],
    };
    let logits = decoder.forward(&batch, &mut cache).unwrap();
    assert_eq!(logits.dims(), [0, 64]);
}

#[test]
fn a_block_takes_what_the_configuration_says() {
    // 2 tensors, 2 layers, 2 heads, 32 tokens, 8 wide, 4 bytes.
    let config = Config::load(&Golden::load("llama3").dir).unwrap();
    assert_eq!(
        config.kv_bytes_per_block(DType::F32),
        2 * 2 * 2 * 32 * 8 * 4
    );
    assert_eq!(
        config.kv_bytes_per_block(DType::BF16),
        2 * 2 * 2 * 32 * 8 * 2
    );
}

/// The folder's generation_config.json, and what is made of it.
fn check_generation(json: Option<&str>, expected: GenerationDefaults) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::load(&Golden::load("llama2").dir).unwrap();
    config.eos_token_ids = vec![2];
    if let Some(json) = json {
        std::fs::write(dir.path().join("generation_config.json"), json).unwrap();
    }
    let found = GenerationDefaults::load(dir.path(), &config).unwrap();
    assert_eq!(found, expected, "{json:?}");
}

#[test]
fn generation_defaults() {
    let plain = GenerationDefaults {
        eos_token_ids: vec![2],
        ..GenerationDefaults::default()
    };
    check_generation(None, plain.clone());
    check_generation(Some("{}"), plain.clone());
    check_generation(
        Some(r#"{"eos_token_id": 5, "top_k": 0}"#),
        GenerationDefaults {
            eos_token_ids: vec![5],
            ..plain.clone()
        },
    );
    check_generation(
        Some(
            r#"{"eos_token_id": [5, 6], "do_sample": true, "temperature": 0.6, "top_p": 0.9, "top_k": 20}"#,
        ),
        GenerationDefaults {
            eos_token_ids: vec![5, 6],
            temperature: Some(0.6),
            top_p: Some(0.9),
            top_k: Some(20),
            repetition_penalty: None,
        },
    );
    check_generation(
        Some(r#"{"do_sample": false, "temperature": 0.6}"#),
        GenerationDefaults {
            temperature: Some(0.0),
            ..plain
        },
    );
}
