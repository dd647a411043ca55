//! Model folders that are none, and batches that do not hold together: what is said about them.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use std::path::Path;

use common::Golden;
use portcullis_models::{
    Batch, Config, Decoder, GenerationDefaults, LoadFormat, LoadOptions, SequenceSpan,
};
use serde_json::{Value, json};

const FAMILIES: &str = "LlamaForCausalLM, MistralForCausalLM, MixtralForCausalLM, \
                        Qwen2ForCausalLM, Qwen3ForCausalLM";

/// Changes the configuration of a good model and compares what is said, `DIR` being the folder.
fn check_config(family: &str, changes: Value, expected: &str) {
    let dir = copy(family);
    edit_config(dir.path(), changes);
    let message = Config::load(dir.path()).unwrap_err().to_string();
    assert_eq!(anonymous(dir.path(), &message), expected);
}

#[test]
fn configurations() {
    let table = [
        (
            "llama2",
            json!({"architectures": ["PhiForCausalLM"]}),
            format!(
                "DIR/config.json: architecture PhiForCausalLM is not supported; supported are \
                 {FAMILIES}"
            ),
        ),
        (
            "llama2",
            json!({"architectures": null}),
            format!("DIR/config.json: architectures is missing; supported are {FAMILIES}"),
        ),
        (
            "llama2",
            json!({"hidden_size": "big", "head_dim": 8, "vocab_size": 0, "num_hidden_layers": null}),
            "DIR/config.json: hidden_size: invalid type: string \"big\", expected usize; \
             hidden_size is missing; num_hidden_layers is missing; vocab_size is 0"
                .into(),
        ),
        (
            "llama2",
            json!({"num_key_value_heads": 3, "head_dim": 7}),
            "DIR/config.json: num_attention_heads 4 is not a multiple of num_key_value_heads 3; \
             head_dim 7 is not an even number above 0"
                .into(),
        ),
        (
            "llama2",
            json!({"hidden_act": "gelu", "partial_rotary_factor": 0.5}),
            "DIR/config.json: hidden_act \"gelu\" is not supported; silu is; \
             partial_rotary_factor 0.5 is not supported; 1 is"
                .into(),
        ),
        (
            "llama2",
            json!({"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}),
            "DIR/config.json: auto_map asks to run code that comes with the model, which is never \
             done"
                .into(),
        ),
        (
            "llama2",
            json!({"quantization_config": {"quant_method": "gptq"}}),
            "DIR/config.json: quantised weights are not supported; use a bf16, f16 or f32 \
             checkpoint"
                .into(),
        ),
        (
            "llama2",
            json!({"rope_scaling": {"type": "yarn", "factor": 4.0}}),
            "DIR/config.json: rope_scaling \"yarn\" is not supported; llama3 and linear are".into(),
        ),
        (
            "llama2",
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
                "high_freq_factor": 4.0}}),
            "DIR/config.json: rope_scaling: high_freq_factor is missing or too small; \
             rope_scaling: original_max_position_embeddings is missing or too small"
                .into(),
        ),
        (
            "mistral",
            json!({"sliding_window": 0}),
            "DIR/config.json: sliding_window is 0".into(),
        ),
        (
            "qwen2",
            json!({"layer_types": ["full_attention", "chunked_attention", "full_attention"]}),
            "DIR/config.json: layer_types has 3 entries for 2 layers; \
             layer_types: \"chunked_attention\" is not supported"
                .into(),
        ),
        (
            "mixtral",
            json!({"num_experts_per_tok": 5}),
            "DIR/config.json: num_experts_per_tok 5 is above num_local_experts 4".into(),
        ),
    ];
    for (family, changes, expected) in table {
        check_config(family, changes, &expected);
    }
}

#[test]
fn files_that_are_not_there_or_no_json() {
    let dir = tempfile::tempdir().unwrap();
    let said = |error: portcullis_models::ModelError| anonymous(dir.path(), &error.to_string());
    assert_eq!(
        said(Config::load(dir.path()).unwrap_err()),
        "DIR holds no config.json; a model folder has config.json, tokenizer.json and *.safetensors"
    );
    std::fs::write(dir.path().join("config.json"), "{\"hidden_size\": ").unwrap();
    assert_eq!(
        said(Config::load(dir.path()).unwrap_err()),
        "DIR/config.json: EOF while parsing a value at line 1 column 16"
    );
    let config = Config::load(&Golden::load("llama2").dir).unwrap();
    let json = r#"{"eos_token_id": "end", "top_p": 0.9, "top_k": -1}"#;
    std::fs::write(dir.path().join("generation_config.json"), json).unwrap();
    assert_eq!(
        said(GenerationDefaults::load(dir.path(), &config).unwrap_err()),
        "DIR/generation_config.json: eos_token_id: expected a token id or a list of them; \
         top_k: invalid value: integer `-1`, expected u32"
    );
}

/// Breaks the weights of a good model and compares what is said when it is loaded.
fn check_weights(break_it: impl Fn(&Path), expected: &str) {
    let dir = copy("llama2");
    break_it(dir.path());
    let result = Decoder::load(dir.path(), &LoadOptions::default());
    let message = result.err().unwrap().to_string();
    assert_eq!(anonymous(dir.path(), &message), expected);
}

#[test]
fn weights() {
    let file = |dir: &Path| dir.join("model.safetensors");
    let cut = |len: usize| {
        move |dir: &Path| {
            let bytes = std::fs::read(file(dir)).unwrap();
            std::fs::write(file(dir), &bytes[..len]).unwrap();
        }
    };
    let rename =
        |to: &'static str| move |dir: &Path| std::fs::rename(file(dir), dir.join(to)).unwrap();
    let header = |header: &'static str| {
        move |dir: &Path| {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.extend([0; 16]);
            std::fs::write(file(dir), bytes).unwrap();
        }
    };
    let len = std::fs::metadata(file(&Golden::load("llama2").dir))
        .unwrap()
        .len();

    check_weights(
        rename("gone"),
        "DIR holds no model.safetensors; a model folder has config.json, tokenizer.json and \
         *.safetensors",
    );
    check_weights(
        rename("pytorch_model.bin"),
        "DIR/pytorch_model.bin: pickle files can run code and are never loaded; convert them to \
         safetensors",
    );
    check_weights(
        cut(5),
        "DIR/model.safetensors: not a sound safetensors file: 5 bytes are no header; fetch it again",
    );
    let in_header = "DIR/model.safetensors: not a sound safetensors file: truncated: 300 bytes, \
                     where its header asks for ";
    let dir = copy("llama2");
    cut(300)(dir.path());
    let message = Decoder::load(dir.path(), &LoadOptions::default())
        .err()
        .unwrap()
        .to_string();
    assert!(
        anonymous(dir.path(), &message).starts_with(in_header),
        "{message}"
    );
    check_weights(
        cut(len as usize - 1),
        &format!(
            "DIR/model.safetensors: not a sound safetensors file: truncated: {} bytes, where its \
             header asks for {len}; fetch it again",
            len - 1
        ),
    );
    check_weights(
        |dir| std::fs::write(file(dir), [0xFF; 64]).unwrap(),
        "DIR/model.safetensors: not a sound safetensors file: a header of 18446744073709551615 \
         bytes, above the 100000000 that are read",
    );
    check_weights(
        header(
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
        ),
        "DIR/model.safetensors: not a sound safetensors file: invalid offset for tensor `b`",
    );
    check_weights(
        header(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}}"#),
        "DIR/model.safetensors: not a sound safetensors file: invalid shape, data type, or offset \
         for tensor",
    );
    check_weights(
        header(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#),
        "tensor model.embed_tokens.weight is missing in DIR; expected shape [64, 32]",
    );
    check_weights(
        header(
            r#"{"model.embed_tokens.weight":{"dtype":"I8","shape":[4,4],"data_offsets":[0,16]}}"#,
        ),
        "DIR/model.safetensors: tensor model.embed_tokens.weight is I8; f32, f16 and bf16 are \
         loaded",
    );
    check_weights(
        |dir| std::fs::write(file(dir), many_tensors(100_000)).unwrap(),
        "tensor model.embed_tokens.weight is missing in DIR; expected shape [64, 32]",
    );
    check_weights(
        |dir| edit_config(dir, json!({"intermediate_size": 50})),
        "DIR/model.safetensors: tensor model.layers.0.mlp.gate_proj.weight has shape [48, 32]; \
         config.json asks for [50, 32]",
    );
    check_weights(
        |dir| edit_config(dir, json!({"attention_bias": true})),
        "tensor model.layers.0.self_attn.q_proj.bias is missing in DIR; expected shape [32]",
    );
}

/// A sound file that no model has.
fn many_tensors(count: usize) -> Vec<u8> {
    let tensor = |at: usize| json!({"dtype": "U8", "shape": [1], "data_offsets": [at, at + 1]});
    let tensors = (0..count).map(|at| (format!("t{at}"), tensor(at)));
    let header = Value::Object(tensors.collect()).to_string();
    let len = (header.len() as u64).to_le_bytes();
    [&len, header.as_bytes(), &vec![0; count]].concat()
}

#[test]
fn shards() {
    let index = |map: Value| {
        move |dir: &Path| {
            std::fs::rename(dir.join("model.safetensors"), dir.join("whole.safetensors")).unwrap();
            let index = json!({ "weight_map": map }).to_string();
            std::fs::write(dir.join("model.safetensors.index.json"), index).unwrap();
        }
    };
    check_weights(
        index(json!({"a": "model-00001-of-00001.safetensors"})),
        "DIR/model-00001-of-00001.safetensors: No such file or directory (os error 2)",
    );
    check_weights(
        index(json!({"a": "../whole.safetensors"})),
        "DIR/model.safetensors.index.json: shard \"../whole.safetensors\" is not a plain file name",
    );
    check_weights(
        |dir| {
            std::fs::copy(dir.join("model.safetensors"), dir.join("copy.safetensors")).unwrap();
            index(json!({"a": "copy.safetensors", "b": "whole.safetensors"}))(dir);
        },
        "DIR/whole.safetensors: not a sound safetensors file: tensor TENSOR is in more than one \
         file",
    );
}

#[test]
fn batches() {
    let decoder = Decoder::load(&Golden::load("llama2").dir, &LoadOptions::default()).unwrap();
    let mut cache = decoder.new_cache(16).unwrap();
    let good = || Batch {
        tokens: vec![1, 2, 3],
        positions: vec![4, 5, 6],
        sequences: vec![span(7, 3)],
        sample_rows: vec![2],
    };
    assert!(decoder.forward(&good(), &mut cache).is_ok());
    type Spoil = fn(&mut Batch);
    let table: [(Spoil, &str); 7] = [
        (
            |b| b.tokens.push(1),
            "4 tokens and 3 positions for sequences of 3 rows",
        ),
        (
            |b| b.positions.truncate(2),
            "3 tokens and 2 positions for sequences of 3 rows",
        ),
        (
            |b| b.positions[1] = 6,
            "positions are not those of the sequences",
        ),
        (
            |b| b.tokens[0] = 64,
            "token 64 is none of the 64 of the vocabulary",
        ),
        (
            |b| b.sample_rows.push(3),
            "row 3 is sampled, the batch has 3",
        ),
        (
            |b| b.sequences[0].block_table[0] = 16,
            "sequence 0 names block 16, the cache has 16",
        ),
        (
            |b| {
                b.sequences[0] = span(257, 3);
                b.positions = vec![254, 255, 256];
            },
            "a sequence of 257 tokens, the model was made for 256",
        ),
    ];
    for (spoil, expected) in table {
        let mut batch = good();
        spoil(&mut batch);
        let message = decoder.forward(&batch, &mut cache).unwrap_err().to_string();
        let said = message.lines().next().unwrap();
        assert_eq!(said, format!("the model could not be computed: {expected}"));
    }
}

#[test]
fn a_dummy_needs_the_configuration_alone() {
    let dir = copy("mixtral");
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let options = LoadOptions {
        format: LoadFormat::Dummy { seed: 7 },
        ..LoadOptions::default()
    };
    assert!(Decoder::load(dir.path(), &options).is_ok());
}

fn span(context_len: usize, query_len: usize) -> SequenceSpan {
    SequenceSpan {
        query_start: 0,
        query_len,
        context_len,
        block_table: (0..9).collect(),
    }
}

/// A good model in a folder of its own.
fn copy(family: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(Golden::load(family).dir.join(file), dir.path().join(file)).unwrap();
    }
    dir
}

fn edit_config(dir: &Path, changes: Value) {
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (field, value) in changes.as_object().unwrap() {
        config[field] = value.clone();
    }
    std::fs::write(path, config.to_string()).unwrap();
}

/// The folder's name is another each time, and so is which of the tensors comes first.
fn anonymous(dir: &Path, message: &str) -> String {
    let message = message.replace(&dir.display().to_string(), "DIR");
    match message.split_once("file: tensor ") {
        Some((before, rest)) => {
            let (_, after) = rest.split_once(' ').unwrap();
            format!("{before}file: tensor TENSOR {after}")
        }
        None => message,
    }
}
