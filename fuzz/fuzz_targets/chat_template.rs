//! Any chat template and any conversation: rendering ends, takes no more than it may, and what a
//! user wrote never becomes a control token.
//!
//! An input is a template and the texts of the messages, each behind the character U+001E. The name
//! of one of the published templates stands for its source.
#![no_main]
#![expect(clippy::unwrap_used, reason = "what is not as expected ends the run")]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis_text::{ChatTemplate, Message, RenderOptions, Role, TextError, Tokenizer};
use portcullis_types::TokenId;
use tempfile::TempDir;

/// With one of these a template can write a control token itself.
const WAYS_TO_WRITE: [&str; 5] = ["<", ">", "\\", "_token", "format"];

static TOKENIZER: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::load(&fixtures().join("byte_level")).unwrap());
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fuzz_target!(|input: &str| {
    let mut parts = input.split('\u{1e}');
    let source = parts.next().unwrap_or_default();
    let texts: Vec<&str> = parts.collect();
    // The server refuses a conversation without messages before it is rendered.
    if texts.is_empty() {
        return;
    }
    match source {
        "llama3" | "qwen2.5" => check_published(source, &texts),
        _ => check_any(source, &texts),
    }
});

/// Under a published template nobody is refused, and the prompt has the control tokens that it has
/// for harmless texts.
fn check_published(name: &str, texts: &[&str]) {
    let source = std::fs::read_to_string(fixtures().join(format!("templates/{name}.jinja")));
    let template = template(&source.unwrap()).unwrap();
    let harmless = vec!["harmless"; texts.len()];
    let expected = controls(&template, &harmless).unwrap();
    assert_eq!(controls(&template, texts).unwrap(), expected, "{texts:?}");
}

/// A template that cannot write a control token makes none of what users write.
fn check_any(source: &str, texts: &[&str]) {
    let Ok(template) = template(source) else {
        return;
    };
    let found = controls(&template, texts);
    let may_write = WAYS_TO_WRITE.iter().any(|way| source.contains(way));
    if let (Ok(found), false) = (found, may_write) {
        assert!(found.is_empty(), "{found:?} of {source:?} {texts:?}");
    }
}

/// The control tokens of the prompt.
fn controls(template: &ChatTemplate, texts: &[&str]) -> Result<Vec<TokenId>, TextError> {
    let roles = [Role::User, Role::Assistant].into_iter().cycle();
    let messages: Vec<Message> = roles
        .zip(texts)
        .map(|(role, text)| Message::new(role, *text))
        .collect();
    let options = RenderOptions {
        add_generation_prompt: true,
        ..RenderOptions::default()
    };
    let prompt = template.render(&messages, options)?;
    let mut ids = TOKENIZER.encode_prompt(&prompt)?;
    ids.retain(|&id| TOKENIZER.is_special(id));
    Ok(ids)
}

fn template(source: &str) -> Result<ChatTemplate, TextError> {
    std::fs::write(FOLDER.path().join("chat_template.jinja"), source).unwrap();
    Ok(ChatTemplate::load(FOLDER.path(), &TOKENIZER)?.unwrap())
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/text/tests/fixtures")
}
