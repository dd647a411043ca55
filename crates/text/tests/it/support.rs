//! Fixtures that several tests share.

use std::fs;
use std::path::PathBuf;

use portcullis_text::{ChatTemplate, Message, Role, Tokenizer};
use serde_json::{Map, Value};
use tempfile::TempDir;

pub(crate) const KINDS: [&str; 3] = ["byte_level", "sentence_piece", "metaspace"];

pub(crate) fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub(crate) fn tokenizer(kind: &str) -> Tokenizer {
    Tokenizer::load(&fixtures().join(kind)).unwrap()
}

/// The same tokenizer in the library, to compare with.
pub(crate) fn library(kind: &str) -> tokenizers::Tokenizer {
    tokenizers::Tokenizer::from_file(fixtures().join(kind).join("tokenizer.json")).unwrap()
}

/// A folder with a copy of a fixture's files.
pub(crate) fn folder(kind: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(fixtures().join(kind).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

/// Changes a JSON file of a folder.
pub(crate) fn edit(dir: &TempDir, file: &str, change: impl FnOnce(&mut Value)) {
    let path = dir.path().join(file);
    let mut json = match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).unwrap(),
        Err(_) => Value::Object(Map::new()),
    };
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

/// A template from its source.
pub(crate) fn template(source: &str, tokenizer: &Tokenizer) -> ChatTemplate {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("chat_template.jinja"), source).unwrap();
    ChatTemplate::load(dir.path(), tokenizer).unwrap().unwrap()
}

/// One of the templates under `fixtures/templates`.
pub(crate) fn template_file(name: &str, tokenizer: &Tokenizer) -> ChatTemplate {
    let path = fixtures().join("templates").join(format!("{name}.jinja"));
    template(&fs::read_to_string(path).unwrap(), tokenizer)
}

pub(crate) fn user(content: &str) -> Message {
    Message::new(Role::User, content)
}
