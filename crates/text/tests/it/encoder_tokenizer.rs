//! Texts for encoders: WordPiece with control tokens around. The fixture is one of those that
//! `scripts/golden/embeddings.py` makes; it asks to cut and to fill up to eight tokens.

use portcullis_text::{EncoderTokenizer, TextError};
use serde_json::json;

use crate::support::{edit, fixtures, library};

const CLS: u32 = 2;
const SEP: u32 = 3;

fn tokenizer() -> EncoderTokenizer {
    EncoderTokenizer::load(&fixtures().join("word_piece")).unwrap()
}

#[test]
fn texts_are_encoded_as_the_library_does_and_neither_cut_nor_filled_up() {
    let mut library = library("word_piece");
    library.with_truncation(None).unwrap();
    library.with_padding(None);
    let texts = [
        "a",
        "",
        "The Cat!",
        "a longer one, of some words",
        "日本",
        "ünïcödé",
    ];
    for text in texts {
        let expect = library.encode(text, true).unwrap();
        assert_eq!(
            tokenizer().encode(text).unwrap(),
            expect.get_ids(),
            "{text:?}"
        );
    }
}

#[test]
fn a_control_token_in_a_text_is_text() {
    let tokens = tokenizer().encode("a [SEP] b[CLS]").unwrap();
    let inside = &tokens[1..tokens.len() - 1];
    assert_eq!((tokens[0], tokens[tokens.len() - 1]), (CLS, SEP));
    assert!(
        !inside.contains(&CLS) && !inside.contains(&SEP),
        "{inside:?}"
    );
    assert!(inside.len() > 10, "letter by letter: {inside:?}");
}

#[test]
fn tokens_become_text() {
    let tokenizer = tokenizer();
    let tokens = tokenizer.encode("the cat").unwrap();
    let decode = |skip_special| tokenizer.decode(&tokens, skip_special).unwrap();
    assert_eq!(decode(false), "[CLS] the cat [SEP]");
    assert_eq!(decode(true), "the cat");
}

#[test]
fn a_vocabulary_that_reads_text_as_control_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let from = fixtures().join("word_piece/tokenizer.json");
    std::fs::copy(from, dir.path().join("tokenizer.json")).unwrap();
    // Nothing cuts a name at its brackets any more.
    edit(&dir, "tokenizer.json", |it| {
        it["pre_tokenizer"] = json!({"type": "WhitespaceSplit"});
        it["normalizer"] = json!(null);
    });
    let tokenizer = EncoderTokenizer::load(dir.path()).unwrap();
    let error = tokenizer.encode("a [SEP] b").unwrap_err();
    assert!(
        matches!(error, TextError::ControlTokenInText { .. }),
        "{error}"
    );
    assert!(error.blames_request());
}
