//! Grammars made to cost much: each is refused, or stays within the fuel of every step.

use std::sync::Arc;

use portcullis_types::{TokenBytes, TokenId};

use super::*;
use crate::limits::GRAMMAR_BYTES_MAX;

/// Every ASCII byte and every pair of printable ones.
fn pairs() -> Arc<Vocabulary> {
    let printable = || b' '..=b'~';
    let pairs = printable().flat_map(|a| printable().map(move |b| vec![a, b]));
    let words: Vec<Vec<u8>> = (0..128).map(|byte| vec![byte]).chain(pairs).collect();
    let end = words.len() as TokenId;
    let bytes = |token: TokenId| {
        let inside = words.get(token as usize)?.clone();
        let at_start = inside.clone();
        Some(TokenBytes { at_start, inside })
    };
    Arc::new(Vocabulary::new(words.len() + 1, bytes, &[end]).expect("a vocabulary"))
}

/// Draws 60 tokens, far apart in the vocabulary, and looks at what each mask has cost.
fn check_bounded(vocabulary: &Arc<Vocabulary>, name: &str, grammar: &Grammar) {
    let mut state = grammar.compile(vocabulary).expect(name).begin();
    let mut drawn = Vec::new();
    for step in 0..60 {
        let allowed: Vec<TokenId> = state.allowed_after(&drawn).iter().collect();
        let Ok(cost) = state.last_cost() else { break };
        // A step is stopped once it is over, not before.
        assert!(cost.lexer_cost <= 2 * GRAMMAR_STEP_FUEL, "{name}: {cost}");
        assert!(
            cost.all_items <= 2 * GRAMMAR_STEP_ITEMS_MAX,
            "{name}: {cost}"
        );
        if allowed.is_empty() {
            break;
        }
        drawn.push(allowed[step * 7919 % allowed.len()]);
    }
    assert!(
        state
            .fault()
            .is_none_or(|fault| matches!(fault, GrammarFault::Stuck(_))),
        "{name}"
    );
}

fn joined(count: usize, separator: &str, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect::<Vec<_>>().join(separator)
}

/// Definitions that each refer to the next one, in the form `part`.
fn definitions(count: usize, part: impl Fn(&str) -> String) -> String {
    let defs = joined(count, ",", |i| {
        let next = format!(r##"{{"$ref":"#/$defs/a{}"}}"##, i + 1);
        format!(r#""a{i}":{}"#, part(&next))
    });
    format!(r##"{{"$defs":{{{defs},"a{count}":{{"type":"null"}}}},"$ref":"#/$defs/a0"}}"##)
}

fn chain_of_rules(letter: char) -> String {
    let rules = joined(3_000, "\n", |i| format!("{letter}{i}: {letter}{}", i + 1));
    format!("start: {letter}0\n{rules}\n{letter}3000: \"x\"")
}

#[test]
fn schemas_stay_within_their_fuel() {
    let vocabulary = pairs();
    let names = joined(4_000, ",", |i| format!(r#""v{}""#, i * 7919));
    let properties = joined(600, ",", |i| {
        format!(
            r#""p{i}":{{"type":"string","pattern":"^[a-z]{{{},99}}x"}}"#,
            i % 9
        )
    });
    for schema in [
        definitions(1_000, str::to_owned),
        definitions(100, |next| format!("{}{next}{}", r#"{"anyOf":["#.repeat(28), "]}".repeat(28))),
        definitions(30, |next| format!(r#"{{"allOf":[{next},{next}]}}"#)),
        definitions(30, |next| format!(r#"{{"anyOf":[{next},{next}]}}"#)),
        format!(r#"{{"enum":[{names}]}}"#),
        format!(r#"{{"type":"object","properties":{{{properties}}}}}"#),
        r#"{"type":"array","items":{"type":"null"},"minItems":1000000000}"#.to_owned(),
        r#"{"type":"string","minLength":1000000000}"#.to_owned(),
        r#"{"type":"string","pattern":"^(a|b)*a(a|b){40}$"}"#.to_owned(),
        r#"{"type":"object","patternProperties":{"^(a|b)*a(a|b){30}$":{},"^(a|b)*b(a|b){30}c$":{}}}"#.to_owned(),
    ] {
        let name: String = schema.chars().take(60).collect();
        check_bounded(&vocabulary, &name, &Grammar::json_schema(&schema).expect(&name));
    }
}

#[test]
fn expressions_and_lark_stay_within_their_fuel() {
    let vocabulary = pairs();
    for pattern in [
        "(a{1000}){1000}",
        "((a{0,100}){0,100}){0,100}",
        "(a|b)*a(a|b){40}",
        "(.*a.{12}|.*b.{13}|.*c.{14})*",
        r"(\w{1,20}\W{1,20}){1,50}",
    ] {
        check_bounded(
            &vocabulary,
            pattern,
            &Grammar::regex(pattern).expect(pattern),
        );
    }
    for lark in [
        "start: start start start | start start | \"a\"".to_owned(),
        "start: b{0,1000}\nb: c{0,1000}\nc: \"a\"{0,1000}".to_owned(),
        "start: A\nA: /(a|b)*a(a|b){20}/ & /(a|b)*b(a|b){21}/ & ~/(ab)*/".to_owned(),
        chain_of_rules('a'),
        chain_of_rules('A'),
    ] {
        let name: String = lark.chars().take(60).collect();
        check_bounded(&vocabulary, &name, &Grammar::lark(&lark).expect(&name));
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let large = "a".repeat(1 << 20);
    let bytes = GRAMMAR_BYTES_MAX + 1;
    let at_limit = "a".repeat(bytes);
    assert_eq!(
        Grammar::regex(&at_limit).err(),
        Some(GrammarError::TooLong { bytes })
    );
    for made in [
        Grammar::json_schema(&large),
        Grammar::lark(&large),
        Grammar::regex(&large),
    ] {
        assert_eq!(made.err(), Some(GrammarError::TooLong { bytes: 1 << 20 }));
    }
    let nested = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    for made in [Grammar::json_schema(&nested), Grammar::lark(&nested)] {
        assert_eq!(made.err(), Some(GrammarError::NestedTooDeep));
    }
    assert!(matches!(
        Grammar::regex(&nested),
        Err(GrammarError::Library(_))
    ));
    let many = format!(
        r#"{{"anyOf":[{}]}}"#,
        joined(6_000, ",", |_| "{}".to_owned())
    );
    assert_eq!(
        Grammar::json_schema(&many).err(),
        Some(GrammarError::TooManyParts)
    );
    let many = joined(6_000, "\n", |i| format!("a{i}: \"\""));
    assert_eq!(Grammar::lark(&many).err(), Some(GrammarError::TooManyParts));
}

/// The library bounds what it makes of a schema, and says so.
#[test]
fn what_becomes_too_large_is_refused() {
    let properties = |i: usize| {
        joined(10, ",", |j| {
            format!(r#"{{"properties":{{"p{i}_{j}":{{}}}}}}"#)
        })
    };
    let product = joined(8, ",", |i| format!(r#"{{"anyOf":[{}]}}"#, properties(i)));
    for schema in [
        format!(r#"{{"type":"object","allOf":[{product}]}}"#),
        r##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}"##
            .to_owned(),
        r##"{"$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"},{"type":"null"}]}},"$ref":"#/$defs/a"}"##
            .to_owned(),
    ] {
        assert!(
            matches!(Grammar::json_schema(&schema), Err(GrammarError::Library(_))),
            "{schema}"
        );
    }
    for multiple in ["999999937", "1e-300", "0", "-1"] {
        let schema = format!(r#"{{"type":"integer","multipleOf":{multiple}}}"#);
        assert!(
            matches!(
                Grammar::json_schema(&schema),
                Err(GrammarError::Value { .. })
            ),
            "{schema}"
        );
    }
}
