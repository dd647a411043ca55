//! What hostile texts cost: as much for each byte, however many matches they are made of.

use allocation_counter::measure;
use portcullis_gate::{Checkpoint, End, Gate, InputText, Quota, Verdict};

use crate::stream::{gate, ruleset, sample};

/// Every byte of a long key ends as many matches as there are bytes before it, up to a thousand.
#[test]
fn a_long_match_takes_no_memory_for_each_of_its_places() {
    let head = "mode: enforce\ncheckpoint: {at: [end]}\nresample: {scope: completion}";
    let keys = ["regex: '[A-Za-z0-9+/]{40,1000}', action: redact, with: \"#\""];
    let gate = gate(&[ruleset(head, &keys)]);
    let mut text = String::new();
    let cost = measure(|| text = write(&gate, &["AbC+"; 1_500]));
    assert_eq!(text, "#");
    assert!(cost.bytes_max < 4 << 20, "{} bytes", cost.bytes_max);
}

/// What is released of `tokens` at once.
fn write(gate: &Gate, tokens: &[&str]) -> String {
    let mut state = gate.begin(false);
    let mut out = String::new();
    for (index, text) in tokens.iter().enumerate() {
        let verdict = state.check(Checkpoint {
            sample: sample(0),
            text,
            end: (index + 1 == tokens.len()).then_some(End::Natural),
        });
        let Verdict::Continue(admitted) = verdict else {
            panic!("{verdict:?}")
        };
        out += admitted.text();
    }
    out
}

/// A long prompt of nothing but what is replaced. With a look at every other match for each of them,
/// this takes minutes.
#[test]
fn a_prompt_full_of_matches_is_read_in_one_go() {
    const MATCHES: usize = 400_000;
    let rule = "regex: x, on: input, action: redact, with: \"#\"";
    let gate = Gate::new([ruleset("mode: enforce", &[rule])], Quota::NONE);
    let text = |of: &str| format!("\"{}\"", of.repeat(MATCHES));
    let prompt = [InputText::Plain(text("x ")), InputText::Json(text("x "))];
    let admitted = gate.check_input(prompt);
    let texts = admitted.map(|admitted| admitted.texts);
    assert_eq!(texts, Ok(vec![text("# "), text("# ")]));
}
