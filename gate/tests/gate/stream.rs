//! Streams for tests: rule sets from a few lines, tokens from a list of texts.

use std::sync::Arc;

use portcullis_gate::{
    Checkpoint, End, Finding, Gate, GateState, Quota, Refusal, RuleSet, Verdict,
};
use portcullis_types::Sample;

/// Loads a set with `head` (everything before the rules) and `rules`; tests that always pass are
/// added.
#[track_caller]
pub(crate) fn ruleset(head: &str, rules: &[&str]) -> Arc<RuleSet> {
    let mut yaml = format!("ruleset: test\nversion: 1\n{head}\nrules:\n");
    let mut tests = String::from("tests:\n");
    for (index, rule) in rules.iter().enumerate() {
        yaml += &format!("- {{id: r{index}, why: test, {rule}}}\n");
        tests += &format!("- {{rule: r{index}, should_pass: \"~~\"}}\n");
    }
    yaml += &tests;
    Arc::new(RuleSet::load(yaml.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\n{yaml}")))
}

/// A gate with one enforced set.
#[track_caller]
pub(crate) fn enforce(rules: &[&str]) -> Gate {
    gate(&[ruleset("mode: enforce", rules)])
}

pub(crate) fn gate(sets: &[Arc<RuleSet>]) -> Gate {
    Gate::new(sets.to_vec(), Quota::default())
}

/// A token that is unlikely to be drawn again.
pub(crate) fn sample(token: u32) -> Sample {
    Sample {
        token,
        logprob: -5.0,
        drawn_logprob: -5.0,
        entropy: 0.5,
        top: Vec::new(),
        masses: Vec::new(),
    }
}

/// What came of a stream whose every roll-back is answered by the same tokens again.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) text: String,
    /// Ids of the samples that came out: the positions of their tokens.
    pub(crate) samples: Vec<u32>,
    pub(crate) released_tokens: usize,
    pub(crate) flagged: Vec<Finding>,
    /// Text released after each token.
    pub(crate) pieces: Vec<String>,
    pub(crate) refusal: Option<Refusal>,
    /// `keep_tokens` of each roll-back.
    pub(crate) resamples: Vec<usize>,
    pub(crate) findings: u64,
    /// Whether a stop string ended it.
    pub(crate) stopped: bool,
}

/// Runs `tokens`; the last one ends the completion.
pub(crate) fn run(gate: &Gate, tokens: &[&str]) -> Outcome {
    run_with(&mut gate.begin(false), tokens, |_, at| {
        tokens[at].to_owned()
    })
}

/// Runs a completion of as many tokens as `tokens`; `again` gives the token at a position that is
/// drawn again, by the number of the attempt.
pub(crate) fn run_with(
    state: &mut GateState,
    tokens: &[&str],
    again: impl Fn(u32, usize) -> String,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut at = 0;
    while at < tokens.len() {
        let text = match state.attempt() {
            0 => tokens[at].to_owned(),
            attempt => again(attempt, at),
        };
        let checkpoint = Checkpoint {
            sample: sample(u32::try_from(at).unwrap()),
            text: &text,
            end: (at + 1 == tokens.len()).then_some(End::Natural),
        };
        match state.check(checkpoint) {
            verdict @ (Verdict::Continue(_) | Verdict::Stopped(_)) => {
                at += 1;
                outcome.stopped = matches!(verdict, Verdict::Stopped(_));
                let (Verdict::Continue(admitted) | Verdict::Stopped(admitted)) = verdict else {
                    unreachable!();
                };
                outcome.text += admitted.text();
                outcome.pieces.push(admitted.text().to_owned());
                outcome.released_tokens += admitted.num_tokens();
                outcome.flagged.extend_from_slice(admitted.flagged());
                let ids = admitted.samples().iter().map(|sample| sample.token);
                outcome.samples.extend(ids);
                if outcome.stopped {
                    break;
                }
            }
            Verdict::Resample { keep_tokens } => {
                outcome.resamples.push(keep_tokens);
                at = keep_tokens;
            }
            Verdict::Reject(refusal) => {
                outcome.refusal = Some(refusal);
                break;
            }
        }
    }
    outcome.findings = state.report().findings_total;
    outcome
}
