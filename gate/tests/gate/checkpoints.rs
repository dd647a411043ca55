//! When sets are evaluated, and how long they may hold text back.

use portcullis_gate::{Action, Cause, Gate};

use crate::stream::{gate, ruleset, run, run_with};

const RULE: &str = "phrases: [\"zebra\"], normalise: none, action: reject";

fn with_checkpoint(checkpoint: &str) -> Gate {
    let head = format!("mode: enforce\ncheckpoint: {checkpoint}");
    gate(&[ruleset(&head, &[RULE])])
}

#[track_caller]
fn check_pieces(checkpoint: &str, tokens: &[&str], pieces: &[&str]) {
    assert_eq!(run(&with_checkpoint(checkpoint), tokens).pieces, pieces);
}

#[test]
fn every_so_many_tokens() {
    check_pieces("{every_tokens: 1}", &["a", "b", "c"], &["a", "b", "c"]);
    check_pieces(
        "{every_tokens: 3}",
        &["a", "b", "c", "d", "e"],
        &["", "", "abc", "", "de"],
    );
}

#[test]
fn at_the_end_of_a_sentence() {
    check_pieces(
        "{at: [sentence, end]}",
        &["One", " two.", " Three", " four", "!\n", "x"],
        &["", "One two.", "", "", " Three four!\n", "x"],
    );
    check_pieces(
        "{every_tokens: 2, at: [sentence]}",
        &["a.", "b", "c", "d"],
        &["a.", "", "bc", "d"],
    );
}

#[test]
fn the_bound_on_holding_is_a_checkpoint_too() {
    check_pieces(
        "{at: [end], max_hold_tokens: 2}",
        &["a", "b", "c", "d", "e"],
        &["", "ab", "", "cd", "e"],
    );
}

#[test]
fn a_match_acts_at_the_next_checkpoint() {
    let gate = with_checkpoint("{every_tokens: 4}");
    let mut state = gate.begin(false);
    let outcome = run_with(
        &mut state,
        &["a", "zebra", "b", "c", "d"],
        |_, _| unreachable!(),
    );
    assert_eq!((outcome.pieces.len(), outcome.text.as_str()), (3, ""));
    assert!(outcome.refusal.is_some());
    assert_eq!(state.report().evaluations, 1);
}

#[test]
fn what_was_found_in_released_text_outlives_the_roll_back_of_another_set() {
    let watch = ruleset(
        "mode: observe\ncheckpoint: {every_tokens: 4}",
        &["phrases: [\"odd\"], action: flag"],
    );
    let resample = ruleset("mode: enforce", &["phrases: [\"bad\"], action: resample"]);
    let mut state = gate(&[watch, resample]).begin(false);
    let again = |_, at: usize| ["odd ", "one, ", "good", "."][at].to_owned();
    let outcome = run_with(&mut state, &["odd ", "one, ", "bad", "."], again);
    assert_eq!(outcome.resamples, [2]);
    let found = state.report().findings.iter();
    let found: Vec<_> = found.map(|f| (f.action, f.start..f.end)).collect();
    assert_eq!(found, [(Action::Resample, 9..12), (Action::Observe, 0..3)]);
    // Four tokens stay and are counted once.
    assert_eq!(state.report().evaluations, 6);
}

#[test]
fn sets_have_checkpoints_of_their_own() {
    let slow = ruleset("mode: enforce\ncheckpoint: {every_tokens: 3}", &[RULE]);
    let fast = ruleset("mode: enforce", &["phrases: [\"bd\"], action: reject"]);
    let outcome = run(
        &gate(&[slow.clone(), fast.clone()]),
        &["a", "b", "c", "d", "e", "f"],
    );
    assert_eq!(outcome.pieces, ["", "", "abc", "", "", "def"]);
    let outcome = run(&gate(&[slow, fast]), &["a", "b", "d"]);
    assert_eq!(outcome.refusal.unwrap().cause, Cause::Matched);
}

const LONG: &str = "regex: 'x+!', max_span: 500, action: reject";

fn hold_gate(on_gate_error: &str, rest: &str) -> Gate {
    let head = format!(
        "mode: enforce\non_gate_error: {on_gate_error}\ncheckpoint: {{max_hold_tokens: 8}}\n{rest}"
    );
    gate(&[ruleset(&head, &[LONG])])
}

#[test]
fn text_held_too_long_is_refused() {
    let outcome = run(&hold_gate("reject", ""), &["x"; 20]);
    let refusal = outcome.refusal.unwrap();
    assert_eq!(refusal.cause, Cause::HeldTooLong { held: 9, max: 8 });
    assert_eq!(refusal.rule, None);
    assert_eq!(
        refusal.to_string(),
        "rule set `test` version 1: 9 tokens were held back and a rule could still match; \
         max_hold_tokens is 8"
    );
    assert_eq!(outcome.text, "");
    let outcome = run(&hold_gate("reject", ""), &["x"; 8]);
    assert_eq!(outcome.text, "x".repeat(8));
}

#[test]
fn text_held_too_long_is_released_where_the_set_says_so_and_counted() {
    let gate = hold_gate("flag", "");
    let mut state = gate.begin(false);
    let outcome = run_with(&mut state, &["x"; 20], |_, _| unreachable!());
    assert_eq!(outcome.text, "x".repeat(20));
    assert_eq!(outcome.pieces[8], "x".repeat(9));
    assert_eq!(state.report().errors, 2);
}

#[test]
fn completion_scope_holds_as_long_as_it_takes() {
    let outcome = run(
        &hold_gate("reject", "resample: {scope: completion}"),
        &["x"; 20],
    );
    assert_eq!(outcome.refusal, None);
    assert_eq!(outcome.text, "x".repeat(20));
}

#[test]
fn a_set_that_only_watches_never_holds_too_long() {
    let head = "mode: observe\ncheckpoint: {max_hold_tokens: 2}";
    let outcome = run(&gate(&[ruleset(head, &[LONG])]), &["x"; 20]);
    assert_eq!(outcome.pieces, ["x"; 20]);
}

#[test]
fn only_what_could_still_match_is_held() {
    let gate = with_checkpoint("{every_tokens: 1}");
    let outcome = run(&gate, &["a z", "eb", "u", " ", "z", "e", "bra"]);
    assert_eq!(outcome.pieces, ["", "", "a zebu", " ", "", ""]);
    // The last byte of a phrase that cannot match any more waits for nothing.
    let gate = crate::stream::enforce(&["phrases: [\"ab\"], normalise: none, action: redact"]);
    assert_eq!(run(&gate, &["a", "b", "c"]).pieces, ["", "[redacted]", "c"]);
}

#[test]
fn a_longer_match_than_max_span_does_not_count() {
    let gate = crate::stream::enforce(&["regex: 'x+!', max_span: 4, action: redact, with: \"#\""]);
    assert_eq!(run(&gate, &["axxx!b"]).text, "a#b");
    assert_eq!(run(&gate, &["axxxxxx!b"]).text, "axxx#b");
    assert_eq!(run(&gate, &["x"; 9]).pieces[..5], ["", "", "", "x", "x"]);
}
