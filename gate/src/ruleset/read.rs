//! The tree of a file to a draft of a rule set: every word checked, no pattern compiled yet.

use std::{collections::HashMap, sync::Arc};

use super::{
    fields::{self, Fields, printable},
    model::{
        Action, CheckpointConfig, Definition, Mode, Normalise, OnGateError, ResampleConfig, Rule,
        Scope, Side, Then,
    },
    yaml::Node,
};
use crate::{
    diagnostic::{Diagnostics, Place},
    kind::{Kind, SPECS, Spec, UNBUILT},
    limits::{
        ATTEMPTS_MAX, HOLD_TOKENS_MAX, NAME_BYTES_MAX, NOTE_BYTES_MAX, PHRASES_MAX, RULES_MAX,
        TEST_BYTES_MAX, TEST_READS_MAX, TESTS_MAX,
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

impl Draft {
    /// Drops all rules but one, and all tests; `None` if there is no such rule.
    pub(super) fn keep_only(&mut self, rule: &str) -> Option<()> {
        let rules = &mut self.definition.rules;
        let index = rules.iter().position(|it| &*it.id == rule)?;
        *rules = vec![rules.swap_remove(index)];
        self.places = vec![self.places.swap_remove(index)];
        self.tests.clear();
        Some(())
    }
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
/// Keys of a rule, whatever its kind.
const RULE_KEYS: [&str; 6] = ["id", "why", "on", "at", "action", "with"];
const TEST_KEYS: [&str; 3] = ["rule", "should_fail", "should_pass"];

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
const SIDES: [(&str, Side); 2] = [("input", Side::Input), ("output", Side::Output)];

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
    refuse_early_release(&rules, &resample, &checkpoint, mistakes);
    refuse_empty_redaction(&rules, &resample, mistakes);
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
    /// Whether its kind could be read.
    is_read: bool,
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
    let fields = Fields::open(node, "a rule", &known_keys(), mistakes)?;
    let id = fields.require("id", "give every rule an `id`", mistakes);
    let id = id.and_then(|n| fields::name(n, "`id`", NAME_BYTES_MAX, mistakes));
    let mend = "say in `why` which law, policy or incident asks for it";
    let why = fields.require("why", mend, mistakes);
    let why = why.and_then(|n| fields::text(n, "`why`", NOTE_BYTES_MAX, mistakes));
    let mend = "write `action:` and reject, resample, redact, flag or observe";
    let action = fields.require("action", mend, mistakes);
    let action = action.and_then(|n| fields::word(n, "`action`", &ACTIONS, mistakes));
    let with = with(&fields, action, mistakes);
    let on = fields.get("on");
    let on = on.and_then(|n| fields::word(n, "`on`", &SIDES, mistakes));
    let kind = kind(&fields, mistakes);
    let id = id?;
    let is_read = kind.is_some();
    // A rule whose kind is wrong still has an id that tests may name.
    let (kind, places) = kind.unwrap_or((Kind::Require(Vec::new()), Vec::new()));
    let rule = Rule {
        id: Arc::from(id),
        why: Arc::from(why.unwrap_or_default()),
        on: on.unwrap_or_default(),
        normalise: normalise(&fields, &kind, mistakes),
        kind,
        action: action.unwrap_or(Action::Reject),
        with: Arc::from(with),
    };
    if is_read {
        refuse_contradictions(&fields, &rule, mistakes);
    }
    let at = node.at;
    Some(ReadRule {
        at,
        rule,
        places,
        is_read,
    })
}

/// The keys that some rule may have; which kind has which is looked at later.
fn known_keys() -> Vec<&'static str> {
    let mut keys = RULE_KEYS.to_vec();
    keys.extend(UNBUILT);
    for spec in &SPECS {
        keys.push(spec.name);
        keys.extend(spec.options);
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// What a rule cannot ask for, or not together.
fn refuse_contradictions(fields: &Fields<'_>, rule: &Rule, mistakes: &mut Diagnostics) {
    let kind = rule.kind.as_str();
    if !rule.kind.allows(rule.action) {
        let message = format!("`{kind}` finds no stretch of text that could be replaced");
        let mend = "use reject, resample, flag or observe";
        mistakes.push(fields.place("action"), message, mend);
    }
    if rule.on == Side::Input && rule.action == Action::Resample {
        let message = "a prompt cannot be drawn again";
        let mend = "use reject, redact, flag or observe";
        mistakes.push(fields.place("action"), message, mend);
    }
    if rule.on == Side::Input && !rule.kind.reads_input() {
        let message = format!("`{kind}` looks at what the model writes");
        mistakes.push(fields.place("on"), message, "leave `on` out");
    }
    if let (Side::Input, Kind::Length(limits)) = (rule.on, &rule.kind)
        && limits.max_tokens.is_some()
    {
        let message = "the tokens of a prompt are bounded by the context of the model";
        mistakes.push(fields.place("length"), message, "use `max_characters`");
    }
    if let Some(node) = fields.get("at") {
        let end = fields::word(node, "`at`", &[("end", ())], mistakes);
        let at_end = rule.kind.is_judged_at_end() || rule.kind.is_mask();
        if end.is_some() && !at_end {
            let message = format!("`{kind}` is evaluated at the checkpoints of the set");
            let mend = "leave `at` out, or write `checkpoint: {at: [end]}` for the whole set";
            mistakes.push(node.at, message, mend);
        }
    }
}

/// Nothing may leave before the verdict on it.
fn refuse_early_release(
    rules: &[ReadRule],
    resample: &ResampleConfig,
    checkpoint: &CheckpointConfig,
    mistakes: &mut Diagnostics,
) {
    let streams = resample.scope == Scope::Segment;
    let holding = rules.iter().filter(|read| {
        streams && read.is_read && read.rule.on == Side::Output && read.rule.action.holds()
    });
    for ReadRule { at, rule, .. } in holding {
        match &rule.kind {
            kind if kind.is_judged_at_end() => {
                let message = format!(
                    "rule `{}` is judged at the end, and its text would be out by then",
                    rule.id
                );
                let mend = "write `resample: {scope: completion}`, which holds everything back, or \
                            `action: flag`";
                mistakes.push(*at, message, mend);
            }
            Kind::Logits(limits) if limits.window > checkpoint.max_hold_tokens => {
                let message = format!(
                    "rule `{}` has to hold {} tokens back, and max_hold_tokens is {}",
                    rule.id, limits.window, checkpoint.max_hold_tokens
                );
                mistakes.push(
                    *at,
                    message,
                    "use a smaller `window`, or raise `max_hold_tokens`",
                );
            }
            _ => {}
        }
    }
}

/// `then: redact` replaces what was found, so something must have been.
fn refuse_empty_redaction(
    rules: &[ReadRule],
    resample: &ResampleConfig,
    mistakes: &mut Diagnostics,
) {
    let drawn_again = rules
        .iter()
        .filter(|read| read.is_read && read.rule.action == Action::Resample);
    for ReadRule { at, rule, .. } in drawn_again {
        if resample.then == Then::Redact && !rule.kind.allows(Action::Redact) {
            let message = format!(
                "rule `{}` finds no stretch of text that `then: redact` could replace",
                rule.id
            );
            let mend = "write `then: reject` or `then: flag`, or a set of its own for the rule";
            mistakes.push(*at, message, mend);
        }
    }
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

/// A rule has exactly one kind, and keys of no other.
fn kind(fields: &Fields<'_>, mistakes: &mut Diagnostics) -> Option<(Kind, Vec<Place>)> {
    let unbuilt = UNBUILT.iter().filter(|name| fields.get(name).is_some());
    for name in unbuilt.clone() {
        let message = format!("kind `{name}` is not built yet");
        let mend = format!("built are {}", fields::list(&SPECS.map(|spec| spec.name)));
        mistakes.push(fields.place(name), message, mend);
    }
    let mut specs = SPECS.iter().filter(|spec| fields.get(spec.name).is_some());
    let Some(spec) = specs.next() else {
        if unbuilt.count() == 0 {
            let mend = "add `phrases: [\"…\"]`, `regex: '…'` or another kind";
            mistakes.push(fields.at, "the rule does not say what to look for", mend);
        }
        return None;
    };
    if let Some(second) = specs.next() {
        let message = format!("a rule has either `{}` or `{}`", spec.name, second.name);
        mistakes.push(fields.place(second.name), message, "make two rules of it");
        return None;
    }
    refuse_misplaced(fields, spec, mistakes);
    (spec.read)(fields, fields.get(spec.name)?, mistakes)
}

fn refuse_misplaced(fields: &Fields<'_>, spec: &Spec, mistakes: &mut Diagnostics) {
    let options = SPECS.iter().flat_map(|other| other.options);
    let mut misplaced: Vec<&str> = options
        .copied()
        .filter(|option| !spec.options.contains(option) && fields.get(option).is_some())
        .collect();
    misplaced.sort_unstable();
    misplaced.dedup();
    for option in misplaced {
        let of = SPECS.iter().filter(|other| other.options.contains(&option));
        let of: Vec<&str> = of.map(|other| other.name).collect();
        let message = format!("`{option}` belongs to `{}`", of.join("`, `"));
        mistakes.push(fields.place(option), message, "leave it out");
    }
}

fn normalise(fields: &Fields<'_>, kind: &Kind, mistakes: &mut Diagnostics) -> Normalise {
    let default = kind.default_normalise();
    let Some(node) = fields.get("normalise") else {
        return default;
    };
    let found = fields::word(node, "`normalise`", &NORMALISE, mistakes);
    let is_regex = matches!(kind, Kind::Regex { .. });
    if found == Some(Normalise::Strict) && is_regex {
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
        let tested = &rules[rule];
        if tested.is_read && !tested.rule.kind.is_told_by_text() {
            let message = "what this rule finds depends on the model's tokens, not on a text";
            mistakes.push(fields.at, message, "leave the test out");
        }
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
        if !named && read.rule.kind.is_told_by_text() {
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
