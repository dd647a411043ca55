//! `docs/rules.md`: its examples load, and it leaves no key and no word of the format out.

use portcullis_gate::RuleSet;

const DOCS: &str = include_str!("../../../docs/rules.md");
const SCHEMA: &str = include_str!("../../../rules/ruleset.schema.json");

fn examples() -> Vec<&'static str> {
    let blocks = DOCS.split("```yaml\n").skip(1);
    blocks
        .filter_map(|rest| Some(rest.split_once("```")?.0))
        .collect()
}

#[test]
fn every_example_loads() {
    let examples = examples();
    assert!(examples.len() >= 11, "only {} were found", examples.len());
    for example in examples {
        let head = match example.contains("ruleset: ") {
            true => "",
            false => "ruleset: example\nversion: 1\nmode: enforce\n",
        };
        let file = format!("{head}{example}");
        if let Err(errors) = RuleSet::load(file.as_bytes()) {
            panic!("{errors}\n{file}");
        }
    }
}

#[test]
fn every_key_and_word_of_the_format_is_told() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let mut words = Vec::new();
    collect(&schema, &mut words);
    assert!(words.len() > 60, "{words:?}");
    for word in words {
        let told = DOCS
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .any(|w| w == word);
        assert!(told, "docs/rules.md says nothing of `{word}`");
    }
}

fn collect(node: &serde_json::Value, words: &mut Vec<String>) {
    if let Some(properties) = node["properties"].as_object() {
        words.extend(properties.keys().cloned());
    }
    let values = node["enum"].as_array().into_iter().flatten();
    words.extend(values.filter_map(|word| Some(word.as_str()?.to_owned())));
    match node {
        serde_json::Value::Object(map) => map.values().for_each(|value| collect(value, words)),
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, words)),
        _ => {}
    }
}
