//! Random rule sets, as files.

use std::{cell::RefCell, collections::HashMap, fmt::Write, sync::Arc};

use portcullis_gate::RuleSet;

use super::{
    choices::Choices,
    text::{Theme, letter},
};

/// A rule in the words of the format, and what must be in the file besides.
struct RuleText {
    yaml: String,
    /// A test that it passes.
    test: &'static str,
    /// Whether nothing may leave before the end.
    waits: bool,
    /// Whether there is nothing to replace when no attempt is left.
    not_replaced: bool,
}

/// A whole file without its mode.
pub(crate) struct SetText {
    yaml: String,
}

/// What the rules of a set are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Prompts,
    Completions,
    /// Completions, and all of them find stretches of text.
    Stretches,
}

pub(crate) fn ruleset(theme: Theme, on: On, choices: &mut Choices<'_>) -> SetText {
    let rules = match theme {
        Theme::Letters => choices.many(1, 4, |choices| rule(theme, on, choices)),
        Theme::Personal => choices.many(1, 2, |choices| rule(theme, on, choices)),
    };
    let not_replaced = rules.iter().any(|rule| rule.not_replaced);
    let thens = ["reject", "flag", "redact"];
    let then = thens[choices.below(if not_replaced { 2 } else { 3 })];
    let scope = choices.one_of(&["segment", "segment", "completion"]);
    let waits = rules.iter().any(|rule| rule.waits);
    let scope = if waits { "completion" } else { scope };
    let checkpoint = choices.one_of(&[
        "every_tokens: 1",
        "every_tokens: 3",
        "at: [sentence]",
        "at: [end]",
    ]);
    let mut yaml = format!(
        "ruleset: law\nversion: 1\ncheckpoint: {{{checkpoint}, max_hold_tokens: 4096}}\n\
         resample: {{max_attempts: 3, scope: {scope}, then: {then}}}\nrules:\n"
    );
    let mut tests = String::new();
    for (index, rule) in rules.iter().enumerate() {
        let side = if on == On::Prompts { "on: input, " } else { "" };
        writeln!(yaml, "- {{id: r{index}, why: law, {side}{}}}", rule.yaml).unwrap();
        if !rule.test.is_empty() {
            writeln!(tests, "- {{rule: r{index}, {}}}", rule.test).unwrap();
        }
    }
    if !tests.is_empty() {
        write!(yaml, "tests:\n{tests}").unwrap();
    }
    SetText { yaml }
}

impl SetText {
    /// The set, compiled; automata for personal data take long to build, so they are kept.
    pub(crate) fn load(&self, mode: &str) -> Arc<RuleSet> {
        thread_local! {
            static KEPT: RefCell<HashMap<String, Arc<RuleSet>>> = RefCell::default();
        }
        let yaml = format!("mode: {mode}\n{}", self.yaml);
        let load = || {
            let set = RuleSet::load(yaml.as_bytes());
            Arc::new(set.unwrap_or_else(|errors| panic!("{errors}\n{yaml}")))
        };
        if !yaml.contains("pii:") {
            return load();
        }
        KEPT.with_borrow_mut(|kept| {
            if kept.len() > 64 {
                kept.clear();
            }
            kept.entry(yaml.clone()).or_insert_with(load).clone()
        })
    }
}

fn rule(theme: Theme, on: On, choices: &mut Choices<'_>) -> RuleText {
    let of_input = on == On::Prompts;
    let passes = "should_pass: \"zz\"";
    let stretch = |yaml: String, choices: &mut Choices<'_>| RuleText {
        yaml: format!("{yaml}{}", stretch_action(of_input, choices)),
        test: passes,
        waits: false,
        not_replaced: false,
    };
    let kinds = if on == On::Stretches { 5 } else { 8 };
    match (theme, choices.below(kinds)) {
        (Theme::Letters, 0..=2) => stretch(phrases(choices), choices),
        (Theme::Letters, 3..=4) => stretch(regex(choices), choices),
        (Theme::Letters, 5) => length(of_input, choices),
        (Theme::Letters, 6) if !of_input => logits(choices),
        (Theme::Letters, _) => require(of_input, choices),
        (Theme::Personal, 0) => stretch(checksum(choices), choices),
        (Theme::Personal, _) => stretch(personal(choices), choices),
    }
}

fn stretch_action(of_input: bool, choices: &mut Choices<'_>) -> &'static str {
    let action = choices.one_of(&[
        ", action: redact, with: \"#\"",
        ", action: redact, with: \"#\"",
        ", action: resample, with: \"#\"",
        ", action: reject",
        ", action: flag",
        ", action: observe",
    ]);
    match of_input && action.contains("resample") {
        true => ", action: reject",
        false => action,
    }
}

fn other_action(of_input: bool, choices: &mut Choices<'_>) -> &'static str {
    let actions = ["flag", "reject", "resample"];
    actions[choices.below(if of_input { 2 } else { 3 })]
}

fn quoted(phrase: &str) -> String {
    let escaped = phrase.chars().map(|c| format!("\\U{:08X}", c as u32));
    format!("\"{}\"", escaped.collect::<String>())
}

/// Something that shows, or the rule would be refused.
fn phrase(choices: &mut Choices<'_>) -> String {
    let phrase = String::from_iter(choices.many(1, 3, letter));
    let shows = |c: char| !c.is_whitespace() && !"\u{200B}\u{0301}".contains(c);
    match phrase.contains(shows) {
        true => phrase,
        false => phrase + "a",
    }
}

fn phrases(choices: &mut Choices<'_>) -> String {
    let list = choices.many(1, 2, |choices| quoted(&phrase(choices)));
    let normalise = choices.one_of(&["none", "basic", "strict"]);
    let whole_word = choices.sometimes(3);
    let list = list.join(", ");
    format!("phrases: [{list}], normalise: {normalise}, whole_word: {whole_word}")
}

fn regex(choices: &mut Choices<'_>) -> String {
    const ATOMS: [&str; 8] = ["a", "b", "c", "[ab]", "(?:ab|ba)", " ", "[a-c]", "(?:a|bc)"];
    let part = |choices: &mut Choices<'_>| {
        let many = ["", "", "?", "{1,2}", "+", "*"];
        format!("{}{}", choices.one_of(&ATOMS), choices.one_of(&many))
    };
    let first = choices.one_of(&["", "", "", "^", "(?m)^", "(?-u:\\b)"]);
    let before = choices.many(0, 2, part).concat();
    let atom = choices.one_of(&ATOMS);
    let after = choices.many(0, 2, part).concat();
    let last = choices.one_of(&["", "", "", "$", "(?m)$", "(?-u:\\b)"]);
    let normalise = choices.one_of(&["none", "basic"]);
    let max_span = 1 + choices.below(8);
    format!(
        "regex: '{first}{before}{atom}{after}{last}', normalise: {normalise}, max_span: {max_span}"
    )
}

fn length(of_input: bool, choices: &mut Choices<'_>) -> RuleText {
    let (limit, test) = match choices.below(if of_input { 2 } else { 3 }) {
        0 => (
            format!("max_characters: {}", 2 + choices.below(14)),
            "should_pass: \"zz\"",
        ),
        1 => (
            format!("max_sentences: {}", 1 + choices.below(2)),
            "should_pass: \"zz\"",
        ),
        _ => (format!("max_tokens: {}", 1 + choices.below(8)), ""),
    };
    let action = other_action(of_input, choices);
    RuleText {
        yaml: format!("length: {{{limit}}}, action: {action}"),
        test,
        waits: false,
        not_replaced: action == "resample",
    }
}

fn logits(choices: &mut Choices<'_>) -> RuleText {
    let bound = choices.one_of(&[
        "mean_entropy_max: 2.0",
        "mean_entropy_max: 3.0",
        "mean_logprob_min: -2.5",
        "mean_mass: {tokens: [\"a\"], max: 0.5}",
    ]);
    let window = 1 + choices.below(4);
    let action = other_action(false, choices);
    RuleText {
        yaml: format!("logits: {{{bound}, window: {window}}}, action: {action}"),
        test: "",
        waits: false,
        not_replaced: action == "resample",
    }
}

fn require(of_input: bool, choices: &mut Choices<'_>) -> RuleText {
    let list = choices.many(1, 2, |choices| quoted(&phrase(choices)));
    let action = other_action(of_input, choices);
    RuleText {
        yaml: format!("require: [{}], action: {action}", list.join(", ")),
        test: "should_fail: \"zz\"",
        waits: action != "flag" && !of_input,
        not_replaced: action == "resample",
    }
}

fn checksum(choices: &mut Choices<'_>) -> String {
    let checksum = choices.one_of(&["luhn", "mod97"]);
    let pattern = choices.one_of(&[
        "M-[0-9]{2,11}",
        "[0-9]{2,4}",
        "(?-u:\\b)[0-9]{2,3}(?-u:\\b)",
    ]);
    format!("regex: '{pattern}', normalise: basic, checksum: {checksum}")
}

fn personal(choices: &mut Choices<'_>) -> String {
    let kind = choices.one_of(&[
        "payment_card",
        "iban",
        "email",
        "phone",
        "us_ssn",
        "ipv4",
        "ipv6",
    ]);
    format!("pii: [{kind}]")
}
