//! Holds `rules/ruleset.schema.json` to what is read: the same keys, words and limits, no more and
//! no fewer. What the code says of a wrong value is compared with what the schema says of it.

use std::collections::BTreeSet;

use regex_automata::meta::Regex;
use serde_json::{Map, Value, json};

use super::{RuleSet, yaml};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    kind::{SPECS, UNBUILT, grammar},
};

/// In a path: the only item of a list.
const ITEM: &str = "[]";

const SCHEMA: &str = include_str!("../../../rules/ruleset.schema.json");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

/// A file as JSON, as an editor sees it.
fn as_json(yaml: &str) -> Value {
    let mut mistakes = Diagnostics::default();
    let node = yaml::parse(yaml.as_bytes(), &mut mistakes).expect("it is YAML");
    serde_json::from_str(&grammar::json(&node)).expect("it was written as JSON")
}

#[track_caller]
fn check_valid(yaml: &str) {
    let schema = schema();
    assert_eq!(fault(&schema, &schema, &as_json(yaml)), None);
}

/// Where `value` does not satisfy a schema, as far as our schema uses the language of schemas. A
/// keyword that is not known here fails the test.
fn fault(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    let keywords = schema.as_object().expect("a schema is a map");
    let mut keywords = keywords.iter();
    keywords.find_map(|(keyword, said)| {
        let holds = match (keyword.as_str(), value) {
            ("$schema" | "$defs" | "title" | "description" | "default", _) => return None,
            // With the properties.
            ("additionalProperties", _) => return None,
            ("$ref", _) => {
                let pointer = said.as_str().and_then(|said| said.strip_prefix('#'));
                let target = root.pointer(pointer.expect("a reference stays in the file"));
                return fault(root, target.expect("what is referred to is there"), value);
            }
            ("properties", Value::Object(map)) => {
                let is_open = schema["additionalProperties"] != false;
                return map.iter().find_map(|(key, value)| match said.get(key) {
                    Some(schema) => fault(root, schema, value).map(|at| format!("{key}: {at}")),
                    None => (!is_open).then(|| format!("unknown key {key}")),
                });
            }
            ("items", Value::Array(items)) => {
                return items.iter().find_map(|item| fault(root, said, item));
            }
            ("dependentSchemas", Value::Object(map)) => {
                let there = map.keys().filter_map(|key| said.get(key));
                return there.filter_map(|schema| fault(root, schema, value)).next();
            }
            ("anyOf", _) => count_satisfied(root, said, value) > 0,
            ("oneOf", _) => count_satisfied(root, said, value) == 1,
            ("enum", _) => said.as_array().is_some_and(|words| words.contains(value)),
            ("type", _) => is_of_type(said, value),
            ("required", Value::Object(map)) => has_all(map, said),
            ("minProperties", Value::Object(map)) => map.len() as u64 >= number(said),
            ("minItems", Value::Array(items)) => items.len() as u64 >= number(said),
            ("maxItems", Value::Array(items)) => items.len() as u64 <= number(said),
            ("minLength", Value::String(text)) => text.len() as u64 >= number(said),
            ("maxLength", Value::String(text)) => text.len() as u64 <= number(said),
            ("minimum", Value::Number(number)) => number.as_f64() >= said.as_f64(),
            ("maximum", Value::Number(number)) => number.as_f64() <= said.as_f64(),
            ("pattern", Value::String(text)) => {
                let pattern = Regex::new(said.as_str().expect("a pattern is a text"));
                pattern.expect("it is a pattern").is_match(text)
            }
            (known, _) if KEYWORDS.contains(&known) => return None,
            (unknown, _) => panic!("the checker does not know {unknown}"),
        };
        (!holds).then(|| format!("{keyword} {said}: {value}"))
    })
}

/// Keywords that say something about values of one type only.
const KEYWORDS: [&str; 12] = [
    "properties",
    "items",
    "dependentSchemas",
    "required",
    "minProperties",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "pattern",
];

fn count_satisfied(root: &Value, schemas: &Value, value: &Value) -> usize {
    let schemas = schemas.as_array().into_iter().flatten();
    schemas
        .filter(|schema| fault(root, schema, value).is_none())
        .count()
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_u64(),
        Some("number") => value.is_number(),
        _ => panic!("the checker does not know the type {name}"),
    }
}

fn has_all(map: &Map<String, Value>, keys: &Value) -> bool {
    let mut keys = keys.as_array().into_iter().flatten();
    keys.all(|key| key.as_str().is_some_and(|key| map.contains_key(key)))
}

fn number(said: &Value) -> u64 {
    said.as_u64().expect("a limit is a number")
}

#[test]
fn the_shipped_files_satisfy_the_schema() {
    check_valid(include_str!("../../../rules/demo.yaml"));
    check_valid(include_str!("../../../rules/packs/finance.yaml"));
    check_valid(include_str!("../../../rules/packs/health.yaml"));
    check_valid(include_str!("../../../rules/packs/legal.yaml"));
    check_valid(include_str!("../../../rules/packs/agent-tools.yaml"));
}

#[test]
fn what_is_refused_does_not_satisfy_the_schema() {
    let good = "{id: r, why: w, phrases: [x], action: flag}";
    let file = |rule: &str| format!("ruleset: t\nversion: 1\nmode: observe\nrules: [{rule}]\n");
    check_valid(&file(good));
    for bad in [
        "{why: w, phrases: [x], action: flag}",
        "{id: r, why: w, action: flag}",
        "{id: r, why: w, phrases: [x], regex: x, action: flag}",
        "{id: r, why: w, phrases: [x], max_span: 3, action: flag}",
        "{id: r, why: w, pii: [iban], normalise: none, action: flag}",
        "{id: r, why: w, phrases: [x], action: block}",
        "{id: r, why: w, length: {}, action: flag}",
        "{id: r, why: w, logits: {window: 3}, action: flag}",
        "{id: r, why: w, grammar: {lark: x, regex: x}, action: reject}",
        "{id: r, why: w, json_schema: reply.json, action: reject}",
        "{id: r, why: w, semantic: {model: m}, action: flag}",
    ] {
        let yaml = file(bad);
        assert!(RuleSet::load(yaml.as_bytes()).is_err(), "{bad}");
        let schema = schema();
        assert!(fault(&schema, &schema, &as_json(&yaml)).is_some(), "{bad}");
    }
}

/// Every object, word and limit of the schema, each against what the code says of a wrong value.
#[test]
fn every_key_word_and_limit_is_that_of_the_code() {
    let schema = schema();
    let mut compared = 0;
    compare(&schema, &mut Vec::new(), &mut compared);
    compare(&schema["$defs"]["rule"], &mut vec!["rules"], &mut compared);
    compare(&schema["$defs"]["test"], &mut vec!["tests"], &mut compared);
    assert!(compared >= 60, "only {compared} were compared");
}

fn compare<'a>(node: &'a Value, path: &mut Vec<&'a str>, compared: &mut usize) {
    let mut expect = |wrong: Value, mend: String| {
        *compared += 1;
        let said = mistakes_with(path, wrong);
        let told = said.iter().any(|mistake| mistake.mend == mend);
        assert!(told, "{path:?}: {mend:?} is not in {said:#?}");
    };
    if let Some(words) = node["enum"].as_array() {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        expect(json!("0"), format!("use one of {}", words.join(", ")));
    }
    if let (Some(min), Some(max)) = (node["minimum"].as_f64(), node["maximum"].as_f64()) {
        expect(json!("x"), format!("use one from {min} to {max}"));
    }
    if let Some(max) = node["maxLength"].as_u64() {
        expect(
            json!("a".repeat(max as usize + 1)),
            format!("use at most {max}"),
        );
    }
    if let Some(max) = node["maxItems"].as_u64() {
        let mend = format!("use at most {max}, or split the rule set");
        expect(json!(vec!["0"; max as usize + 1]), mend);
    }
    if node["type"] == "boolean" {
        expect(json!("0"), "use one of true, false".to_owned());
    }
    if let (Some(properties), false) = (
        node["properties"].as_object(),
        node["additionalProperties"].as_bool().unwrap_or(true),
    ) {
        *compared += 1;
        let known: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(
            known_keys(path),
            known.iter().map(ToString::to_string).collect()
        );
        for (key, property) in properties {
            path.push(key);
            compare(property, path, compared);
            path.pop();
        }
    }
    if let Some(items) = node.get("items").filter(|items| items["$ref"].is_null()) {
        path.push(ITEM);
        compare(items, path, compared);
        path.pop();
    }
    for branch in node["anyOf"].as_array().into_iter().flatten() {
        compare(branch, path, compared);
    }
}

/// The keys that the code knows at `path`.
fn known_keys(path: &[&str]) -> BTreeSet<String> {
    let said = mistakes_with(path, json!({"0": "0"}));
    let mends = said
        .iter()
        .filter(|mistake| mistake.message == "unknown key `0`");
    let mut known = mends.filter_map(|mistake| mistake.mend.strip_prefix("known here are "));
    let known = known
        .next()
        .unwrap_or_else(|| panic!("{path:?}: {said:#?}"));
    let known = known.split(", ").filter(|key| !UNBUILT.contains(key));
    known.map(str::to_owned).collect()
}

/// What the code says of a file that is good but for `wrong` at `path`.
fn mistakes_with(path: &[&str], wrong: Value) -> Vec<Diagnostic> {
    let mut set = json!({
        "ruleset": "t", "version": 1, "mode": "observe",
        "rules": [rule(path.get(1).copied())],
        "tests": [{"rule": "r", "should_fail": "x"}],
    });
    match path {
        ["rules", inner @ ..] if !inner.is_empty() => {
            put(&mut set["rules"][0], inner, wrong);
        }
        ["tests", inner @ ..] if !inner.is_empty() => {
            if inner[0] == "should_pass" {
                set["tests"][0] = json!({"rule": "r"});
            }
            put(&mut set["tests"][0], inner, wrong);
        }
        // A list of items, as the schema says; one item, where an object is looked at.
        ["rules" | "tests"] if wrong.is_object() => set[path[0]] = json!([wrong]),
        // The limit of `every_tokens` is what may be held.
        ["checkpoint", "every_tokens"] => {
            set["checkpoint"] = json!({"max_hold_tokens": 4096, "every_tokens": wrong});
        }
        [] => set = wrong,
        _ => put(&mut set, path, wrong),
    }
    match RuleSet::load(set.to_string().as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.0,
    }
}

/// A good rule to which `key` can be given.
fn rule(key: Option<&str>) -> Value {
    let mut rule = json!({"id": "r", "why": "w", "action": "redact"});
    let of = |spec: &&crate::kind::Spec| {
        key.is_some_and(|key| spec.name == key || spec.options.contains(&key))
    };
    match SPECS.iter().find(of).map_or("phrases", |spec| spec.name) {
        kind if Some(kind) == key => {}
        "regex" => rule["regex"] = json!("x"),
        kind => rule[kind] = json!(["x"]),
    }
    rule
}

fn put(at: &mut Value, path: &[&str], value: Value) {
    match path {
        [ITEM] => *at = json!([value]),
        [key] => at[*key] = value,
        [key, rest @ ..] => put(&mut at[*key], rest, value),
        [] => {}
    }
}

#[test]
fn the_schema_knows_the_kinds_and_whose_options_are_whose() {
    let schema = schema();
    let rule = &schema["$defs"]["rule"];
    let required = |branches: &Value| -> BTreeSet<String> {
        let branches = branches.as_array().into_iter().flatten();
        let names = branches.filter_map(|branch| branch["required"][0].as_str());
        names.map(str::to_owned).collect()
    };
    let kinds: BTreeSet<String> = SPECS.iter().map(|spec| spec.name.to_owned()).collect();
    assert_eq!(required(&rule["oneOf"]), kinds);
    let options: BTreeSet<&str> = SPECS
        .iter()
        .flat_map(|spec| spec.options)
        .copied()
        .collect();
    let dependent = rule["dependentSchemas"]
        .as_object()
        .expect("it has options");
    assert_eq!(options, dependent.keys().map(String::as_str).collect());
    for option in options {
        let of = SPECS.iter().filter(|spec| spec.options.contains(&option));
        let of: BTreeSet<String> = of.map(|spec| spec.name.to_owned()).collect();
        let told = match &dependent[option]["anyOf"] {
            Value::Null => required(&json!([dependent[option]])),
            branches => required(branches),
        };
        assert_eq!(told, of, "{option}");
    }
}
