//! Streaming equals decoding the whole, for every kind of decoder.

use std::collections::HashMap;

use portcullis_text::Tokenizer;
use portcullis_types::TokenId;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::support::{KINDS, edit, folder, library, tokenizer};

/// A fixture, and what to put in the place of its decoder.
fn decoders() -> Vec<(&'static str, Option<Value>)> {
    let space = || json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
    let fallback = || json!({"type": "ByteFallback"});
    let fuse = || json!({"type": "Fuse"});
    let strip = |start| json!({"type": "Strip", "content": " ", "start": start, "stop": 0});
    let sequence = |decoders: Vec<Value>| json!({"type": "Sequence", "decoders": decoders});
    let metaspace = |scheme| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
    vec![
        ("byte_level", None),
        ("sentence_piece", None),
        ("metaspace", None),
        (
            "byte_level",
            Some(sequence(vec![json!({
                "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true
            })])),
        ),
        (
            "sentence_piece",
            Some(sequence(vec![space(), fallback(), fuse()])),
        ),
        (
            "sentence_piece",
            Some(sequence(vec![space(), fallback(), fuse(), strip(3)])),
        ),
        (
            "sentence_piece",
            Some(sequence(vec![space(), fuse(), strip(1)])),
        ),
        (
            "sentence_piece",
            Some(sequence(vec![sequence(vec![space(), fallback()]), fuse()])),
        ),
        ("sentence_piece", Some(metaspace("always"))),
        ("sentence_piece", Some(metaspace("never"))),
    ]
}

/// Ours and the library's, from the same file.
fn load(kind: &str, decoder: Option<Value>) -> (Tokenizer, tokenizers::Tokenizer) {
    let dir = folder(kind);
    if let Some(decoder) = decoder {
        edit(&dir, "tokenizer.json", |json| json["decoder"] = decoder);
    }
    let library = tokenizers::Tokenizer::from_file(dir.path().join("tokenizer.json")).unwrap();
    (Tokenizer::load(dir.path()).unwrap(), library)
}

fn streamed(tokenizer: &Tokenizer, ids: &[TokenId]) -> String {
    let mut detokenizer = tokenizer.detokenizer();
    let pieces: String = ids.iter().map(|&id| detokenizer.push(id)).collect();
    pieces + &detokenizer.finish()
}

/// Texts of all scripts, with the characters that tokenizers treat apart.
fn texts() -> impl Strategy<Value = String> {
    let words = select(vec![
        "Hello",
        " ",
        "  ",
        "\n",
        "\t",
        "Grüße",
        "Привет",
        "שלום",
        "مرحبا",
        "नमस्ते",
        "สวัสดี",
        "你好",
        "こんにちは",
        "안녕",
        "ქართული",
        "བོད",
        "👋🏽",
        "👨‍👩‍👧‍👦",
        "🏳️‍🌈",
        "🇩🇪",
        "e\u{301}",
        "\u{feff}",
        "▁",
        "Ġ",
        "<0xE4>",
        "<s>",
        "</s>",
        "<|eot_id|>",
        "<tool_call>",
        "\u{10ffff}",
        "'s",
        "12345",
        "(x == 1)",
    ]);
    let any = "\\PC{0,6}";
    vec(
        prop_oneof![3 => words.prop_map(str::to_owned), 1 => any],
        0..12,
    )
    .prop_map(|words| words.concat())
}

#[test]
fn equals_decoding_of_encoded_text() {
    for (kind, decoder) in decoders() {
        let (ours, library) = load(kind, decoder);
        proptest!(|(text in texts(), add_bos: bool)| {
            let ids = library.encode(text.as_str(), add_bos).unwrap().get_ids().to_vec();
            prop_assert_eq!(streamed(&ours, &ids), library.decode(&ids, true).unwrap());
            prop_assert_eq!(ours.decode(&ids, false), library.decode(&ids, false).unwrap());
        });
    }
}

#[test]
fn equals_decoding_of_any_tokens() {
    for (kind, decoder) in decoders() {
        let (ours, library) = load(kind, decoder);
        let ids = 0..ours.vocab_size() as TokenId + 3;
        proptest!(|(ids in vec(ids, 0..40))| {
            prop_assert_eq!(streamed(&ours, &ids), library.decode(&ids, true).unwrap());
            prop_assert_eq!(ours.decode(&ids, false), library.decode(&ids, false).unwrap());
        });
    }
}

/// Random ids hardly ever make a character of several bytes; these do, and nearly do.
#[test]
fn equals_decoding_of_any_bytes() {
    for (kind, decoder) in decoders() {
        let (ours, library) = load(kind, decoder);
        let tokens = byte_tokens(&ours);
        let bytes = [
            0xF0, 0x9F, 0x91, 0x8B, 0xE4, 0xBD, 0xA0, 0xC3, 0xA9, 0xED, 0xFF, 0x41,
        ];
        let control = ours.bos_token_id();
        let ids: Vec<_> = bytes
            .iter()
            .filter_map(|byte| tokens.get(byte).copied())
            .chain(control)
            .collect();
        proptest!(|(ids in vec(select(ids), 0..16))| {
            prop_assert_eq!(streamed(&ours, &ids), library.decode(&ids, true).unwrap());
        });
    }
}

/// The bytes that tokens are said to add are those that they add.
#[test]
fn completion_bytes_are_what_the_detokenizer_gives() {
    for (kind, decoder) in decoders() {
        let (ours, _) = load(kind, decoder);
        let ids = 0..ours.vocab_size() as TokenId + 3;
        proptest!(|(ids in vec(ids, 0..20))| {
            let mut bytes = Vec::new();
            let known: Vec<_> = ids.iter().filter_map(|&id| ours.completion_bytes(id)).collect();
            for (index, token) in known.iter().enumerate() {
                bytes.extend(if index == 0 { &token.at_start } else { &token.inside });
            }
            // A text that is no UTF-8 is not one that anybody asks for by its bytes, and a first
            // token that adds nothing leaves it open what is first.
            if let Ok(text) = String::from_utf8(bytes) {
                let first_adds = known.first().is_none_or(|token| !token.at_start.is_empty());
                prop_assert!(!first_adds || streamed(&ours, &ids) == text);
            }
        });
    }
}

/// The token of each byte that has one.
fn byte_tokens(tokenizer: &Tokenizer) -> HashMap<u8, TokenId> {
    let of_one_byte = |id| {
        let spelled = tokenizer.token(id)?;
        let single = spelled.chars().count() == 1 || spelled.starts_with("<0x");
        let bytes = tokenizer
            .token_bytes(id)
            .filter(|bytes| single && bytes.len() == 1)?;
        Some((bytes[0], id))
    };
    (0..tokenizer.vocab_size() as TokenId)
        .rev()
        .filter_map(of_one_byte)
        .collect()
}

/// A kept state goes on as if what came after it had never been.
#[test]
fn rolls_back_to_a_clone() {
    for kind in KINDS {
        let ours = tokenizer(kind);
        let ids = || vec(0..ours.vocab_size() as TokenId, 0..12);
        proptest!(|(kept in ids(), discarded in ids(), rest in ids())| {
            let mut detokenizer = ours.detokenizer();
            let mut text: String = kept.iter().map(|&id| detokenizer.push(id)).collect();
            let mut state = detokenizer.clone();
            discarded.iter().for_each(|&id| drop(detokenizer.push(id)));
            text.extend(rest.iter().map(|&id| state.push(id)));
            text.push_str(&state.finish());
            prop_assert_eq!(text, streamed(&ours, &[kept, rest].concat()));
        });
    }
}

/// With byte-level BPE nothing waits but the bytes of an unfinished character.
#[test]
fn gives_every_whole_character_at_once() {
    let ours = tokenizer("byte_level");
    let library = library("byte_level");
    proptest!(|(text in texts())| {
        let mut detokenizer = ours.detokenizer();
        let (mut pieces, mut bytes) = (String::new(), Vec::new());
        for &id in library.encode(text, false).unwrap().get_ids() {
            pieces.push_str(&detokenizer.push(id));
            if !ours.is_special(id) {
                bytes.extend(ours.token_bytes(id).unwrap());
            }
            let whole = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            prop_assert_eq!(&pieces, whole);
        }
    });
}

#[test]
fn refuses_decoders_that_it_cannot_stream() {
    let unknown = [
        json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        json!({"type": "BPEDecoder", "suffix": "</w>"}),
        json!({"type": "Sequence", "decoders": [
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 0, "stop": 1}
        ]}),
        json!({"type": "Replace", "pattern": {"Regex": "a+"}, "content": " "}),
        Value::Null,
    ];
    for decoder in unknown {
        let dir = folder("sentence_piece");
        edit(&dir, "tokenizer.json", |json| {
            json["decoder"] = decoder.clone()
        });
        let error = Tokenizer::load(dir.path()).unwrap_err().to_string();
        let name = decoder["type"].as_str().unwrap_or("none at all");
        assert!(
            error.contains("tokenizer.json") && error.contains(name),
            "{error}"
        );
    }
}
