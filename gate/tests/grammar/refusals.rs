//! What would not be enforced is refused by name.

use portcullis_gate::{Grammar, GrammarError};

fn check_schema(schema: &str, expected: &str) {
    check(Grammar::json_schema(schema), schema, expected);
}

fn check_lark(grammar: &str, expected: &str) {
    check(Grammar::lark(grammar), grammar, expected);
}

fn check_regex(pattern: &str, expected: &str) {
    check(Grammar::regex(pattern), pattern, expected);
}

fn check(made: Result<Grammar, GrammarError>, source: &str, expected: &str) {
    let error = made.expect_err(source);
    let message = error.to_string();
    assert!(message.contains(expected), "{source}: {message}");
    assert!(!message.contains('\n') && message.len() < 400, "{message}");
    assert!(!error.mend().is_empty());
}

#[test]
fn keywords_that_are_not_enforced() {
    for keyword in [
        "not",
        "if",
        "contains",
        "uniqueItems",
        "dependentRequired",
        "propertyNames",
        "unevaluatedProperties",
        "$dynamicRef",
        "x-guidance",
        "reqired",
        "additionalItems",
        "nullable",
    ] {
        check_schema(
            &format!(r#"{{"type": "object", "{keyword}": true}}"#),
            &format!("`{keyword}` at `/` is not enforced"),
        );
    }
}

#[test]
fn keywords_at_any_depth() {
    check_schema(
        r#"{"properties": {"a": {"items": {"anyOf": [{"type": "string"}, {"maxLenght": 3}]}}}}"#,
        "`maxLenght` at `/properties/a/items/anyOf/1` is not enforced",
    );
    check_schema(
        r#"{"$defs": {"x": {"uniqueItems": true}}, "type": "string"}"#,
        "`uniqueItems` at `/$defs/x`",
    );
    // A property may have any name.
    Grammar::json_schema(r#"{"type": "object", "properties": {"not": {"type": "null"}}}"#).unwrap();
}

#[test]
fn schemas_of_other_drafts_and_other_places() {
    check_schema(
        r#"{"$schema": "http://json-schema.org/draft-07/schema#"}"#,
        "`$schema` at `/` cannot be",
    );
    check_schema(
        r#"{"type": "array", "items": [{"type": "null"}]}"#,
        "`items` at `/` cannot be",
    );
    check_schema(
        r#"{"properties": {"a": {"$id": "b", "type": "null"}}}"#,
        "`$id` at `/properties/a`",
    );
    check_schema(
        r#"{"$ref": "https://example.com/a.json"}"#,
        "https://example.com/a.json",
    );
    check_schema(r##"{"$ref": "#/$defs/a"}"##, "not found");
}

#[test]
fn schemas_that_say_nothing_clear() {
    check_schema("{", "no JSON");
    check_schema("[]", "schema must be an object or boolean");
    check_schema("3", "schema must be an object or boolean");
    check_schema(r#"{"type": "text"}"#, "text");
    check_schema(r#"{"type": "string", "format": "phone"}"#, "phone");
    check_schema(r#"{"type": "string", "pattern": "("}"#, "(");
    check_schema(r#"{"type": "string", "pattern": "(?=a)b"}"#, "look");
    check_schema("false", "nsatisfiable");
    check_schema(
        r#"{"allOf": [{"type": "string"}, {"type": "null"}]}"#,
        "nsatisfiable",
    );
    check_schema(
        r#"{"oneOf": [{"type": "integer"}, {"type": "number"}]}"#,
        "oneOf",
    );
}

#[test]
fn lark_that_is_not_about_text() {
    check_lark("start: <|end|>", "a token");
    check_lark("start: <[7]>", "a token");
    check_lark("start: <[*]>", "a token");
    check_lark("start: %json {\"type\": \"object\"}", "`%json`");
    check_lark("start: a\na[max_tokens=3]: /.*/", "`max_tokens`");
    check_lark("start: a\na[temperature=0.3]: /.*/", "`temperature`");
    check_lark("start: a \"x\"\na[stop=\"x\"]: /.*/", "`stop`");
    check_lark(
        "%llguidance {\"allow_invalid_utf8\": true}\nstart: /./",
        "`allow_invalid_utf8`",
    );
}

#[test]
fn lark_with_mistakes() {
    check_lark("", "");
    check_lark("start: nowhere", "nowhere");
    check_lark("begin: \"a\"", "start");
    check_lark("start: \"a", "");
    check_lark("start: start", "");
    check_lark("start: /(/", "(");
}

#[test]
fn expressions_that_no_mask_follows() {
    check_regex("(", "(");
    check_regex("a\\", "incomplete escape");
    check_regex("^a$", "an anchor");
    check_regex(r"\bword\b", "a word boundary");
    check_regex("(?x)a # b\n c", "comments");
    check_regex("(?=a)a", "look-around");
    check_regex(r"(a)\1", "backreference");
    // What quoting for Lark must not change.
    for pattern in ["a/b", r"a\/b", "\"", r"\n", "\n", r"[/\]]", "(?i)a", "a//b"] {
        Grammar::regex(pattern).unwrap();
    }
}
