//! Mistakes in a file: each with its line and column, what is wrong, and how to mend it.

use portcullis_gate::{RuleSet, RuleSetErrors, limits};

fn errors(yaml: &str) -> RuleSetErrors {
    match RuleSet::load(yaml.as_bytes()) {
        Ok(_) => panic!("no mistake found in:\n{yaml}"),
        Err(errors) => errors,
    }
}

#[track_caller]
fn check(yaml: &str, expected: &str) {
    assert_eq!(errors(yaml).to_string(), expected.trim_end());
}

/// One rule in an otherwise good file; it stands in line 5.
#[track_caller]
fn check_rule(rule: &str, expected: &str) {
    let yaml = format!(
        "ruleset: t\nversion: 1\nmode: enforce\nrules:\n- {{id: r, why: w, {rule}}}\n\
         tests: [{{rule: r, should_pass: zz}}]\n"
    );
    check(&yaml, expected);
}

#[test]
fn all_mistakes_at_once() {
    check(
        r#"ruleset: "no name"
version: 0
mode: strict
colour: blue
checkpoint: {every_tokens: 100, at: [paragraph]}
resample: {max_attempts: many, then: resample}
rules:
- id: one
  phrase: ["x"]
  action: reject
- {id: one, why: w, regex: 'a*', action: block}
- {id: two, why: w, phrases: [], action: flag}
tests:
- {rule: three, should_fail: x}
- {rule: one}
"#,
        ALL_AT_ONCE,
    );
}

const ALL_AT_ONCE: &str = r#"1:10: the name of the set, `no name`, is not a name; use letters, digits, `-`, `_` and `.`, a letter or digit first
2:10: `version` is not a whole number in its range; use one from 1 to 4294967295
3:7: `mode` has an unknown value; use one of observe, enforce
4:1: unknown key `colour`; known here are ruleset, version, mode, on_gate_error, checkpoint, resample, rules, tests
5:28: `every_tokens` is not a whole number in its range; use one from 1 to 64
5:38: `at` has an unknown value; use one of sentence, end
6:26: `max_attempts` is not a whole number in its range; use one from 1 to 64
6:38: `then` has an unknown value; use one of reject, redact, flag
8:3: `why` is missing; say in `why` which law, policy or incident asks for it
8:3: the rule does not say what to look for; add `phrases: ["…"]`, `regex: '…'` or another kind
8:3: rule `one` has no test; add `{rule: one, should_fail: "…"}` to `tests`
9:3: unknown key `phrase`; did you mean `phrases`?
11:3: a second rule has the id `one`; give it another id
11:28: the regex matches the empty text, that is everywhere; use `+` for `*`, or take out what makes all of it optional
11:42: `action` has an unknown value; use one of reject, resample, redact, flag, observe
12:3: rule `two` has no test; add `{rule: two, should_fail: "…"}` to `tests`
12:30: `phrases` is empty; give at least one entry
14:10: no rule has the id `three`; name one of `rules`
15:3: a test has either `should_fail` or `should_pass`; write one of the two and a text"#;

#[test]
fn yaml_that_is_none_of_the_format() {
    check(
        "",
        r#"1:1: the file holds no rule set; begin with `ruleset: NAME`"#,
    );
    check(
        "- a\n",
        r#"1:1: a rule set is a map; write `key: value` with ruleset, version, mode, on_gate_error, checkpoint, resample, rules, tests"#,
    );
    check(
        "ruleset: [\n",
        r#"1:10: this is not YAML: unclosed bracket '['; see https://yaml.org/spec/1.2.2 or quote the text"#,
    );
    check(
        "a: &x 1\nb: *x\nc: !tag 2\n",
        r#"1:1: unknown key `a`; known here are ruleset, version, mode, on_gate_error, checkpoint, resample, rules, tests
1:1: `ruleset` is missing; begin with `ruleset: NAME`
1:1: `version` is missing; write `version: 1`
1:1: `mode` is missing; write `mode: enforce`, or `mode: observe` to record only
1:1: `rules` is missing; list at least one under `rules:`
1:7: an anchor (`&name`) is not allowed; write the value out where it is needed
2:1: unknown key `b`; known here are ruleset, version, mode, on_gate_error, checkpoint, resample, rules, tests
2:4: an alias (`*name`) is not allowed; write the value out, so that the file reads in one direction
3:1: unknown key `c`; known here are ruleset, version, mode, on_gate_error, checkpoint, resample, rules, tests
3:9: a tag (`!name`) is not allowed; leave it out"#,
    );
    check(
        "a: 1\na: 2\n",
        r#"1:1: unknown key `a`; known here are ruleset, version, mode, on_gate_error, checkpoint, resample, rules, tests
1:1: `ruleset` is missing; begin with `ruleset: NAME`
1:1: `version` is missing; write `version: 1`
1:1: `mode` is missing; write `mode: enforce`, or `mode: observe` to record only
1:1: `rules` is missing; list at least one under `rules:`
2:1: the key `a` is given twice; keep one of the two"#,
    );
    check(
        "a: 1\n---\nb: 2\n",
        r#"3:1: a second document begins here; one file holds one rule set: split it"#,
    );
    check(
        &format!("a: {}x{}", "[".repeat(33), "]".repeat(33)),
        r#"1:35: more than 32 levels of nesting; no part of a rule set is that deep"#,
    );
    check(
        "? [a]\n: b\n",
        r#"1:3: a list or map cannot be a key; write `key: value`"#,
    );
}

#[test]
fn bytes_that_are_no_text() {
    let not_utf8 = RuleSet::load(b"ruleset: x\nna\xffme").unwrap_err();
    assert_eq!(
        not_utf8.to_string(),
        "2:3: this byte is not UTF-8; save the file as UTF-8"
    );
    let large = vec![b'#'; limits::FILE_BYTES_MAX + 1];
    let large = RuleSet::load(&large).unwrap_err();
    assert_eq!(
        large.to_string(),
        "1:1: the file has 1048577 bytes; a rule set has at most 1048576; split it into several"
    );
}

#[test]
fn kinds_that_are_not_built_are_refused_by_name() {
    for kind in ["semantic: {model: m}", "judge: {question: q}"] {
        let name = kind.split(':').next().unwrap();
        let place = 5 + 15 + kind.find(' ').unwrap();
        let expected = format!(
            "5:{place}: kind `{name}` is not built yet; built are phrases, regex, pii, injection, \
             require, length, logits, language, json_schema, grammar"
        );
        check_rule(&format!("{kind}, action: flag"), &expected);
    }
}

#[test]
fn rules_that_contradict_themselves() {
    check_rule(
        "on: input, phrases: [x], action: resample",
        "5:52: a prompt cannot be drawn again; use reject, redact, flag or observe",
    );
    check_rule(
        "phrases: [x], action: reject, at: end",
        "5:53: `phrases` is evaluated at the checkpoints of the set; leave `at` out, or write \
         `checkpoint: {at: [end]}` for the whole set",
    );
    check_rule(
        "length: {max_characters: 3}, action: redact",
        "5:56: `length` finds no stretch of text that could be replaced; use reject, resample, \
         flag or observe",
    );
    check_rule(
        "on: input, length: {max_tokens: 3}, action: flag",
        "5:38: the tokens of a prompt are bounded by the context of the model; use \
         `max_characters`\n6:9: what this rule finds depends on the model's tokens, not on a text; \
         leave the test out",
    );
    check_rule(
        "require: x, action: resample",
        "5:3: rule `r` is judged at the end, and its text would be out by then; write \
         `resample: {scope: completion}`, which holds everything back, or `action: flag`",
    );
    check_rule(
        "regex: 'a', pii: [email], action: flag",
        "5:36: a rule has either `regex` or `pii`; make two rules of it",
    );
    check_rule(
        "json_schema: reply.schema.json, action: reject",
        "5:32: `json_schema` is written here, not in a file of its own; put the schema under \
         `json_schema:`; the set's digest must cover it",
    );
}

/// A missing disclosure cannot be blackened: it would go out missing, recorded as a redaction.
#[test]
fn what_cannot_be_replaced_is_not_replaced_in_the_end() {
    for kind in ["require: x", "length: {max_characters: 3}"] {
        let yaml = format!(
            "ruleset: t\nversion: 1\nmode: enforce\nresample: {{scope: completion, then: redact}}\n\
             rules:\n- {{id: r, why: w, {kind}, action: resample}}\n\
             tests: [{{rule: r, should_fail: zzzz}}]\n"
        );
        check(
            &yaml,
            "6:3: rule `r` finds no stretch of text that `then: redact` could replace; write \
             `then: reject` or `then: flag`, or a set of its own for the rule",
        );
    }
}

#[test]
fn each_kind_says_how_it_is_written() {
    check_rule(
        "pii: email, action: redact",
        "5:24: `pii` is a list; write `[email]`, or lines that begin with `- `",
    );
    check_rule(
        "pii: [card, email, email], action: redact",
        "5:25: `pii` has an unknown value; use one of email, phone, iban, payment_card, us_ssn, \
         ipv4, ipv6\n5:38: `email` is given twice; keep one of the two",
    );
    check_rule(
        "pii: [iban], normalise: none, action: redact",
        "5:43: `normalise` belongs to `phrases`, `regex`, `require`; leave it out",
    );
    check_rule(
        "injection: {min: 0.9}, on: input, action: reject",
        "5:30: `patterns` is missing; write `injection: {patterns: v1}`: the list is part of what \
         the set means\n5:31: unknown key `min`; known here are patterns",
    );
    check_rule(
        "length: {max_words: 3}, action: flag",
        "5:27: `length` has no limit; write `length: {max_characters: 2000}`\n\
         5:28: unknown key `max_words`; known here are max_tokens, max_characters, max_sentences",
    );
    check_rule(
        "language: {allow: [english], min_characters: 0}, action: flag",
        "5:38: `english` is no language that can be told; use an ISO 639 code such as en, de, fr, \
         es, it, pt, nl, pl\n5:64: `min_characters` is not a whole number in its range; use one \
         from 1 to 100000",
    );
    check_rule(
        "json_schema: [1], action: reject",
        "5:32: `json_schema` is a map; write `json_schema: {type: object, …}`",
    );
    check_rule(
        "grammar: {lark: \"\"}, action: reject",
        "5:35: `lark` is empty; write it after the colon",
    );
    check_rule(
        "grammar: {lark: x, regex: x}, action: reject",
        "5:28: a grammar is either `lark` or `regex`; write `grammar: {lark: \"start: …\"}` or \
         `grammar: {regex: \"…\"}`",
    );
}

/// No test: what such a rule finds is not told by a text.
#[test]
fn bounds_on_probabilities_say_how_they_are_written() {
    let check_rule = |rule: &str, expected: &str| {
        let head = "ruleset: t\nversion: 1\nmode: enforce\nrules:\n";
        check(&format!("{head}- {{id: r, why: w, {rule}}}\n"), expected);
    };
    check_rule(
        "logits: {window: 4}, action: flag",
        "5:27: `logits` has no bound; write `logits: {mean_entropy_max: 2.5, window: 32}`",
    );
    check_rule(
        "logits: {mean_entropy_max: 2, window: 500}, action: reject",
        "5:3: rule `r` has to hold 500 tokens back, and max_hold_tokens is 64; use a smaller \
         `window`, or raise `max_hold_tokens`",
    );
    check_rule(
        "logits: {mean_mass: {tokens: \"Yes\"}}, action: flag",
        "5:39: `max` is missing; write `max: 0.5`\n5:48: `tokens` is a list; write `[Yes]`, or \
         lines that begin with `- `",
    );
}

#[test]
fn every_grammar_that_cannot_be_used_is_told() {
    let yaml = "ruleset: t\nversion: 1\nmode: enforce\nrules:\n\
        - {id: a, why: w, json_schema: {type: objekt}, action: reject}\n\
        - {id: b, why: w, grammar: {regex: '('}, action: reject}\n\
        tests:\n- {rule: a, should_pass: x}\n- {rule: b, should_pass: x}\n";
    let errors = errors(yaml).to_string();
    let lines: Vec<&str> = errors.lines().collect();
    assert!(
        lines[0].starts_with("5:32: the schema cannot be used: "),
        "{errors}"
    );
    assert!(
        lines[1].starts_with("6:28: the grammar cannot be used: "),
        "{errors}"
    );
}

#[test]
fn patterns_that_cannot_be_run() {
    check_rule(
        "regex: 'a+', action: flag",
        r#"5:26: a match may have any length, and so much text may be held back; bound the repetition (`{1,64}` for `+`), or add `max_span: BYTES` of at most 1024"#,
    );
    check_rule(
        "regex: 'a{2000}', action: flag",
        r#"5:26: a match may have 2000 bytes, and so much text may be held back; bound the repetition (`{1,64}` for `+`), or add `max_span: BYTES` of at most 1024"#,
    );
    check_rule(
        "regex: 'a|b*', action: flag",
        r#"5:26: the regex matches the empty text, that is everywhere; use `+` for `*`, or take out what makes all of it optional"#,
    );
    check_rule(
        "regex: '[a&&b]', action: flag",
        r#"5:26: the regex can never match; take out the empty class or the contradiction"#,
    );
    check_rule(
        "regex: 'a(b', action: flag",
        r#"5:26: the regex cannot be read at its character 2: unclosed group; see https://docs.rs/regex for the syntax; there is no look-around and no back-reference, and a pattern matches whole characters"#,
    );
    check_rule(
        "regex: '(?=a)b', action: flag",
        r#"5:26: the regex cannot be read at its character 1: look-around, including look-ahead and look-behind, is not supported; see https://docs.rs/regex for the syntax; there is no look-around and no back-reference, and a pattern matches whole characters"#,
    );
    check_rule(
        r"regex: '\bab', action: flag",
        r#"5:26: a word boundary over all of Unicode cannot be run on bytes; write `(?-u:\b)` for `\b`"#,
    );
    check_rule(
        "regex: '(?-u:.)', action: flag",
        r#"5:26: the regex cannot be read at its character 6: pattern can match invalid UTF-8; see https://docs.rs/regex for the syntax; there is no look-around and no back-reference, and a pattern matches whole characters"#,
    );
    check_rule(
        "regex: ab, normalise: strict, action: flag",
        r#"5:41: a regex cannot look at text whose look-alikes are folded: a 1 is an l there, and `[0-9]` would not mean what it says; use `basic`"#,
    );
    check_rule(
        "regex: 'caf[éè]', normalise: basic, action: flag",
        r#"5:26: the folded text never shows `è`; write `e`, or use `normalise: none`"#,
    );
    check_rule(
        "regex: café, normalise: basic, action: flag",
        r#"5:26: the folded text never shows `é`; write `e`, or use `normalise: none`"#,
    );
    check_rule(
        "phrases: [\"\\u200B\"], action: flag",
        r#"5:29: nothing that shows is left of the phrase `\u{200b}`; write visible text, or use a regex with `normalise: none`"#,
    );
    check_rule(
        "phrases: [\"\"], action: flag",
        r#"5:29: a phrase is empty; write it after the colon"#,
    );
    check_rule(
        r"regex: '[ab]*a[ab]{30}', max_span: 99, action: flag",
        r#"5:26: the automaton of this pattern would need more than 8 MiB; use shorter repetitions and smaller classes (`[0-9]` for `\d`), or split the rule set"#,
    );
    check_rule(
        r"regex: '(\w{1,20} ){1,9}x', max_span: 500, action: flag",
        r#"5:26: the automaton of this pattern would need more than 8 MiB; use shorter repetitions and smaller classes (`[0-9]` for `\d`), or split the rule set"#,
    );
}

#[test]
fn keys_that_do_not_fit_together() {
    check_rule(
        "action: flag",
        r#"5:3: the rule does not say what to look for; add `phrases: ["…"]`, `regex: '…'` or another kind"#,
    );
    check_rule(
        "phrases: [a], regex: a, action: flag",
        r#"5:40: a rule has either `phrases` or `regex`; make two rules of it"#,
    );
    check_rule(
        "phrases: [a], max_span: 3, action: flag",
        r#"5:43: `max_span` belongs to `regex`; leave it out"#,
    );
    check_rule(
        "regex: a, whole_word: true, action: flag",
        r#"5:41: `whole_word` belongs to `phrases`; leave it out"#,
    );
    check_rule(
        "regex: a, max_span: 5000, action: flag",
        r#"5:39: `max_span` is not a whole number in its range; use one from 1 to 1024"#,
    );
    check_rule(
        "phrases: [a], action: flag, with: x",
        r#"5:53: `with` says what a redaction writes; leave it out, or write `action: redact`"#,
    );
    check_rule(
        "phrases: a, action: flag",
        r#"5:28: `phrases` is a list; write `[a]`, or lines that begin with `- `"#,
    );
    check_rule(
        "phrases: [[a]], action: flag",
        r#"5:29: a phrase is a text; write it in quotes"#,
    );
}

const ONE_RULE: &str = "ruleset: t\nversion: 1\nmode: observe\nrules:\n\
                        - {id: r, why: w, phrases: [bad], action: reject}\n";

#[test]
fn tests_that_fail() {
    let with = |tests: &str| format!("{ONE_RULE}tests:\n{tests}");
    check(
        &with("- {rule: r, should_fail: good}\n- {rule: r, should_pass: \"a\\nBAD\"}\n"),
        r#"7:3: rule `r` does not match "good"; widen the rule, or make it `should_pass`
8:3: rule `r` matches "a\nBAD"; narrow the rule, or make it `should_fail`"#,
    );
}

#[test]
fn a_rule_without_tests() {
    check(
        ONE_RULE,
        r#"5:3: rule `r` has no test; add `{rule: r, should_fail: "…"}` to `tests`"#,
    );
}

#[test]
fn more_mistakes_than_are_listed() {
    let keys: String = (0..80).map(|key| format!("k{key}: x\n")).collect();
    let errors = errors(&keys).0;
    assert_eq!(errors.len(), limits::DIAGNOSTICS_MAX + 1);
    assert_eq!(
        errors[limits::DIAGNOSTICS_MAX].message,
        "and 34 more mistakes"
    );
}

#[test]
fn sizes_are_bounded() {
    let long = "x".repeat(limits::PHRASE_BYTES_MAX + 1);
    check_rule(
        &format!("phrases: [{long}], action: flag"),
        r#"5:29: a phrase has 257 bytes; use at most 256"#,
    );
    let many = vec!["x"; limits::PHRASES_MAX + 1].join(",");
    check_rule(
        &format!("phrases: [{many}], action: flag"),
        r#"5:28: `phrases` has 5001 entries; use at most 5000, or split the rule set"#,
    );
    let test = format!("- {{rule: r, should_pass: {}}}\n", "x".repeat(512));
    let yaml = format!("{ONE_RULE}tests:\n{}", test.repeat(65));
    check(
        &yaml,
        "1:1: the tests are too long together: each is tried at every split; shorten the longest, \
         or split the rule set",
    );
}
