//! `json_schema` and `grammar`: a mask on what is drawn, so that nothing need be drawn again.
//!
//! Inline only: the digest of a rule set must cover what it means.

use super::{GrammarSource, Kind};
use crate::{
    diagnostic::{Diagnostics, Place},
    limits::GRAMMAR_BYTES_MAX,
    ruleset::fields::{self, Fields},
    ruleset::yaml::{Node, Value},
};

pub(super) fn read_json_schema(
    _: &Fields<'_>,
    node: &Node,
    mistakes: &mut Diagnostics,
) -> Option<(Kind, Vec<Place>)> {
    let source = match &node.value {
        Value::Map(_) => json(node),
        Value::List(_) => {
            let mend = "write `json_schema: {type: object, …}`";
            mistakes.push(node.at, "`json_schema` is a map", mend);
            return None;
        }
        _ => {
            let text = fields::text(node, "`json_schema`", GRAMMAR_BYTES_MAX, mistakes)?;
            if !text.trim_start().starts_with('{') {
                let message = "`json_schema` is written here, not in a file of its own";
                let mend = "put the schema under `json_schema:`; the set's digest must cover it";
                mistakes.push(node.at, message, mend);
                return None;
            }
            text.to_owned()
        }
    };
    Some((Kind::JsonSchema(source), vec![node.at]))
}

pub(super) fn read_grammar(
    _: &Fields<'_>,
    node: &Node,
    mistakes: &mut Diagnostics,
) -> Option<(Kind, Vec<Place>)> {
    let fields = Fields::open(node, "`grammar`", &["lark", "regex"], mistakes)?;
    let mut source = |key: &str| {
        let node = fields.get(key)?;
        fields::text(node, &format!("`{key}`"), GRAMMAR_BYTES_MAX, mistakes).map(str::to_owned)
    };
    if let (Some(_), None) | (None, Some(_)) = (fields.get("lark"), fields.get("regex")) {
        let lark = source("lark").map(GrammarSource::Lark);
        let source = lark.or_else(|| source("regex").map(GrammarSource::Regex))?;
        return Some((Kind::Grammar(source), vec![node.at]));
    }
    let mend = "write `grammar: {lark: \"start: …\"}` or `grammar: {regex: \"…\"}`";
    mistakes.push(node.at, "a grammar is either `lark` or `regex`", mend);
    None
}

/// The JSON that a tree of YAML means: plain `true`, `null` and numbers are no texts.
pub(crate) fn json(node: &Node) -> String {
    let mut out = String::new();
    write_json(node, &mut out);
    out
}

fn write_json(node: &Node, out: &mut String) {
    match &node.value {
        Value::Scalar(text) if node.plain && text.is_empty() => out.push_str("null"),
        Value::Scalar(text) if node.plain && is_json_literal(text) => out.push_str(text),
        Value::Scalar(text) => write_text(text, out),
        Value::List(items) => {
            write_joined('[', items, ']', out, write_json);
        }
        Value::Map(entries) => write_joined('{', entries, '}', out, |(key, value), out| {
            write_text(&key.name, out);
            out.push(':');
            write_json(value, out);
        }),
    }
}

fn write_joined<T>(
    open: char,
    items: &[T],
    close: char,
    out: &mut String,
    write: impl Fn(&T, &mut String),
) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(close);
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    crate::json::escape(text, out);
    out.push('"');
}

fn is_json_literal(text: &str) -> bool {
    matches!(text, "true" | "false") || is_json_number(text)
}

/// Source: RFC 8259, section 6.
fn is_json_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let whole = unsigned.split(['.', 'e', 'E']).next().unwrap_or_default();
    let plain = whole == "0" || !whole.starts_with('0');
    plain && unsigned.starts_with(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::yaml;

    #[track_caller]
    fn check(yaml: &str, expected: &str) {
        let mut mistakes = Diagnostics::default();
        let node = yaml::parse(yaml.as_bytes(), &mut mistakes).expect("it is YAML");
        assert_eq!(json(&node), expected);
    }

    #[test]
    fn a_schema_in_yaml_is_the_same_schema_in_json() {
        check(
            "{type: object, required: [\"1\", b], properties: {n: {minimum: -1.5e3, maximum: 10}}}",
            r#"{"type":"object","required":["1","b"],"properties":{"n":{"minimum":-1.5e3,"maximum":10}}}"#,
        );
        check(
            "{additionalProperties: false, const: null, pattern: 'a\"\\d', x: 'true', y: 007}",
            r#"{"additionalProperties":false,"const":null,"pattern":"a\"\\d","x":"true","y":"007"}"#,
        );
    }
}
