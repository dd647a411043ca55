//! What a configuration becomes: the older spellings, and what is taken where the file is silent.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

use candle_core::DType;
use portcullis_models::{Architecture, Config, RopeScaling};
use serde_json::{Value, json};

fn load(architecture: &str, fields: Value) -> Config {
    let mut config = json!({
        "architectures": [architecture],
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "vocab_size": 100,
        "max_position_embeddings": 512,
    });
    for (field, value) in fields.as_object().unwrap() {
        config[field] = value.clone();
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    Config::load(dir.path()).unwrap()
}

#[test]
fn what_the_file_does_not_say() {
    let llama = load("LlamaForCausalLM", json!({}));
    assert_eq!((llama.num_kv_heads, llama.head_dim), (4, 16));
    assert_eq!((llama.rms_norm_eps, llama.rope_theta), (1e-6, 10_000.0));
    assert_eq!((llama.rope_scaling, llama.saved_dtype), (None, None));
    assert!(!llama.tied_embeddings && !llama.qkv_bias && !llama.output_bias && !llama.mlp_bias);

    let experts = json!({"num_local_experts": 8, "num_experts_per_tok": 2});
    let mixtral = load("MixtralForCausalLM", experts);
    assert_eq!(mixtral.rope_theta, 1_000_000.0);

    let qwen3 = load("Qwen3ForCausalLM", json!({}));
    assert_eq!(
        (qwen3.architecture, qwen3.head_dim),
        (Architecture::Qwen3, 128)
    );
    assert!(qwen3.qk_norm && !qwen3.qkv_bias);
    let qwen2 = load("Qwen2ForCausalLM", json!({}));
    assert!(!qwen2.qk_norm && qwen2.qkv_bias && !qwen2.output_bias);
}

#[test]
fn older_and_newer_spellings_are_one() {
    let scaling = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128});
    let with = |more: Value| {
        let mut all = scaling.clone();
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    let newer = load(
        "LlamaForCausalLM",
        json!({"rope_parameters": with(json!({"rope_type": "llama3", "rope_theta": 500000.0})),
            "dtype": "bfloat16", "eos_token_id": [2]}),
    );
    let older = load(
        "LlamaForCausalLM",
        json!({"rope_scaling": with(json!({"type": "llama3"})), "rope_theta": 500000.0,
            "torch_dtype": "bfloat16", "eos_token_id": 2}),
    );
    assert_eq!(newer, older);
    assert_eq!(
        (newer.rope_theta, newer.saved_dtype),
        (500_000.0, Some(DType::BF16))
    );
    let expected = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position: 128.0,
    };
    assert_eq!(
        (newer.rope_scaling, newer.eos_token_ids),
        (Some(expected), vec![2])
    );
}

#[test]
fn windows_by_layer() {
    let window = Some(40);
    let table = [
        ("LlamaForCausalLM", json!({"sliding_window": 40}), [None; 3]),
        (
            "MistralForCausalLM",
            json!({"sliding_window": 40}),
            [window; 3],
        ),
        (
            "MistralForCausalLM",
            json!({"sliding_window": null}),
            [None; 3],
        ),
        (
            "Qwen2ForCausalLM",
            json!({"sliding_window": 40, "max_window_layers": 0}),
            [None; 3],
        ),
        (
            "Qwen2ForCausalLM",
            json!({"sliding_window": 40, "max_window_layers": 2, "use_sliding_window": true}),
            [None, None, window],
        ),
        (
            "Qwen3ForCausalLM",
            json!({"sliding_window": 40, "use_sliding_window": true,
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
            [window, None, window],
        ),
    ];
    for (architecture, fields, expected) in table {
        assert_eq!(
            load(architecture, fields.clone()).windows,
            expected,
            "{architecture} {fields}"
        );
    }
}
