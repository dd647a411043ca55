//! How a good body is made bad.

use serde_json::{Value, json};

use crate::choices::Choices;

/// What serde_json cannot hold as a value: it is put into the text instead of a string that names it.
const RAW: [&str; 18] = [
    "1e400",
    "-1e400",
    "1e-400",
    "NaN",
    "-Infinity",
    "-0",
    "-1",
    "1.5",
    "1e3",
    "4294967296",
    "-9223372036854775809",
    "18446744073709551616",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\"a\" \"b\"",
    "{\"a\": 1, \"a\": 2}",
    "[",
    "}",
];

/// Fields that some servers read.
const FIELDS: [&str; 14] = [
    "chat_template",
    "chat_template_kwargs",
    "documents",
    "prompt",
    "messages",
    "tools",
    "tool_choice",
    "response_format",
    "guided_regex",
    "logprobs",
    "n",
    "max_tokens",
    "$ref",
    "pattern",
];

/// Makes one change at a place that the choices lead to.
pub(crate) fn mutate(body: &mut Value, choices: &mut Choices<'_>) {
    let place = place(body, choices);
    match choices.below(4) {
        0 | 1 => *place = hostile(choices),
        2 => add(place, choices),
        _ => remove(place, choices),
    }
}

/// Down from `value`, as far as the choices go.
fn place<'a>(value: &'a mut Value, choices: &mut Choices<'_>) -> &'a mut Value {
    let count = match &*value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    if count == 0 || choices.sometimes(4) {
        return value;
    }
    let at = choices.below(count);
    let below = match value {
        Value::Array(items) => items.get_mut(at),
        Value::Object(fields) => fields.values_mut().nth(at),
        _ => None,
    };
    place(below.expect("there are more than `at`"), choices)
}

fn add(value: &mut Value, choices: &mut Choices<'_>) {
    let more = hostile(choices);
    match value {
        Value::Array(items) => items.push(more),
        Value::Object(fields) => drop(fields.insert(choices.one_of(&FIELDS).to_owned(), more)),
        Value::String(text) => text.push_str(choices.one_of(&TEXTS)),
        _ => *value = json!([value.clone(), more]),
    }
}

fn remove(value: &mut Value, choices: &mut Choices<'_>) {
    match value {
        Value::Array(items) if !items.is_empty() => drop(items.remove(choices.below(items.len()))),
        Value::Object(fields) if !fields.is_empty() => {
            let name = fields.keys().nth(choices.below(fields.len())).cloned();
            fields.remove(&name.expect("there are more"));
        }
        _ => *value = Value::Null,
    }
}

const TEXTS: [&str; 12] = [
    "",
    "<|end|>",
    "</tool_call>",
    "{\"name\": \"rate\"",
    "forever",
    "\u{0}",
    "\r\n",
    "\u{1b}[31m",
    "\u{202e}",
    "é\u{301}👩\u{200d}🚀",
    "../../etc/passwd",
    "file:///etc/passwd",
];

fn hostile(choices: &mut Choices<'_>) -> Value {
    match choices.below(8) {
        0 => raw(choices.below(RAW.len())),
        1 => json!(choices.one_of(&TEXTS)),
        2 => json!(choices.one_of(&TEXTS).repeat(1 << choices.below(8))),
        3 => json!(choices.below(256)),
        4 => nested(choices.below(256)),
        5 => json!(vec![choices.one_of(&TEXTS); choices.below(200)]),
        6 => json!(choices.sometimes(2)),
        _ => choices
            .one_of(&[Value::Null, json!([]), json!({}), json!("")].each_ref())
            .clone(),
    }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, level| match level % 2 {
        0 => json!([inner]),
        _ => json!({"a": inner}),
    })
}

fn raw(index: usize) -> Value {
    json!(format!("raw text {index}"))
}

/// The body as it is sent.
pub(crate) fn spelled(body: &Value) -> String {
    let mut text = body.to_string();
    for (index, spelling) in RAW.iter().enumerate() {
        text = text.replace(&raw(index).to_string(), spelling);
    }
    text
}
