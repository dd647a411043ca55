//! The tree of a file to a draft of a rule set: every word checked, no pattern compiled yet.

use std::{collections::HashMap, sync::Arc};

use super::{
    fields::{self, Fields, printable},
    model::{
        Action, CheckpointConfig, Definition, Kind, Mode, Normalise, OnGateError, ResampleConfig,
        Rule, Scope, Then,
    },
    yaml::{Node, Value},
};
use crate::{
    diagnostic::{Diagnostics, Place},
    limits::{
        ATTEMPTS_MAX, HOLD_TOKENS_MAX, NAME_BYTES_MAX, NOTE_BYTES_MAX, PHRASE_BYTES_MAX,
        PHRASES_MAX, REGEX_BYTES_MAX, RULES_MAX, SPAN_BYTES_MAX, TEST_BYTES_MAX, TEST_READS_MAX,
        TESTS_MAX,
    },
};

/// A rule set that is not compiled.
pub(super) struct Draft {
    pub(super) definition: Definition,
    /// For each rule, where its patterns stand.
    pub(super) places: Vec<Vec<Place>>,
    pub(super) rules_at: Place,
    pub(super) tests: Vec<Test>,
}

/// An embedded test.
pub(super) struct Test {
    pub(super) at: Place,
    /// Index of its rule.
    pub(super) rule: usize,
    pub(super) text: String,
    pub(super) should_fail: bool,
}

const SET_KEYS: [&str; 8] = [
    "ruleset",
    "version",
    "mode",
    "on_gate_error",
    "checkpoint",
    "resample",
    "rules",
    "tests",
];
const CHECKPOINT_KEYS: [&str; 3] = ["every_tokens", "at", "max_hold_tokens"];
const RESAMPLE_KEYS: [&str; 3] = ["max_attempts", "scope", "then"];
const RULE_KEYS: [&str; 9] = [
    "id",
    "why",
    "phrases",
    "regex",
    "normalise",
    "whole_word",
    "max_span",
    "action",
    "with",
];
const TEST_KEYS: [&str; 3] = ["rule", "should_fail", "should_pass"];

/// Kinds that the format names and this version does not evaluate.
const UNBUILT_KINDS: [&str; 10] = [
    "pii",
    "json_schema",
    "grammar",
    "logits",
    "semantic",
    "judge",
    "injection",
    "length",
    "require",
    "language",
];

const MAX_HOLD_TOKENS: usize = 64;
const MAX_ATTEMPTS: u32 = 4;
const REDACTED: &str = "[redacted]";

const MODES: [(&str, Mode); 2] = [("observe", Mode::Observe), ("enforce", Mode::Enforce)];
const ON_GATE_ERROR: [(&str, OnGateError); 2] =
    [("reject", OnGateError::Reject), ("flag", OnGateError::Flag)];
const SCOPES: [(&str, Scope); 2] = [
    ("segment", Scope::Segment),
    ("completion", Scope::Completion),
];
const THENS: [(&str, Then); 3] = [
    ("reject", Then::Reject),
    ("redact", Then::Redact),
    ("flag", Then::Flag),
];
const ACTIONS: [(&str, Action); 5] = [
    ("reject", Action::Reject),
    ("resample", Action::Resample),
    ("redact", Action::Redact),
    ("flag", Action::Flag),
    ("observe", Action::Observe),
];
const NORMALISE: [(&str, Normalise); 3] = [
    ("none", Normalise::None),
    ("basic", Normalise::Basic),
    ("strict", Normalise::Strict),
];
const BOOLEANS: [(&str, bool); 2] = [("true", true), ("false", false)];

/// Reads a whole file. `None` only where so much is missing that nothing more can be said.
pub(super) fn draft(document: &Node, mistakes: &mut Diagnostics) -> Option<Draft> {
    let set = Fields::open(document, "a rule set", &SET_KEYS, mistakes)?;
    let name = set.require("ruleset", "begin with `ruleset: NAME`", mistakes);
    let name = name.and_then(|n| fields::name(n, "the name of the set", NAME_BYTES_MAX, mistakes));
    let version = set.require("version", "write `version: 1`", mistakes);
    let version = version.and_then(|n| fields::number(n, "`version`", 1..=u32::MAX, mistakes));
    let mend = "write `mode: enforce`, or `mode: observe` to record only";
    let mode = set.require("mode", mend, mistakes);
    let mode = mode.and_then(|node| fields::word(node, "`mode`", &MODES, mistakes));
    let on_gate_error = set
        .get("on_gate_error")
        .and_then(|n| fields::word(n, "`on_gate_error`", &ON_GATE_ERROR, mistakes));
    let resample = resample(set.get("resample"), mistakes);
    let checkpoint = checkpoint(set.get("checkpoint"), mistakes);
    let (rules_at, rules) = rules(&set, mistakes);
    let tests = tests(&set, &rules, mistakes);
    let (rules, places) = rules
        .into_iter()
        .map(|read| (read.rule, read.places))
        .unzip();
    let definition = Definition {
        name: Arc::from(name.unwrap_or_default()),
        version: version.unwrap_or_default(),
        mode: mode.unwrap_or(Mode::Observe),
        on_gate_error: on_gate_error.unwrap_or(OnGateError::Reject),
        checkpoint,
        resample,
        rules,
    };
    Some(Draft {
        definition,
        places,
        rules_at,
        tests,
    })
}

fn resample(node: Option<&Node>, mistakes: &mut Diagnostics) -> ResampleConfig {
    let fields = node.and_then(|n| Fields::open(n, "`resample`", &RESAMPLE_KEYS, mistakes));
    let get = |key| fields.as_ref().and_then(|fields| fields.get(key));
    let max_attempts = get("max_attempts")
        .and_then(|n| fields::number(n, "`max_attempts`", 1..=ATTEMPTS_MAX, mistakes));
    let scope = get("scope").and_then(|n| fields::word(n, "`scope`", &SCOPES, mistakes));
    let then = get("then").and_then(|n| fields::word(n, "`then`", &THENS, mistakes));
    ResampleConfig {
        max_attempts: max_attempts.unwrap_or(MAX_ATTEMPTS),
        scope: scope.unwrap_or(Scope::Segment),
        then: then.unwrap_or(Then::Reject),
    }
}

fn checkpoint(node: Option<&Node>, mistakes: &mut Diagnostics) -> CheckpointConfig {
    let fields = node.and_then(|n| Fields::open(n, "`checkpoint`", &CHECKPOINT_KEYS, mistakes));
    let get = |key| fields.as_ref().and_then(|fields| fields.get(key));
    let max_hold_tokens = get("max_hold_tokens")
        .and_then(|n| fields::number(n, "`max_hold_tokens`", 1..=HOLD_TOKENS_MAX, mistakes))
        .unwrap_or(MAX_HOLD_TOKENS);
    let every_tokens = get("every_tokens")
        .and_then(|n| fields::number(n, "`every_tokens`", 1..=max_hold_tokens, mistakes));
    // The end is always a checkpoint: it may be named and changes nothing.
    let at_words = [("sentence", true), ("end", false)];
    let at = get("at").and_then(|n| fields::items(n, "`at`", at_words.len(), mistakes));
    let mut sentence = false;
    for node in at.unwrap_or_default() {
        sentence |= fields::word(node, "`at`", &at_words, mistakes).unwrap_or(false);
    }
    CheckpointConfig {
        every_tokens: every_tokens.or((at.is_none()).then_some(1)),
        sentence,
        max_hold_tokens,
    }
}

struct ReadRule {
    at: Place,
    rule: Rule,
    /// Where its patterns stand.
    places: Vec<Place>,
}

fn rules(set: &Fields<'_>, mistakes: &mut Diagnostics) -> (Place, Vec<ReadRule>) {
    let mend = "list at least one under `rules:`";
    let Some(node) = set.require("rules", mend, mistakes) else {
        return (set.at, Vec::new());
    };
    let items = fields::items(node, "`rules`", RULES_MAX, mistakes).unwrap_or_default();
    let mut read: Vec<ReadRule> = Vec::new();
    let mut phrases = 0;
    for item in items {
        let Some(rule) = rule(item, mistakes) else {
            continue;
        };
        if read.iter().any(|known| known.rule.id == rule.rule.id) {
            let message = format!("a second rule has the id `{}`", rule.rule.id);
            mistakes.push(rule.at, message, "give it another id");
        }
        phrases += rule.places.len();
        read.push(rule);
    }
    if phrases > PHRASES_MAX {
        let message = format!("the rules hold {phrases} phrases and patterns");
        let mend = format!("use at most {PHRASES_MAX}, or split the rule set");
        mistakes.push(node.at, message, mend);
    }
    (node.at, read)
}

fn rule(node: &Node, mistakes: &mut Diagnostics) -> Option<ReadRule> {
    let unbuilt = refuse_unbuilt(node, mistakes);
    let known: Vec<&str> = RULE_KEYS
        .into_iter()
        .chain(unbuilt.iter().copied())
        .collect();
    let fields = Fields::open(node, "a rule", &known, mistakes)?;
    let id = fields.require("id", "give every rule an `id`", mistakes);
    let id = id.and_then(|n| fields::name(n, "`id`", NAME_BYTES_MAX, mistakes));
    let mend = "say in `why` which law, policy or incident asks for it";
    let why = fields.require("why", mend, mistakes);
    let why = why.and_then(|n| fields::text(n, "`why`", NOTE_BYTES_MAX, mistakes));
    let mend = "write `action:` and reject, resample, redact, flag or observe";
    let action = fields.require("action", mend, mistakes);
    let action = action.and_then(|n| fields::word(n, "`action`", &ACTIONS, mistakes));
    let with = with(&fields, action, mistakes);
    let kind = if unbuilt.is_empty() {
        kind(&fields, mistakes)
    } else {
        None
    };
    let id = id?;
    // A rule whose kind is wrong still has an id that tests may name.
    let (kind, places) = kind.unwrap_or((NO_KIND, Vec::new()));
    let rule = Rule {
        id: Arc::from(id),
        why: Arc::from(why.unwrap_or_default()),
        normalise: normalise(&fields, &kind, mistakes),
        kind,
        action: action.unwrap_or(Action::Reject),
        with: Arc::from(with),
    };
    let at = node.at;
    Some(ReadRule { at, rule, places })
}

const NO_KIND: Kind = Kind::Phrases {
    phrases: Vec::new(),
    whole_word: false,
};

/// Names what this version cannot evaluate, rather than calling it unknown or leaving it out.
fn refuse_unbuilt<'a>(node: &'a Node, mistakes: &mut Diagnostics) -> Vec<&'a str> {
    let Value::Map(entries) = &node.value else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (key, value) in entries {
        let name = key.name.as_str();
        let (message, mend) = match (name, &value.value) {
            (kind, _) if UNBUILT_KINDS.contains(&kind) => (
                format!("kind `{kind}` is not built yet"),
                "built are phrases, regex",
            ),
            ("on", Value::Scalar(on)) => (
                format!("`on: {}` is not built yet", printable(on)),
                "rules look at the completion: leave `on` out",
            ),
            ("at", Value::Scalar(_)) => (
                "`at` of a rule is not built yet".to_owned(),
                "rules are evaluated at the checkpoints of the set: leave `at` out",
            ),
            _ => continue,
        };
        mistakes.push(key.at, message, mend);
        found.push(name);
    }
    found
}

fn with<'a>(fields: &Fields<'a>, action: Option<Action>, mistakes: &mut Diagnostics) -> &'a str {
    let Some(node) = fields.get("with") else {
        return REDACTED;
    };
    if action.is_some_and(|action| !matches!(action, Action::Redact | Action::Resample)) {
        let mend = "leave it out, or write `action: redact`";
        mistakes.push(node.at, "`with` says what a redaction writes", mend);
    }
    fields::text(node, "`with`", NOTE_BYTES_MAX, mistakes).unwrap_or(REDACTED)
}

fn kind(fields: &Fields<'_>, mistakes: &mut Diagnostics) -> Option<(Kind, Vec<Place>)> {
    let misplaced = |key, of, mistakes: &mut Diagnostics| {
        if let Some(node) = fields.get(key) {
            let message = format!("`{key}` belongs to `{of}`");
            mistakes.push(node.at, message, "leave it out");
        }
    };
    match (fields.get("phrases"), fields.get("regex")) {
        (Some(node), None) => {
            misplaced("max_span", "regex", mistakes);
            phrases(fields, node, mistakes)
        }
        (None, Some(node)) => {
            misplaced("whole_word", "phrases", mistakes);
            regex(fields, node, mistakes)
        }
        (Some(_), Some(node)) => {
            let message = "a rule has either `phrases` or `regex`";
            mistakes.push(node.at, message, "make two rules of it");
            None
        }
        (None, None) => {
            let mend = "add `phrases: [\"…\"]` or `regex: '…'`";
            mistakes.push(fields.at, "the rule does not say what to look for", mend);
            None
        }
    }
}

fn phrases(
    fields: &Fields<'_>,
    node: &Node,
    mistakes: &mut Diagnostics,
) -> Option<(Kind, Vec<Place>)> {
    let items = fields::items(node, "`phrases`", PHRASES_MAX, mistakes)?;
    let texts = items.iter().filter_map(|item| {
        let text = fields::text(item, "a phrase", PHRASE_BYTES_MAX, mistakes)?;
        Some((text.to_owned(), item.at))
    });
    let (phrases, places): (Vec<_>, Vec<_>) = texts.unzip();
    let whole_word = fields.get("whole_word");
    let whole_word = whole_word.and_then(|n| fields::word(n, "`whole_word`", &BOOLEANS, mistakes));
    let kind = Kind::Phrases {
        phrases,
        whole_word: whole_word.unwrap_or(false),
    };
    Some((kind, places))
}

fn regex(
    fields: &Fields<'_>,
    node: &Node,
    mistakes: &mut Diagnostics,
) -> Option<(Kind, Vec<Place>)> {
    let pattern = fields::text(node, "`regex`", REGEX_BYTES_MAX, mistakes);
    let max_span = fields.get("max_span");
    let max_span =
        max_span.and_then(|n| fields::number(n, "`max_span`", 1..=SPAN_BYTES_MAX, mistakes));
    let kind = Kind::Regex {
        pattern: pattern?.to_owned(),
        max_span,
    };
    Some((kind, vec![node.at]))
}

fn normalise(fields: &Fields<'_>, kind: &Kind, mistakes: &mut Diagnostics) -> Normalise {
    let default = match kind {
        Kind::Phrases { .. } => Normalise::Strict,
        Kind::Regex { .. } => Normalise::None,
    };
    let Some(node) = fields.get("normalise") else {
        return default;
    };
    let found = fields::word(node, "`normalise`", &NORMALISE, mistakes);
    if found == Some(Normalise::Strict) && matches!(kind, Kind::Regex { .. }) {
        let message = "a regex cannot look at text whose look-alikes are folded: a 1 is an l there, \
                       and `[0-9]` would not mean what it says";
        mistakes.push(node.at, message, "use `basic`");
    }
    found.unwrap_or(default)
}

fn tests(set: &Fields<'_>, rules: &[ReadRule], mistakes: &mut Diagnostics) -> Vec<Test> {
    let items = set
        .get("tests")
        .and_then(|node| fields::items(node, "`tests`", TESTS_MAX, mistakes));
    let ids: HashMap<&str, usize> = rules
        .iter()
        .enumerate()
        .map(|(index, read)| (&*read.rule.id, index))
        .collect();
    let mut named = vec![false; rules.len()];
    let mut tests = Vec::new();
    for item in items.unwrap_or_default() {
        let Some((fields, rule)) = tested_rule(item, &ids, mistakes) else {
            continue;
        };
        named[rule] = true;
        tests.extend(test(&fields, rule, mistakes));
    }
    let reads: usize = tests.iter().map(|test| test.text.len().pow(2)).sum();
    if reads > TEST_READS_MAX {
        let message = "the tests are too long together: each is tried at every split";
        mistakes.push(
            set.at,
            message,
            "shorten the longest, or split the rule set",
        );
    }
    for (read, named) in rules.iter().zip(named) {
        if !named {
            let id = &read.rule.id;
            let mend = format!("add `{{rule: {id}, should_fail: \"…\"}}` to `tests`");
            mistakes.push(read.at, format!("rule `{id}` has no test"), mend);
        }
    }
    tests
}

fn tested_rule<'a>(
    node: &'a Node,
    ids: &HashMap<&str, usize>,
    mistakes: &mut Diagnostics,
) -> Option<(Fields<'a>, usize)> {
    let fields = Fields::open(node, "a test", &TEST_KEYS, mistakes)?;
    let named = fields.require("rule", "name the rule that it tests", mistakes)?;
    let id = fields::text(named, "`rule`", NAME_BYTES_MAX, mistakes)?;
    let Some(&rule) = ids.get(id) else {
        let message = format!("no rule has the id `{}`", printable(id));
        mistakes.push(named.at, message, "name one of `rules`");
        return None;
    };
    Some((fields, rule))
}

fn test(fields: &Fields<'_>, rule: usize, mistakes: &mut Diagnostics) -> Option<Test> {
    let (text, should_fail) = match (fields.get("should_fail"), fields.get("should_pass")) {
        (Some(node), None) => (node, true),
        (None, Some(node)) => (node, false),
        _ => {
            let message = "a test has either `should_fail` or `should_pass`";
            mistakes.push(fields.at, message, "write one of the two and a text");
            return None;
        }
    };
    let text = fields::text(text, "the text of a test", TEST_BYTES_MAX, mistakes)?;
    Some(Test {
        at: fields.at,
        rule,
        text: text.to_owned(),
        should_fail,
    })
}
