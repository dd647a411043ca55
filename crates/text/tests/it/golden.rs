//! Equality with Hugging Face: tokenizers and transformers made `golden.json`, see
//! `fixtures/make.py`.

use std::collections::BTreeMap;
use std::fs;

use portcullis_text::{Message, RenderOptions, TextError, Tokenizer};
use portcullis_types::TokenId;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::support::{fixtures, template, template_file, tokenizer};

#[derive(Deserialize)]
struct Golden {
    now_unix_s: i64,
    variables: Map<String, Value>,
    conversations: BTreeMap<String, Conversation>,
    inline: BTreeMap<String, String>,
    tokenizers: BTreeMap<String, Cases>,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Message>,
    #[serde(default)]
    tools: Vec<Value>,
    add_generation_prompt: bool,
}

#[derive(Deserialize)]
struct Cases {
    encodings: Vec<Encoding>,
    decodings: Vec<Decoding>,
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Encoding {
    text: String,
    plain: Vec<TokenId>,
    with_bos: Vec<TokenId>,
}

#[derive(Deserialize)]
struct Decoding {
    ids: Vec<TokenId>,
    skipped: String,
    whole: String,
}

#[derive(Deserialize)]
struct Prompt {
    template: String,
    conversation: String,
    text: Option<String>,
    ids: Option<Vec<TokenId>>,
    refused: Option<String>,
}

fn golden() -> Golden {
    let text = fs::read_to_string(fixtures().join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn encodes_as_the_library_does() {
    for (kind, cases) in golden().tokenizers {
        let tokenizer = tokenizer(&kind);
        assert!(!cases.encodings.is_empty());
        for Encoding {
            text,
            plain,
            with_bos,
        } in cases.encodings
        {
            assert_eq!(
                tokenizer.encode(&text, false).unwrap(),
                plain,
                "{kind}: {text:?}"
            );
            assert_eq!(
                tokenizer.encode(&text, true).unwrap(),
                with_bos,
                "{kind}: {text:?}"
            );
        }
    }
}

#[test]
fn decodes_as_the_library_does() {
    for (kind, cases) in golden().tokenizers {
        let tokenizer = tokenizer(&kind);
        assert!(!cases.decodings.is_empty());
        for Decoding {
            ids,
            skipped,
            whole,
        } in cases.decodings
        {
            assert_eq!(tokenizer.decode(&ids, true), skipped, "{kind}: {ids:?}");
            assert_eq!(tokenizer.decode(&ids, false), whole, "{kind}: {ids:?}");
        }
    }
}

#[test]
fn renders_as_transformers_does() {
    let golden = golden();
    for (kind, cases) in &golden.tokenizers {
        let tokenizer = tokenizer(kind);
        assert!(!cases.prompts.is_empty());
        for prompt in &cases.prompts {
            golden.check(prompt, &tokenizer);
        }
    }
}

impl Golden {
    fn check(&self, prompt: &Prompt, tokenizer: &Tokenizer) {
        let case = format!("{}, {}", prompt.template, prompt.conversation);
        let template = match self.inline.get(&prompt.template) {
            Some(source) => template(source, tokenizer),
            None => template_file(&prompt.template, tokenizer),
        };
        let conversation = &self.conversations[&prompt.conversation];
        let options = RenderOptions {
            add_generation_prompt: conversation.add_generation_prompt,
            tools: &conversation.tools,
            now_unix_s: Some(self.now_unix_s),
            variables: Some(&self.variables),
        };
        match template.render(&conversation.messages, options) {
            Ok(rendered) => {
                assert_eq!(Some(rendered.text()), prompt.text, "{case}");
                let ids = tokenizer.encode_prompt(&rendered).unwrap();
                assert_eq!(Some(ids), prompt.ids, "{case}");
            }
            Err(TextError::TemplateRefused { message }) => {
                assert_eq!(Some(message), prompt.refused, "{case}");
            }
            Err(error) => panic!("{case}: {error}"),
        }
    }
}
