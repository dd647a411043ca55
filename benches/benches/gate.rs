//! What the gate costs a token, by the number of phrases in the set.
#![expect(clippy::print_stdout, reason = "it prints its figures")]

use std::fmt::Write as _;
use std::sync::Arc;

use portcullis_benches::median_time;
use portcullis_gate::{Checkpoint, End, Gate, Quota, RuleSet, RuleSetErrors};
use portcullis_types::Sample;

/// Tokens of one run.
const TOKENS: usize = 2_000;
const WORDS: [&str; 8] = [
    " the",
    " return",
    " on",
    " your",
    " money",
    " may",
    " guarantee",
    " vary.",
];

fn main() -> Result<(), RuleSetErrors> {
    let open = per_token_ns(&Gate::open());
    println!("no rule set: {open:.0} ns a token");
    for phrases in [1, 50, 1_000] {
        let gate = Gate::new(vec![Arc::new(rule_set(phrases)?)], Quota::default());
        println!("{phrases} phrases: {:.0} ns a token", per_token_ns(&gate));
    }
    Ok(())
}

fn per_token_ns(gate: &Gate) -> f64 {
    let run = || {
        let mut state = gate.begin(false);
        for index in 0..TOKENS {
            let text = WORDS[index % WORDS.len()];
            state.check(Checkpoint {
                sample: sample(),
                text,
                end: (index + 1 == TOKENS).then_some(End::Natural),
            });
        }
        state
    };
    median_time(run).as_secs_f64() * 1e9 / TOKENS as f64
}

fn sample() -> Sample {
    Sample {
        token: 1,
        logprob: -1.0,
        drawn_logprob: -1.0,
        entropy: 1.0,
        top: Vec::new(),
        masses: Vec::new(),
    }
}

fn rule_set(phrases: usize) -> Result<RuleSet, RuleSetErrors> {
    let mut list = String::new();
    for index in 0..phrases {
        // Many begin like words of the text, so that threads live for a while.
        let word = WORDS[index % WORDS.len()].trim();
        write!(list, "\"{word} phrase {index}\", ").unwrap_or_default();
    }
    let source = format!(
        "ruleset: bench\nversion: 1\nmode: enforce\nrules:\n  - {{id: all, why: bench, phrases: [{list}], \
         action: resample}}\ntests:\n  - {{rule: all, should_pass: \"nothing of it\"}}\n"
    );
    RuleSet::load(source.as_bytes())
}
