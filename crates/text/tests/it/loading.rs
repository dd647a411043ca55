//! What a model folder must have, and what is said when it has not.

use std::fs;

use portcullis_text::Tokenizer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{edit, folder};

#[track_caller]
fn check_error(dir: &TempDir, words: &[&str]) {
    let error = Tokenizer::load(dir.path()).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn a_broken_folder_is_told_by_its_file() {
    let empty = tempfile::tempdir().unwrap();
    check_error(&empty, &["cannot read", "tokenizer.json"]);

    let dir = folder("byte_level");
    fs::write(dir.path().join("tokenizer_config.json"), "{\n  oops").unwrap();
    check_error(&dir, &["tokenizer_config.json", "line 2"]);

    let dir = folder("byte_level");
    let json = fs::read_to_string(dir.path().join("tokenizer.json")).unwrap();
    fs::write(dir.path().join("tokenizer.json"), &json[..json.len() / 2]).unwrap();
    check_error(&dir, &["tokenizer.json", "EOF"]);

    let dir = folder("byte_level");
    edit(&dir, "tokenizer_config.json", |json| {
        json["eos_token"] = "<|other|>".into()
    });
    check_error(&dir, &["eos_token", "<|other|>", "vocabulary"]);
}

#[test]
fn the_map_of_special_tokens_fills_gaps() {
    let dir = folder("byte_level");
    fs::remove_file(dir.path().join("tokenizer_config.json")).unwrap();
    let bare = Tokenizer::load(dir.path()).unwrap();
    assert_eq!((bare.bos_token(), bare.eos_token()), (None, None));

    edit(&dir, "special_tokens_map.json", |json| {
        *json = json!({"bos_token": {"content": "<|begin_of_text|>"}, "eos_token": "<|im_end|>"});
    });
    edit(&dir, "tokenizer_config.json", |json| {
        json["eos_token"] = "<|eot_id|>".into()
    });
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(tokenizer.bos_token(), Some("<|begin_of_text|>"));
    assert_eq!(tokenizer.eos_token(), Some("<|eot_id|>"));
    assert_eq!(tokenizer.eos_token_id(), tokenizer.token_id("<|eot_id|>"));
}

/// A folder may call a token special that its tokenizer.json calls an ordinary one.
#[test]
fn declared_tokens_are_control_tokens() {
    let call = |tokenizer: &Tokenizer| tokenizer.token_id("<tool_call>").unwrap();
    let dir = folder("byte_level");
    let ordinary = Tokenizer::load(dir.path()).unwrap();
    assert!(!ordinary.is_special(call(&ordinary)));
    assert_eq!(
        ordinary.encode("<tool_call>", false).unwrap(),
        [call(&ordinary)]
    );

    let declarations = [
        ("additional_special_tokens", json!(["<tool_call>"])),
        (
            "added_tokens_decoder",
            json!({"487": {"content": "<tool_call>", "special": true}}),
        ),
        (
            "eos_token",
            json!({"content": "<tool_call>", "lstrip": false}),
        ),
    ];
    for (field, value) in declarations {
        let dir = folder("byte_level");
        edit(&dir, "tokenizer_config.json", |json| json[field] = value);
        let special = Tokenizer::load(dir.path()).unwrap();
        assert!(special.is_special(call(&special)), "{field}");
        assert_eq!(special.decode(&[call(&special)], true), "", "{field}");
        assert!(
            !special
                .encode("<tool_call>", false)
                .unwrap()
                .contains(&call(&special)),
            "{field}"
        );
    }
}

#[test]
fn a_text_begins_as_the_post_processor_says() {
    let begin = |change: fn(&mut Value), add_bos_token: Option<bool>| {
        let dir = folder("byte_level");
        edit(&dir, "tokenizer.json", change);
        edit(&dir, "tokenizer_config.json", |json| {
            json["add_bos_token"] = add_bos_token.into()
        });
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        let ids = tokenizer.encode("Hello", true).unwrap();
        let plain = tokenizer.encode("Hello", false).unwrap();
        let before = ids
            .strip_suffix(&plain[..])
            .expect("nothing behind the text")
            .to_vec();
        before
            .iter()
            .map(|&id| tokenizer.token(id).unwrap())
            .collect::<Vec<_>>()
    };
    let as_it_is = |_: &mut Value| {};
    let without = |json: &mut Value| json["post_processor"] = Value::Null;
    let with_end = |json: &mut Value| {
        let template = &mut json["post_processor"]["processors"][1];
        let end = json!({"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}});
        template["single"].as_array_mut().unwrap().push(end);
    };
    assert_eq!(begin(as_it_is, None), ["<|begin_of_text|>"]);
    assert_eq!(begin(as_it_is, Some(true)), ["<|begin_of_text|>"]);
    assert_eq!(begin(with_end, None), ["<|begin_of_text|>"]);
    assert_eq!(begin(without, None), [""; 0]);
    assert_eq!(begin(without, Some(false)), [""; 0]);
    assert_eq!(begin(without, Some(true)), ["<|begin_of_text|>"]);
}

/// Some folders come from training and cut or pad what they encode.
#[test]
fn nothing_is_cut_or_padded() {
    let dir = folder("sentence_piece");
    edit(&dir, "tokenizer.json", |json| {
        json["truncation"] = json!({
            "direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 0
        });
        json["padding"] = json!({
            "strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"
        });
    });
    let text = "The bank opens at nine and closes at five.";
    let [cut, whole] = [dir, folder("sentence_piece")].map(|dir| {
        Tokenizer::load(dir.path())
            .unwrap()
            .encode(text, true)
            .unwrap()
    });
    assert_eq!(cut, whole);
    assert!(whole.len() > 4);
}
