//! The tests that a rule set brings along, at every split.
//!
//! A verdict must not depend on how a text was cut into tokens. So each test runs through the gate
//! as one token, as two for every place between two characters, and as one for each character.

use std::sync::Arc;

use portcullis_types::Sample;

use super::{RuleSet, Side, fields::printable, read::Test};
use crate::{Checkpoint, End, Gate, GateState, Quota, Verdict, diagnostic::Diagnostics};

/// Runs all tests; each that fails is a mistake at its place.
pub(super) fn run(ruleset: &Arc<RuleSet>, tests: &[Test], mistakes: &mut Diagnostics) {
    let gate = Gate::new([ruleset.clone()], Quota::NONE);
    for test in tests {
        if let Err(failure) = run_one(&gate, ruleset, test) {
            let id = &ruleset.definition().rules[test.rule].id;
            let (message, mend) = failure.describe(id, test);
            mistakes.push(test.at, message, mend);
        }
    }
}

enum Failure {
    /// The rule matched, or did not, against what the test says.
    Wrong,
    /// Cut into these tokens, the text got another verdict than whole.
    Split(Vec<String>),
}

impl Failure {
    fn describe(&self, id: &str, test: &Test) -> (String, String) {
        let text = printable(&test.text);
        match self {
            Self::Wrong if test.should_fail => (
                format!("rule `{id}` does not match \"{text}\""),
                "widen the rule, or make it `should_pass`".to_owned(),
            ),
            Self::Wrong => (
                format!("rule `{id}` matches \"{text}\""),
                "narrow the rule, or make it `should_fail`".to_owned(),
            ),
            Self::Split(tokens) => (
                format!("rule `{id}` judges \"{text}\" differently when it comes as {tokens:?}"),
                "this is a fault of the gate, not of the rule: please report it".to_owned(),
            ),
        }
    }
}

/// What the gate made of a text.
#[derive(PartialEq)]
struct Outcome {
    matched: bool,
    refused: bool,
    /// The text, where it was not refused; how much came out before a refusal depends on the cut.
    released: Option<String>,
}

fn run_one(gate: &Gate, ruleset: &RuleSet, test: &Test) -> Result<(), Failure> {
    let rule = &ruleset.definition().rules[test.rule];
    if rule.on == Side::Input {
        return judged(matches_input(gate, test), test);
    }
    let mut grammars = ruleset.grammars().iter();
    if let Some(bound) = grammars.find(|bound| bound.rule == test.rule) {
        let accepted = bound.grammar.accepts(&test.text).unwrap_or(false);
        return judged(!accepted, test);
    }
    let whole = outcome(gate, test.rule, &[&test.text]);
    judged(whole.matched, test)?;
    for tokens in splits(&test.text) {
        if outcome(gate, test.rule, &tokens) != whole {
            let tokens = tokens.into_iter().map(str::to_owned);
            return Err(Failure::Split(tokens.collect()));
        }
    }
    Ok(())
}

fn judged(matched: bool, test: &Test) -> Result<(), Failure> {
    match matched == test.should_fail {
        true => Ok(()),
        false => Err(Failure::Wrong),
    }
}

/// A prompt comes whole.
fn matches_input(gate: &Gate, test: &Test) -> bool {
    let findings = match gate.check_input(vec![test.text.clone()]) {
        Ok(admitted) => admitted.findings,
        Err(refused) => refused.findings,
    };
    let rules = gate.sets()[0].set().definition().rules.iter();
    let id = rules.map(|rule| &rule.id).nth(test.rule);
    findings.iter().any(|finding| Some(&finding.rule) == id)
}

fn splits(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let starts = text.char_indices().map(|(start, _)| start);
    let halves = starts.map(|cut| {
        let (before, after) = text.split_at(cut);
        vec![before, after]
    });
    let characters = text.char_indices();
    let characters = characters.map(|(at, c)| &text[at..at + c.len_utf8()]);
    halves.chain([characters.collect()])
}

fn outcome(gate: &Gate, rule: usize, tokens: &[&str]) -> Outcome {
    let mut state = GateState::probe(gate, rule);
    let mut released = String::new();
    let mut refused = false;
    for (index, text) in tokens.iter().enumerate() {
        let checkpoint = Checkpoint {
            sample: Sample::certain(0),
            text,
            end: (index + 1 == tokens.len()).then_some(End::Natural),
        };
        match state.check(checkpoint) {
            Verdict::Continue(admitted) | Verdict::Stopped(admitted) => {
                released.push_str(admitted.text())
            }
            Verdict::Resample { .. } | Verdict::Reject(_) => refused = true,
        }
    }
    Outcome {
        matched: state.report().findings_total > 0,
        refused,
        released: (!refused).then_some(released),
    }
}
