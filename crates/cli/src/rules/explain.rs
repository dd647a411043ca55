//! `portcullis rules explain`: what a rule file means, for people who have to answer for it.

use std::process::ExitCode;

use anyhow::{Result, bail};
use portcullis_gate::{
    Action, AutomatonExplanation, Explanation, Holds, Mode, Normalise, NothingHeld, OnGateError,
    Rule, RuleExplanation, RuleSet, Scope, Side, Then,
};
use serde::Serialize;

use crate::args::authoring::RulesExplainArgs;
use crate::output::printable;

/// Patterns of a rule that are shown to people; programs get all.
const PATTERNS_SHOWN: usize = 6;

pub(super) fn run(args: &RulesExplainArgs) -> Result<ExitCode> {
    let Some(set) = super::load(&args.file)? else {
        return Ok(ExitCode::FAILURE);
    };
    let mut explained = explain(&set, &set.explain(), &args.file.display().to_string());
    if let Some(id) = &args.rule {
        explained.rules.retain(|rule| rule.id == *id);
        if explained.rules.is_empty() {
            let ids: Vec<&str> = set.rules().map(|rule| &*rule.id).collect();
            bail!("no rule has the id {id:?}; there are {}", ids.join(", "));
        }
    }
    args.output.show(&explained, describe)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Serialize)]
struct Explained {
    ruleset: String,
    digest: String,
    mode: &'static str,
    evaluated: String,
    if_it_cannot_be_evaluated: &'static str,
    automata: Vec<ExplainedAutomaton>,
    rules: Vec<ExplainedRule>,
    next: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ExplainedAutomaton {
    on: &'static str,
    normalise: &'static str,
    patterns: usize,
    states: usize,
    memory_bytes: usize,
    rules: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ExplainedRule {
    id: String,
    why: String,
    kind: &'static str,
    on: &'static str,
    looks_at: String,
    looks_for: Vec<String>,
    /// Bytes of the text as it is folded; `None` for kinds without patterns.
    longest_match_bytes: Option<usize>,
    #[serde(skip)]
    longest_match: Option<String>,
    looks_ahead: bool,
    checks: Vec<&'static str>,
    holds: String,
    action: &'static str,
    on_a_match: String,
    /// Indices into the automata of the set.
    automata: Vec<usize>,
    cannot_catch: Vec<&'static str>,
}

fn explain(set: &RuleSet, explanation: &Explanation, file: &str) -> Explained {
    let rules = set.rules().zip(&explanation.rules);
    Explained {
        ruleset: format!("{}@{}", set.name(), set.version()),
        digest: set.digest().to_owned(),
        mode: set.mode().as_str(),
        evaluated: evaluated(set),
        if_it_cannot_be_evaluated: match set.on_gate_error() {
            OnGateError::Reject => "the answer ends (on_gate_error: reject)",
            OnGateError::Flag => {
                "the text goes out unjudged and the error is recorded (on_gate_error: flag)"
            }
        },
        automata: explanation.automata.iter().map(Into::into).collect(),
        rules: rules
            .map(|(rule, more)| explain_rule(set, rule, more))
            .collect(),
        next: next_steps(set, file),
    }
}

impl From<&AutomatonExplanation> for ExplainedAutomaton {
    fn from(automaton: &AutomatonExplanation) -> Self {
        Self {
            on: automaton.on.as_str(),
            normalise: automaton.normalise.as_str(),
            patterns: automaton.patterns,
            states: automaton.states,
            memory_bytes: automaton.memory_bytes,
            rules: automaton.rules.clone(),
        }
    }
}

fn explain_rule(set: &RuleSet, rule: &Rule, more: &RuleExplanation) -> ExplainedRule {
    let patterns = &more.patterns;
    let longest = patterns
        .iter()
        .map(|pattern| pattern.longest_match_bytes)
        .max();
    let mut checks: Vec<&str> = patterns
        .iter()
        .filter_map(|pattern| pattern.check)
        .collect();
    checks.dedup();
    ExplainedRule {
        id: rule.id.to_string(),
        why: rule.why.to_string(),
        kind: rule.kind.as_str(),
        on: rule.on.as_str(),
        looks_at: looks_at(rule, !patterns.is_empty()),
        looks_for: patterns
            .iter()
            .map(|pattern| pattern.looks_for.clone())
            .collect(),
        longest_match: longest.map(|bytes| bytes_of_view(rule.normalise, bytes)),
        longest_match_bytes: longest,
        looks_ahead: patterns.iter().any(|pattern| pattern.looks_ahead),
        checks,
        holds: holds(set, rule, more.holds),
        action: rule.action.as_str(),
        on_a_match: on_a_match(set, rule),
        automata: more.automata.clone(),
        cannot_catch: more.blind_to.clone(),
    }
}

fn evaluated(set: &RuleSet) -> String {
    let checkpoint = set.checkpoint();
    let mut places = Vec::new();
    match checkpoint.every_tokens {
        Some(1) => places.push("after every token".to_owned()),
        Some(tokens) => places.push(format!("after every {tokens} tokens")),
        None => {}
    }
    if checkpoint.sentence {
        places.push("at the end of every sentence".to_owned());
    }
    places.push("at the end of the answer".to_owned());
    let limit = match set.resample().scope {
        Scope::Segment => format!(
            "no more than {} tokens wait: if a rule could still match then, that is an error",
            checkpoint.max_hold_tokens
        ),
        Scope::Completion => "nothing leaves before the end (scope: completion)".to_owned(),
    };
    format!("{}; {limit}", places.join(", "))
}

fn looks_at(rule: &Rule, has_patterns: bool) -> String {
    let text = match rule.on {
        Side::Input => "each text of the prompt",
        Side::Output => "what the model writes",
    };
    let folded = match rule.normalise {
        _ if !has_patterns => return text.to_owned(),
        Normalise::None => "as it is written",
        Normalise::Basic => {
            "with case, width, accents, invisible characters and white space folded"
        }
        Normalise::Strict => {
            "with case, width, accents, invisible characters, white space and look-alike letters \
             folded"
        }
    };
    format!("{text}, {folded}")
}

fn holds(set: &RuleSet, rule: &Rule, holds: Holds) -> String {
    match holds {
        Holds::Nothing(NothingHeld::OnlyNotes) => match set.mode() {
            Mode::Observe => "nothing: the set only observes".to_owned(),
            Mode::Enforce => format!("nothing: {} changes no text", rule.action),
        },
        Holds::Nothing(NothingHeld::OnInput) => {
            "nothing: the prompt is judged before the model sees it".to_owned()
        }
        Holds::Nothing(NothingHeld::Mask) => "nothing: what does not fit is never drawn".to_owned(),
        Holds::Nothing(NothingHeld::KnownAtOnce) => {
            "nothing: whether a text is within the limit is known with each character".to_owned()
        }
        Holds::Bytes(bytes) => format!(
            "text from where a match may have begun until it is clear that there is none: up to \
             {}",
            bytes_of_view(rule.normalise, bytes)
        ),
        Holds::Tokens(tokens) => {
            format!("the last {tokens} tokens, which are part of the next window")
        }
        Holds::All => {
            "everything until the answer ends, for only then is the verdict out".to_owned()
        }
    }
}

/// Bytes as the rule sees them.
fn bytes_of_view(normalise: Normalise, bytes: usize) -> String {
    match normalise {
        Normalise::None => format!("{bytes} bytes"),
        Normalise::Basic | Normalise::Strict => format!("{bytes} bytes of folded text"),
    }
}

fn on_a_match(set: &RuleSet, rule: &Rule) -> String {
    if set.mode() == Mode::Observe {
        return "it is recorded, and nothing changes (mode: observe)".to_owned();
    }
    if rule.kind.is_mask() && rule.action.holds() {
        return "tokens that do not fit are not drawn; an answer that cannot be finished ends"
            .to_owned();
    }
    match (rule.action, rule.on) {
        (Action::Observe, _) => "it is recorded".to_owned(),
        (Action::Flag, _) => "the text goes out, the caller is told, it is recorded".to_owned(),
        (Action::Redact, _) => format!("the match is replaced by {}", rule.with),
        (Action::Reject, Side::Input) => "the call is refused".to_owned(),
        (Action::Reject, Side::Output) => {
            "the answer ends before the match (finish_reason: content_filter)".to_owned()
        }
        (Action::Resample, _) => resampled(set, rule),
    }
}

fn resampled(set: &RuleSet, rule: &Rule) -> String {
    let config = set.resample();
    let from = match config.scope {
        Scope::Segment => "what has not gone out is thrown away and written anew",
        Scope::Completion => "the whole answer is thrown away and written anew",
    };
    let then = match config.then {
        Then::Reject => "the answer ends there".to_owned(),
        Then::Redact => format!("the match is replaced by {}", rule.with),
        Then::Flag => "the text goes out, and the caller is told".to_owned(),
    };
    format!(
        "{from}, up to {} times at one place; then {then}",
        config.max_attempts
    )
}

fn next_steps(set: &RuleSet, file: &str) -> Vec<String> {
    let (name, version) = (set.name(), set.version());
    vec![
        format!("portcullis rules test {file} --transcript CHATS.jsonl"),
        format!("portcullis rules sign {file} --key KEY"),
        format!("portcullis rules push {file}"),
        format!("portcullis rules bind {name}@{version} --deployment NAME --observe"),
        format!("portcullis rules activate {name}@{version}"),
        format!("portcullis rules bind {name} --deployment NAME"),
    ]
}

fn describe(set: &Explained) -> String {
    let states: usize = set.automata.iter().map(|automaton| automaton.states).sum();
    let bytes: usize = set
        .automata
        .iter()
        .map(|automaton| automaton.memory_bytes)
        .sum();
    let mut told = vec![
        format!("{}, {}, {}", set.ruleset, set.mode, set.digest),
        format!("evaluated {}", set.evaluated),
        format!(
            "if it cannot be evaluated, {}",
            set.if_it_cannot_be_evaluated
        ),
        format!(
            "automata: {}, {states} states, {} KiB",
            set.automata.len(),
            bytes.div_ceil(1024)
        ),
    ];
    for rule in &set.rules {
        told.push(String::new());
        told.extend(describe_rule(rule));
    }
    told.push("\nnext".to_owned());
    told.extend(set.next.iter().map(|step| format!("  {step}")));
    told.join("\n")
}

fn describe_rule(rule: &ExplainedRule) -> Vec<String> {
    let mut told = vec![
        format!("{} ({}, {})", rule.id, rule.kind, rule.action),
        format!("  why: {}", printable(&rule.why)),
        format!("  looks at: {}", rule.looks_at),
    ];
    let shown = rule.looks_for.iter().take(PATTERNS_SHOWN);
    told.extend(shown.map(|pattern| format!("  looks for: {}", printable(pattern))));
    if let Some(more) = rule.looks_for.len().checked_sub(PATTERNS_SHOWN + 1) {
        told.push(format!("  looks for: and {} more", more + 1));
    }
    if !rule.checks.is_empty() {
        told.push(format!("  counts only with: {}", rule.checks.join("; ")));
    }
    if let Some(longest) = &rule.longest_match {
        let ahead = match rule.looks_ahead {
            true => ", and the character after it decides",
            false => "",
        };
        told.push(format!("  longest match: {longest}{ahead}"));
    }
    told.push(format!("  waits: {}", rule.holds));
    told.push(format!("  on a match: {}", rule.on_a_match));
    if !rule.automata.is_empty() {
        let automata: Vec<String> = rule.automata.iter().map(|i| (i + 1).to_string()).collect();
        told.push(format!("  runs in: automaton {}", automata.join(", ")));
    }
    let cannot = rule.cannot_catch.iter();
    told.extend(cannot.map(|blind| format!("  cannot catch: {blind}")));
    told
}
