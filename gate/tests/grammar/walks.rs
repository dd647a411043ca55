//! Whatever is drawn from the masks, the text is one of the grammar, as an outside validator says.

use portcullis_gate::Grammar;
use proptest::prelude::*;
use regex_automata::{Anchored, Input, meta::Regex};
use serde_json::{Value, json};

use crate::vocabularies::{Random, Tokens};

/// A schema, and whether a value meets it, said once more without it.
type Schema = (&'static str, fn(&Value) -> bool);

const SCHEMAS: [Schema; 8] = [
    (
        r#"{"type": "object", "properties": {"name": {"type": "string", "maxLength": 6},
            "age": {"type": "integer", "minimum": 0, "maximum": 150}},
            "required": ["name", "age"], "additionalProperties": false}"#,
        |value| {
            value["name"]
                .as_str()
                .is_some_and(|name| name.chars().count() <= 6)
                && whole(&value["age"]).is_some_and(|age| (0.0..=150.0).contains(&age))
                && len(value) == 2
        },
    ),
    (
        r#"{"type": "array", "items": {"enum": ["a", "é", "日本", null, 3, {"x": []}]}, "minItems": 1, "maxItems": 3}"#,
        |value| {
            let known = [
                json!("a"),
                json!("é"),
                json!("日本"),
                json!(null),
                json!(3),
                json!({"x": []}),
            ];
            let items = value.as_array();
            items.is_some_and(|items| {
                (1..=3).contains(&items.len()) && items.iter().all(|item| known.contains(item))
            })
        },
    ),
    (
        r#"{"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}]}"#,
        |value| {
            let is_code = |text: &str| matches_whole("[A-Z]{2}-[0-9]{3}", text.as_bytes());
            value.is_boolean() || value.as_str().is_some_and(is_code)
        },
    ),
    (
        r#"{"type": "string", "format": "date", "maxLength": 10}"#,
        |value| {
            let is_date =
                |text: &str| matches_whole("[0-9]{4}-[01][0-9]-[0-3][0-9]", text.as_bytes());
            value.as_str().is_some_and(is_date)
        },
    ),
    (
        r##"{"$defs": {"tree": {"type": "object", "properties": {"leaf": {"type": "boolean"},
            "below": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 1}},
            "required": ["leaf"], "additionalProperties": false}}, "$ref": "#/$defs/tree"}"##,
        is_tree,
    ),
    (
        r#"{"type": "number", "multipleOf": 0.25, "minimum": -1, "maximum": 1}"#,
        |value| {
            let fits = |n: f64| (-1.0..=1.0).contains(&n) && (n * 4.0).fract() == 0.0;
            value.as_f64().is_some_and(fits)
        },
    ),
    (
        r#"{"oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"], "additionalProperties": false},
            {"type": "object", "properties": {"kind": {"const": "b"}, "n": {"type": "integer", "exclusiveMaximum": 5, "minimum": -5}}, "required": ["kind"], "additionalProperties": false}]}"#,
        |value| match value["kind"].as_str() {
            Some("a") => len(value) == 1,
            Some("b") if len(value) == 2 => {
                whole(&value["n"]).is_some_and(|n| (-5.0..5.0).contains(&n))
            }
            Some("b") => len(value) == 1,
            _ => false,
        },
    ),
    (
        r#"{"type": "object", "patternProperties": {"^x[0-9]$": {"type": "null"}}, "additionalProperties": false, "maxProperties": 2}"#,
        |value| {
            let fits = |(key, value): (&String, &Value)| {
                matches_whole("x[0-9]", key.as_bytes()) && value.is_null()
            };
            value
                .as_object()
                .is_some_and(|all| all.len() <= 2 && all.iter().all(fits))
        },
    ),
];

fn len(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len)
}

/// A whole number; `-0` is one, and to the reader of JSON a float.
fn whole(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.fract() == 0.0)
}

fn is_tree(value: &Value) -> bool {
    let below = match value.get("below") {
        None => len(value) == 1,
        Some(below) => {
            let trees = below.as_array();
            len(value) == 2 && trees.is_some_and(|all| all.len() <= 1 && all.iter().all(is_tree))
        }
    };
    value["leaf"].is_boolean() && below
}

const REGEXES: [&str; 6] = [
    "[0-9]{4}-[0-9]{2}",
    "(yes|no|perhaps)( indeed){0,3}",
    "é{1,4}👋?",
    "[^a-z]{2,5}z",
    r"\$[1-9][0-9]{0,3}(,[0-9]{3}){0,2}\.[0-9]{2}",
    "a|ab|abc/d",
];

fn vocabularies(random: &mut Random) -> Vec<Tokens> {
    vec![
        Tokens::of_bytes(),
        Tokens::merged(random, 700),
        Tokens::dropping_first_space(),
    ]
}

fn is_valid(fits: fn(&Value) -> bool, text: &[u8]) -> bool {
    serde_json::from_slice(text).is_ok_and(|value| fits(&value))
}

fn matches_whole(pattern: &str, text: &[u8]) -> bool {
    let regex = Regex::new(&format!("(?:{pattern})\\z")).unwrap();
    regex.is_match(Input::new(text).anchored(Anchored::Yes))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_walk_under_a_schema_ends_in_a_valid_text(seed: u64) {
        let random = &mut Random(seed);
        for tokens in vocabularies(random) {
            for (source, fits) in SCHEMAS {
                let grammar = Grammar::json_schema(source).unwrap();
                let text = tokens.walk(&[&grammar], random, 60, |_| {}).unwrap();
                prop_assert!(is_valid(fits, &text), "{source}: {:?}", String::from_utf8_lossy(&text));
            }
        }
    }

    #[test]
    fn every_walk_under_an_expression_ends_in_a_match(seed: u64) {
        let random = &mut Random(seed);
        for tokens in vocabularies(random) {
            for pattern in REGEXES {
                let grammar = Grammar::regex(pattern).unwrap();
                let text = tokens.walk(&[&grammar], random, 60, |_| {}).unwrap();
                prop_assert!(matches_whole(pattern, &text), "{pattern}: {:?}", String::from_utf8_lossy(&text));
            }
        }
    }

    /// All of several grammars hold.
    #[test]
    fn every_walk_under_two_grammars_meets_both(seed: u64) {
        let random = &mut Random(seed);
        let [letters, short] = ["[a-c]{1,9}x?", "(ab|c|x){0,5}"];
        let grammars = [letters, short].map(|pattern| Grammar::regex(pattern).unwrap());
        for tokens in vocabularies(random) {
            if let Some(text) = tokens.walk(&grammars.each_ref(), random, 60, |_| {}) {
                prop_assert!(matches_whole(letters, &text) && matches_whole(short, &text));
            }
        }
    }

    /// The walks above can fail: with one more token allowed, sooner or later they do.
    #[test]
    fn a_mask_with_one_token_too_many_is_found_out(seed: u64) {
        let random = &mut Random(seed);
        let grammar = Grammar::regex("[0-9]{8}").unwrap();
        let tokens = Tokens::of_bytes();
        let wrong = (0..40).any(|_| {
            let text = tokens.walk(&[&grammar], random, 60, |allowed| allowed.set(b'x'.into(), true));
            text.is_none_or(|text| !matches_whole("[0-9]{8}", &text))
        });
        prop_assert!(wrong);
    }
}

#[test]
fn lark_grammars_hold_rules_that_no_expression_can() {
    let grammar = Grammar::lark("start: \"(\" start \")\" | \"x\"").unwrap();
    let random = &mut Random(7);
    let tokens = Tokens::merged(random, 500);
    for _ in 0..200 {
        let text = tokens.walk(&[&grammar], random, 60, |_| {}).unwrap();
        let depth = text.len() / 2;
        let expected = format!("{}x{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
