//! Embeddings against an outside oracle: Hugging Face transformers (golden files made by
//! `scripts/golden/embeddings.py`); and folders that are refused.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

use std::path::{Path, PathBuf};

use portcullis_models::{Encoder, EncoderConfig, Pooling};
use serde_json::{Value, json};
use tempfile::TempDir;

/// f32: other orders of the same sums.
const TOLERANCE: f32 = 1e-5;

fn golden_dir(kind: &str) -> PathBuf {
    Path::new("tests/golden-embeddings").join(kind)
}

fn golden(kind: &str, field: &str) -> Value {
    let json = std::fs::read(golden_dir(kind).join("golden.json")).unwrap();
    serde_json::from_slice::<Value>(&json).unwrap()[field].take()
}

fn tokens(kind: &str) -> Vec<Vec<u32>> {
    serde_json::from_value(golden(kind, "tokens")).unwrap()
}

fn embed(encoder: &Encoder, texts: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let texts: Vec<_> = texts.iter().map(Vec::as_slice).collect();
    encoder.embed(&texts).unwrap()
}

#[track_caller]
fn check_equal(found: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(found.len(), expected.len());
    for (text, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len());
        let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        let worst = off.fold(0f32, f32::max);
        assert!(worst <= TOLERANCE, "text {text}: off by {worst}");
    }
}

#[test]
fn every_kind_equals_transformers() {
    for kind in ["mean", "cls"] {
        let encoder = Encoder::load(&golden_dir(kind)).unwrap();
        let expected: Vec<Vec<f32>> = serde_json::from_value(golden(kind, "vectors")).unwrap();
        let texts = tokens(kind);
        check_equal(&embed(&encoder, &texts), &expected);
        for (text, vector) in texts.iter().zip(&expected) {
            let alone = embed(&encoder, std::slice::from_ref(text));
            check_equal(&alone, std::slice::from_ref(vector));
        }
    }
}

#[test]
fn a_folder_says_how_texts_are_pooled() {
    let check = |kind: &str, pooling, normalised, max_tokens| {
        let config = EncoderConfig::load(&golden_dir(kind)).unwrap();
        assert_eq!((config.pooling, config.normalised), (pooling, normalised));
        assert_eq!((config.max_tokens, config.max_position), (max_tokens, 32));
    };
    check("mean", Pooling::Mean, true, 28);
    check("cls", Pooling::FirstToken, false, 32);
    // As sentence-transformers has it, where a folder does not say.
    let plain = copy("cls");
    std::fs::remove_file(plain.path().join("modules.json")).unwrap();
    let config = EncoderConfig::load(plain.path()).unwrap();
    assert_eq!(config.pooling, Pooling::Mean);
    assert!(!config.normalised);
    // As its newer versions write it.
    let newer = copy("mean");
    edit(&newer, "1_Pooling/config.json", |it| {
        *it = json!({"embedding_dimension": 24, "pooling_mode": "cls"});
    });
    edit(&newer, "modules.json", |it| {
        let kind = "sentence_transformers.sentence_transformer.modules.pooling.Pooling";
        it[1]["type"] = json!(kind);
    });
    let config = EncoderConfig::load(newer.path()).unwrap();
    assert_eq!(config.pooling, Pooling::FirstToken);
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    let check = |file: &str, change: &dyn Fn(&mut Value), expect: &str| {
        let dir = copy("mean");
        edit(&dir, file, change);
        let Err(error) = Encoder::load(dir.path()) else {
            panic!("{expect}: loaded")
        };
        let said = error
            .to_string()
            .replace(dir.path().to_str().unwrap(), "DIR");
        assert!(said.contains(expect), "{said}");
    };
    let set = |field: &'static str, value: Value| move |it: &mut Value| it[field] = value.clone();
    let config = "config.json";
    for (field, value, expect) in [
        (
            "model_type",
            json!("roberta"),
            "DIR/config.json: model_type is roberta; embeddings",
        ),
        (
            "hidden_act",
            json!("swish"),
            "hidden_act \"swish\" is not supported",
        ),
        ("is_decoder", json!(true), "is_decoder is true"),
        ("auto_map", json!({}), "auto_map asks to run code"),
        (
            "position_embedding_type",
            json!("relative_key"),
            "\"relative_key\" is not supported",
        ),
        (
            "num_attention_heads",
            json!(5),
            "24 is no multiple of num_attention_heads 5",
        ),
        ("vocab_size", json!(0), "vocab_size is 0"),
        ("vocab_size", json!(65), "word_embeddings.weight"),
        ("num_hidden_layers", json!(3), "encoder.layer.2."),
    ] {
        check(config, &set(field, value), expect);
    }
    let pooling = "1_Pooling/config.json";
    let twice = set("pooling_mode_cls_token", json!(true));
    check(
        pooling,
        &twice,
        "pooling cls_token, mean_tokens is not supported",
    );
    let other_width = set("word_embedding_dimension", json!(25));
    check(pooling, &other_width, "25 is not the hidden_size 24");
    let dense = |it: &mut Value| it[2]["type"] = json!("sentence_transformers.models.Dense");
    check(
        "modules.json",
        &dense,
        "modules Transformer, Pooling, Dense are not supported",
    );
    let outside = |it: &mut Value| it[1]["path"] = json!("../1_Pooling");
    check("modules.json", &outside, "the pooling in one below it");
    let lower = set("do_lower_case", json!(true));
    check(
        "sentence_bert_config.json",
        &lower,
        "do_lower_case is not supported",
    );
    let prompt = |it: &mut Value| *it = json!({"default_prompt_name": "query"});
    check(
        "config_sentence_transformers.json",
        &prompt,
        "\"query\" is not supported",
    );
}

#[test]
fn a_pickle_is_not_loaded() {
    let dir = copy("mean");
    let weights = dir.path().join("model.safetensors");
    std::fs::rename(&weights, dir.path().join("pytorch_model.bin")).unwrap();
    let Err(error) = Encoder::load(dir.path()) else {
        panic!("loaded")
    };
    assert!(
        error.to_string().contains("pickle files can run code"),
        "{error}"
    );
}

/// A token that the model does not have is an error of its batch, no more.
#[test]
fn a_token_beyond_the_vocabulary_is_an_error() {
    let encoder = Encoder::load(&golden_dir("mean")).unwrap();
    assert!(encoder.embed(&[&[2, 64, 3]]).is_err());
    assert!(encoder.embed(&[&[2; 33]]).is_err());
}

fn copy(kind: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    for file in [
        "config.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
    ] {
        // Not every kind has every file.
        let _ = std::fs::copy(golden_dir(kind).join(file), dir.path().join(file));
    }
    dir
}

fn edit(dir: &TempDir, file: &str, change: impl Fn(&mut Value)) {
    let path = dir.path().join(file);
    let mut json = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
        Err(_) => json!({}),
    };
    change(&mut json);
    std::fs::write(path, json.to_string()).unwrap();
}
