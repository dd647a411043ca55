//! No control token comes from what a user wrote.

use std::cell::Cell;

use portcullis_text::{FunctionCall, Message, RenderOptions, Role, TextError, Tokenizer, ToolCall};
use portcullis_types::TokenId;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::support::{KINDS, edit, folder, template, template_file, tokenizer, user};

/// Which template goes with which tokenizer.
const PAIRS: [(&str, &str); 6] = [
    ("byte_level", "llama3"),
    ("byte_level", "qwen2.5"),
    ("sentence_piece", "zephyr"),
    ("sentence_piece", "mistral"),
    ("metaspace", "mistral"),
    ("metaspace", "zephyr"),
];

const CONTROLS: [&str; 12] = [
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|im_start|>",
    "<|im_end|>",
    "<s>",
    "</s>",
    "<unk>",
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
];

fn controls(tokenizer: &Tokenizer, ids: &[TokenId]) -> Vec<TokenId> {
    ids.iter()
        .copied()
        .filter(|&id| tokenizer.is_special(id))
        .collect()
}

/// A conversation that has `text` wherever a user can put some.
fn conversation(text: &str) -> (Vec<Message>, Vec<Value>) {
    let arguments = json!({ "where": [text], "more": { text: 1 } });
    let call = ToolCall {
        id: "abcdef123".to_owned(),
        function: FunctionCall {
            name: format!("f{text}"),
            arguments,
        },
    };
    let messages = vec![
        Message::new(Role::System, text),
        Message {
            name: Some(text.to_owned()),
            ..user(text)
        },
        Message {
            tool_calls: vec![call],
            ..Message::new(Role::Assistant, text)
        },
        Message {
            name: Some(text.to_owned()),
            tool_call_id: Some("abcdef123".to_owned()),
            ..Message::new(Role::Tool, text)
        },
        Message::new(Role::Assistant, text),
        user(text),
    ];
    let tool = json!({"type": "function", "function": {
        "name": format!("f{text}"), "description": text, "parameters": { text: text },
    }});
    (messages, vec![tool])
}

/// The control tokens of the prompt for a conversation full of `text`.
fn prompt_controls(
    tokenizer: &Tokenizer,
    source: &portcullis_text::ChatTemplate,
    text: &str,
) -> Result<Vec<TokenId>, TextError> {
    let (messages, tools) = conversation(text);
    let options = RenderOptions {
        add_generation_prompt: true,
        tools: &tools,
        ..Default::default()
    };
    let prompt = source.render(&messages, options)?;
    Ok(controls(tokenizer, &tokenizer.encode_prompt(&prompt)?))
}

/// Control tokens, whole, in parts, and with what a template may change between the parts.
fn hostile_texts() -> impl Strategy<Value = String> {
    let broken =
        (select(CONTROLS.to_vec()), any::<Index>(), 0..6_u8).prop_map(|(control, at, how)| {
            let (start, end) = control.split_at(at.index(control.len()));
            match how {
                0 => start.to_owned(),
                1 => end.to_owned(),
                2 => format!("{start}/think{end}"),
                3 => format!("{end} {start}"),
                4 => control.to_uppercase(),
                _ => control.to_owned(),
            }
        });
    let others = [
        "/think",
        " ",
        "\n",
        "Hello",
        "<",
        ">",
        "[",
        "|",
        "👋🏽",
        "\u{10fffd}",
        "\"",
    ];
    let other = select(others.to_vec()).prop_map(str::to_owned);
    vec(prop_oneof![2 => broken, 1 => other], 1..5).prop_map(|parts| parts.concat())
}

/// The law, under templates as models have them: they are never refused, and the prompt has the
/// control tokens that it has for a harmless text.
#[test]
fn published_templates_keep_their_control_tokens() {
    for (kind, file) in PAIRS {
        let tokenizer = tokenizer(kind);
        let template = template_file(file, &tokenizer);
        let harmless = prompt_controls(&tokenizer, &template, "harmless").unwrap();
        assert!(harmless.len() > 2, "{file} writes control tokens");
        proptest!(|(text in hostile_texts())| {
            prop_assert_eq!(&prompt_controls(&tokenizer, &template, &text).unwrap(), &harmless);
        });
    }
}

/// The law, under a template that takes words out of texts, joins texts and changes their case:
/// either so, or refused.
#[test]
fn no_template_makes_control_tokens_of_text() {
    let source =
        "{{ bos_token }}{% for m in messages %}{{ m.name }}{{ m.content.replace('/think', '')
        .lower().strip() }}{{ m.name }}{{ m.content[1:] }}{{ eos_token }}{% endfor %}{{ tools }}";
    for kind in KINDS {
        let tokenizer = tokenizer(kind);
        let template = template(source, &tokenizer);
        let harmless = prompt_controls(&tokenizer, &template, "harmless").unwrap();
        let (kept, refused) = (Cell::new(0), Cell::new(0));
        proptest!(|(text in hostile_texts())| {
            match prompt_controls(&tokenizer, &template, &text) {
                Ok(found) => { kept.set(kept.get() + 1); prop_assert_eq!(&found, &harmless) }
                Err(error) => { refused.set(refused.get() + 1); prop_assert!(error.blames_request(), "{error}") }
            }
        });
        let (kept, refused) = (kept.get(), refused.get());
        assert!(
            kept > 20 && refused > 20,
            "{kind}: {kept} kept, {refused} refused"
        );
    }
}

#[test]
fn plain_text_has_no_control_tokens() {
    for kind in KINDS {
        let tokenizer = tokenizer(kind);
        proptest!(|(text in hostile_texts())| {
            let ids = tokenizer.encode(&text, false).unwrap();
            prop_assert_eq!(controls(&tokenizer, &ids), Vec::<TokenId>::new());
        });
    }
}

/// Byte-level BPE loses nothing, so that a quoted control token must come back as it was.
#[test]
fn quoting_loses_no_text() {
    let tokenizer = tokenizer("byte_level");
    let template = template_file("qwen2.5", &tokenizer);
    proptest!(|(text in hostile_texts())| {
        let prompt = template.render(&[user(&text)], RenderOptions::default()).unwrap();
        let expected = format!("<|im_start|>user\n{text}<|im_end|>\n");
        prop_assert!(prompt.text().ends_with(&expected));
        let ids = tokenizer.encode_prompt(&prompt).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids, false), prompt.text());
    });
}

/// Between two of the template's control tokens, the tokens are those of plain text.
#[test]
fn quoting_does_not_disturb_the_tokens_around() {
    let tokenizer = tokenizer("byte_level");
    let template = template_file("llama3", &tokenizer);
    let text = "What does <|eot_id|>do?";
    let prompt = template
        .render(&[user(text)], RenderOptions::default())
        .unwrap();
    let ids = tokenizer.encode_prompt(&prompt).unwrap();
    let plain = tokenizer.encode(&format!("\n\n{text}"), false).unwrap();
    assert!(ids.windows(plain.len()).any(|window| window == plain));
}

/// A pre-tokenizer that puts a blank before the first word only must not see several firsts.
#[test]
fn quoting_adds_no_blanks() {
    let tokenizer = tokenizer("metaspace");
    let template = template_file("mistral", &tokenizer);
    let prompt = template
        .render(&[user("x</s>y")], RenderOptions::default())
        .unwrap();
    let ids = tokenizer.encode_prompt(&prompt).unwrap();
    let spelled: String = ids.iter().filter_map(|&id| tokenizer.token(id)).collect();
    assert_eq!(spelled, "<s>[INST]▁x<0x3C><0x2F>s<0x3E>y[/INST]");
    let eos = tokenizer.eos_token_id().unwrap();
    assert!(!ids.contains(&eos));
}

#[track_caller]
fn check_refused(source: &str, messages: &[Message]) -> TextError {
    let tokenizer = tokenizer("byte_level");
    let error = template(source, &tokenizer)
        .render(messages, RenderOptions::default())
        .unwrap_err();
    assert!(error.blames_request(), "{error}");
    error
}

#[test]
fn a_name_that_comes_together_in_the_template_is_refused() {
    let spelled = |source, messages: &[Message]| {
        let error = check_refused(source, messages);
        assert!(matches!(error, TextError::ControlTokenSpelled), "{error}");
    };
    let content = "{% for m in messages %}{{ m.content }}{% endfor %}";
    spelled(content, &[user("<|eot_"), user("id|>")]);
    spelled("{{ messages[0].content|lower }}", &[user("<|EOT_ID|>")]);
    spelled(
        "{{ messages[0].content.replace('/think', '') }}",
        &[user("<|eot/think_id|>")],
    );
    spelled("{{ messages[0].content }}|>", &[user("<|eot_id")]);
}

#[test]
fn a_name_that_the_template_rewrites_is_refused() {
    let error = check_refused(
        "{{ messages[0].content|tojson(true) }}",
        &[user("a <|eot_id|> b")],
    );
    assert!(
        matches!(error, TextError::ControlTokenRewritten { .. }),
        "{error}"
    );
}

/// A text may have any escape, also one of a character that is taken for a place-holder: first the
/// one of the published template, then the same under a template that escapes.
#[test]
fn an_escape_in_a_text_is_no_rewritten_name() {
    let tokenizer = tokenizer("byte_level");
    let places: String = (0xdf00..=0xdffd)
        .map(|low| format!("\\udbff\\u{low:04x}"))
        .collect();
    let texts = [
        "<|im_end|>\n<\\udbff\\udffd",
        &format!("{places}<|im_end|>"),
    ];
    for text in texts {
        let prompt = template_file("qwen2.5", &tokenizer)
            .render(&[user(text)], RenderOptions::default())
            .unwrap();
        assert!(prompt.text().contains(text));
    }
    let error = check_refused("{{ messages[0].content|tojson(true) }}", &[user(texts[0])]);
    assert!(
        matches!(error, TextError::ControlTokenRewritten { .. }),
        "{error}"
    );
}

/// Templates may show a list or a mapping as Python does.
#[test]
fn a_name_inside_a_shown_value_is_plain_text() {
    let tokenizer = tokenizer("byte_level");
    for source in ["{{ messages }}", "{{ [messages[0].content]|pprint }}"] {
        let prompt =
            template(source, &tokenizer).render(&[user("a<|eot_id|>")], RenderOptions::default());
        let ids = tokenizer.encode_prompt(&prompt.unwrap()).unwrap();
        assert!(tokenizer.decode(&ids, false).contains("'a<|eot_id|>'"));
        assert!(controls(&tokenizer, &ids).is_empty());
    }
}

/// Changing the case of a text leaves a quoted name as it is.
#[test]
fn a_quoted_name_has_no_case() {
    let tokenizer = tokenizer("byte_level");
    let template = template("{{ messages[0].content|upper }}<|eot_id|>", &tokenizer);
    let prompt = template
        .render(&[user("a<|eot_id|>b")], RenderOptions::default())
        .unwrap();
    assert_eq!(prompt.text(), "A<|eot_id|>B<|eot_id|>");
    let ids = tokenizer.encode_prompt(&prompt).unwrap();
    assert_eq!(
        controls(&tokenizer, &ids),
        [tokenizer.eos_token_id().unwrap()]
    );
}

/// Variables of a request are a user's text too, and none takes the place of the template's own.
#[test]
fn variables_are_plain_text() {
    let tokenizer = tokenizer("byte_level");
    let template = template(
        "{{ bos_token }}{{ style }}{{ messages[0].content }}",
        &tokenizer,
    );
    let variables = json!({"style": "<|eot_id|>", "bos_token": "<|eot_id|>", "messages": []});
    let options = RenderOptions {
        variables: variables.as_object(),
        ..Default::default()
    };
    let prompt = template.render(&[user("Hello")], options).unwrap();
    assert_eq!(prompt.text(), "<|begin_of_text|><|eot_id|>Hello");
    let ids = tokenizer.encode_prompt(&prompt).unwrap();
    assert_eq!(
        controls(&tokenizer, &ids),
        [tokenizer.bos_token_id().unwrap()]
    );
}

/// A vocabulary that reads a name as a control token by itself: then the text is refused.
#[test]
fn a_vocabulary_that_insists_is_refused() {
    let dir = folder("sentence_piece");
    edit(&dir, "tokenizer.json", |json| {
        json["normalizer"] = Value::Null;
        json["model"]["ignore_merges"] = true.into();
    });
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    let error = tokenizer.encode("</s>", false).unwrap_err();
    assert!(
        matches!(&error, TextError::ControlTokenInText { token } if token == "</s>"),
        "{error}"
    );
    assert!(error.blames_request());
    assert!(tokenizer.encode("a", false).is_ok());
}

/// Tokens that normalisation turns into control tokens are found as well.
#[test]
fn normalised_names_are_plain_text() {
    let dir = folder("metaspace");
    edit(&dir, "tokenizer.json", |json| {
        json["normalizer"] = json!({"type": "NFKC"});
        for token in json["added_tokens"].as_array_mut().unwrap() {
            token["normalized"] = true.into();
        }
    });
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    let template = template_file("mistral", &tokenizer);
    let harmless = prompt_controls(&tokenizer, &template, "harmless").unwrap();
    for text in ["＜／s＞", "a</s>b", "［INST］", "＜s>"] {
        assert_eq!(
            prompt_controls(&tokenizer, &template, text).unwrap(),
            harmless,
            "{text}"
        );
        let ids = tokenizer.encode(text, false).unwrap();
        assert!(controls(&tokenizer, &ids).is_empty(), "{text}");
    }
}
