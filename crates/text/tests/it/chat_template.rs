//! Where templates are found, and how they fail.

use std::fs;

use portcullis_text::{
    ChatTemplate, MAX_RENDERED_BYTES, Message, RenderOptions, Role, TEMPLATE_FUEL, TextError,
};
use serde_json::json;

use crate::support::{edit, folder, template, template_file, tokenizer, user};

fn render(source: &str, messages: &[Message]) -> Result<String, TextError> {
    let template = template(source, &tokenizer("byte_level"));
    template
        .render(messages, RenderOptions::default())
        .map(|prompt| prompt.text())
}

#[test]
fn an_exception_of_the_template_reaches_the_caller() {
    let tokenizer = tokenizer("metaspace");
    let error = template_file("mistral", &tokenizer)
        .render(&[user("a"), user("b")], RenderOptions::default())
        .unwrap_err();
    assert!(error.blames_request());
    assert!(
        error
            .to_string()
            .starts_with("After the optional system message, conversation roles must")
    );
    let nested = "{% macro m() %}{{ raise_exception('No.') }}{% endmacro %}{{ m() }}";
    assert_eq!(render(nested, &[]).unwrap_err().to_string(), "No.");
}

#[test]
fn an_endless_template_ends() {
    let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a %}{% endfor %}{% endfor %}";
    let error = render(loops, &[]).unwrap_err();
    assert!(
        matches!(
            error,
            TextError::TemplateEndless {
                fuel: TEMPLATE_FUEL,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_huge_prompt_is_cut_short() {
    let source = "{% for a in range(9999) %}{{ messages[0].content }}{% endfor %}";
    let error = render(source, &[user(&"x".repeat(4_000))]).unwrap_err();
    let limit = MAX_RENDERED_BYTES;
    assert!(
        matches!(error, TextError::PromptTooLong { limit_bytes, .. } if limit_bytes == limit),
        "{error}"
    );
    assert!(render(source, &[user("x")]).is_ok());
}

#[test]
fn a_failing_template_names_its_line() {
    let error = render(
        "line one\n{{ messages[0].content }}\n{{ missing.field }}",
        &[user("a")],
    );
    let error = error.unwrap_err();
    assert!(
        matches!(&error, TextError::TemplateFailed { line: 3, template, .. } if template == "default")
    );
    assert!(!error.blames_request());
}

#[test]
fn a_template_that_does_not_parse_names_file_and_line() {
    let dir = folder("byte_level");
    fs::write(dir.path().join("chat_template.jinja"), "fine\n{% if %}").unwrap();
    let error = ChatTemplate::load(dir.path(), &tokenizer("byte_level")).unwrap_err();
    assert!(
        matches!(error, TextError::TemplateSyntax { line: 2, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("chat_template.jinja"), "{error}");
}

/// The prompt that the templates of a folder make of "Hi", without and with tools.
fn rendered_from(dir: &tempfile::TempDir) -> [String; 2] {
    let template = ChatTemplate::load(dir.path(), &tokenizer("byte_level"))
        .unwrap()
        .unwrap();
    let tools = [json!({"type": "function"})];
    [&[][..], &tools[..]].map(|tools| {
        let options = RenderOptions {
            tools,
            ..Default::default()
        };
        template.render(&[user("Hi")], options).unwrap().text()
    })
}

#[test]
fn templates_are_found_where_folders_keep_them() {
    let dir = folder("byte_level");
    let none = ChatTemplate::load(dir.path(), &tokenizer("byte_level")).unwrap();
    assert!(none.is_none());

    let source = |mark: &str| format!("{mark}{{{{ messages[0].content }}}}");
    edit(&dir, "chat_template.json", |json| {
        json["chat_template"] = source("a").into()
    });
    assert_eq!(rendered_from(&dir), ["aHi", "aHi"]);

    edit(&dir, "tokenizer_config.json", |json| {
        json["chat_template"] = source("b").into()
    });
    assert_eq!(rendered_from(&dir), ["bHi", "bHi"]);

    edit(&dir, "tokenizer_config.json", |json| {
        json["chat_template"] = json!([
            {"name": "rag", "template": "{% unknown %}"},
            {"name": "tool_use", "template": source("d")},
            {"name": "default", "template": source("c")},
        ]);
    });
    assert_eq!(rendered_from(&dir), ["cHi", "dHi"]);

    fs::write(dir.path().join("chat_template.jinja"), source("e")).unwrap();
    assert_eq!(rendered_from(&dir), ["eHi", "eHi"]);
}

#[test]
fn named_templates_without_a_default_are_refused() {
    let dir = folder("byte_level");
    edit(&dir, "tokenizer_config.json", |json| {
        json["chat_template"] = json!([{"name": "rag", "template": ""}]);
    });
    let error = ChatTemplate::load(dir.path(), &tokenizer("byte_level")).unwrap_err();
    assert!(matches!(&error, TextError::NoDefaultTemplate { names, .. } if names == &["rag"]));
}

#[test]
fn without_a_time_there_is_no_date() {
    let source = "{{ strftime_now is defined }}";
    assert_eq!(render(source, &[]).unwrap(), "False");
    let template = template("{{ strftime_now('%Q') }}", &tokenizer("byte_level"));
    let options = RenderOptions {
        now_unix_s: Some(0),
        ..Default::default()
    };
    let error = template.render(&[], options).unwrap_err().to_string();
    assert!(error.contains("%Q") && error.contains("line 1"), "{error}");
}

/// Days around the ends of months and years, leap years among them.
#[test]
fn dates_are_right() {
    let template = template(
        "{{ strftime_now('%F %T %a %j %e %I%p') }}",
        &tokenizer("byte_level"),
    );
    let cases = [
        (0, "1970-01-01 00:00:00 Thu 001  1 12AM"),
        (951_782_400, "2000-02-29 00:00:00 Tue 060 29 12AM"),
        (951_868_799, "2000-02-29 23:59:59 Tue 060 29 11PM"),
        (1_735_646_400, "2024-12-31 12:00:00 Tue 366 31 12PM"),
        (4_107_542_400, "2100-03-01 00:00:00 Mon 060  1 12AM"),
        (-1, "1969-12-31 23:59:59 Wed 365 31 11PM"),
    ];
    for (now_unix_s, expected) in cases {
        let options = RenderOptions {
            now_unix_s: Some(now_unix_s),
            ..Default::default()
        };
        assert_eq!(template.render(&[], options).unwrap().text(), expected);
    }
}

/// On the wire the arguments of a call are JSON inside a string.
#[test]
fn arguments_of_calls_are_objects() {
    let message = |arguments| {
        let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}});
        let message = json!({"role": "assistant", "content": "", "tool_calls": [call]});
        serde_json::from_value::<Message>(message).unwrap()
    };
    let source = "{{ messages[0].tool_calls[0].function.arguments|tojson }}";
    assert_eq!(
        render(source, &[message("{\"a\":[1,\"<b>\"]}")]).unwrap(),
        r#"{"a": [1, "<b>"]}"#
    );
    assert_eq!(
        render(source, &[message("not json")]).unwrap(),
        r#""not json""#
    );
}

#[test]
fn roles_are_a_closed_set() {
    let roles = [
        Role::System,
        Role::Developer,
        Role::User,
        Role::Assistant,
        Role::Tool,
    ];
    for role in roles {
        assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
    }
    assert!(serde_json::from_value::<Role>(json!("eot_id")).is_err());
}
