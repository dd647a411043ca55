//! What each action does, which comes first, and what happens when attempts run out.

use std::sync::Arc;

use portcullis_gate::{Action, Cause, Gate, GateState, Quota, RuleSet, Verdict};

use crate::stream::{Outcome, enforce, gate, ruleset, run, run_with};

fn actions(state: &GateState) -> Vec<(String, Action)> {
    let findings = state.report().findings.iter();
    findings
        .map(|finding| (finding.rule.to_string(), finding.action))
        .collect()
}

fn run_reporting(gate: &Gate, tokens: &[&str]) -> (Outcome, Vec<(String, Action)>) {
    let mut state = gate.begin(false);
    let outcome = run_with(&mut state, tokens, |_, at| tokens[at].to_owned());
    let actions = actions(&state);
    (outcome, actions)
}

#[test]
fn reject_ends_the_completion_and_says_why() {
    let gate = enforce(&["phrases: [\"bad\"], action: reject"]);
    let refusal = run(&gate, &["bad"]).refusal.unwrap();
    assert_eq!((&*refusal.ruleset, refusal.version), ("test", 1));
    assert_eq!(
        (refusal.rule.as_deref(), &*refusal.why),
        (Some("r0"), "test")
    );
    assert_eq!(
        (refusal.cause, refusal.after_release),
        (Cause::Matched, false)
    );
    let refusal = run(&gate, &["ok ", "bad"]).refusal.unwrap();
    assert!(refusal.after_release);
    assert_eq!(
        refusal.to_string(),
        "rule set `test` version 1, rule `r0`: the text is not admissible"
    );
}

#[test]
fn a_refused_completion_stays_refused() {
    let gate = enforce(&["phrases: [\"bad\"], action: reject"]);
    let mut state = gate.begin(false);
    run_with(&mut state, &["bad", "x"], |_, _| unreachable!());
    let after = run_with(&mut state, &["fine"], |_, _| unreachable!());
    assert!(after.refusal.is_some());
    assert_eq!(after.text, "");
}

#[test]
fn redaction_spans_tokens_and_withholds_their_samples() {
    let gate = enforce(&["regex: 'AC-[0-9]{4}', action: redact"]);
    let outcome = run(&gate, &["see A", "C-", "12", "34 a", "nd"]);
    assert_eq!(outcome.text, "see [redacted] and");
    assert_eq!(outcome.samples, [4]);
    assert_eq!(outcome.released_tokens, 5);
}

#[test]
fn redaction_takes_the_longest_match_and_joins_overlaps() {
    let gate = enforce(&[
        "regex: '[0-9]{2,6}', action: redact, with: \"#\"",
        "phrases: [\"6x\"], action: redact, with: \"+\"",
    ]);
    assert_eq!(run(&gate, &["a12", "345", "6xb"]).text, "a#b");
    assert_eq!(run(&gate, &["a1", "b"]).text, "a1b");
    // Next to each other is not over each other.
    let gate = enforce(&["phrases: [\"aa\"], action: redact, with: \"#\""]);
    assert_eq!(run(&gate, &["aaa b aa"]).text, "# b #");
}

#[test]
fn flag_shows_the_match_with_the_text_it_stands_in_and_holds_nothing() {
    let gate = enforce(&["phrases: [\"odd one\"], action: flag"]);
    let outcome = run(&gate, &["an odd", " one", "."]);
    assert_eq!(outcome.pieces, ["an odd", " one", "."]);
    assert_eq!(outcome.flagged.len(), 1);
    assert_eq!((outcome.flagged[0].start, outcome.flagged[0].end), (3, 10));
}

#[test]
fn observe_records_and_changes_nothing() {
    let gate = enforce(&["phrases: [\"odd\"], action: observe"]);
    let (outcome, found) = run_reporting(&gate, &["an o", "dd one"]);
    assert_eq!(outcome.pieces, ["an o", "dd one"]);
    assert!(outcome.flagged.is_empty());
    assert_eq!(found, [("r0".to_owned(), Action::Observe)]);
}

#[test]
fn a_set_in_observe_records_and_changes_no_byte_and_no_moment() {
    let head = "mode: observe\nresample: {scope: completion}\ncheckpoint: {every_tokens: 3}";
    let watch = ruleset(
        head,
        &[
            "phrases: [\"bad\"], action: reject",
            "regex: 'd.?', action: redact",
        ],
    );
    let tokens = ["b", "a", "", "d", " and", " more"];
    let (outcome, found) = run_reporting(&gate(&[watch]), &tokens);
    let open = run(&Gate::open(), &tokens);
    assert_eq!(outcome.pieces, open.pieces);
    assert_eq!(outcome.samples, open.samples);
    assert_eq!(
        found.iter().map(|f| f.1).collect::<Vec<_>>(),
        [Action::Observe; 3]
    );
}

#[test]
fn the_open_gate_lets_everything_pass() {
    let outcome = run(&Gate::open(), &["a", "", "b"]);
    assert_eq!(outcome.pieces, ["a", "", "b"]);
    assert_eq!(outcome.samples, [0, 1, 2]);
    assert_eq!(outcome.released_tokens, 3);
}

#[test]
fn the_strongest_action_at_a_place_acts_and_all_are_recorded() {
    let rules = [
        "phrases: [\"bad\"], action: observe",
        "phrases: [\"bad\"], action: flag",
        "phrases: [\"bad\"], action: redact",
        "phrases: [\"bad\"], action: resample",
        "phrases: [\"bad\"], action: reject",
    ];
    for strongest in 0..rules.len() {
        // The order of the rules in the file does not matter.
        let mut some: Vec<&str> = rules[..=strongest].to_vec();
        some.rotate_left(strongest / 2);
        let (outcome, found) = run_reporting(&enforce(&some), &["bad"]);
        let recorded_each_attempt = if strongest == 3 { 5 } else { 1 };
        assert_eq!(
            found.len(),
            (strongest + 1) * recorded_each_attempt,
            "{found:?}"
        );
        assert_eq!(outcome.resamples.len(), if strongest == 3 { 4 } else { 0 });
        assert_eq!(outcome.refusal.is_some(), strongest >= 3);
        let text = ["bad", "bad", "[redacted]", "", ""][strongest];
        assert_eq!(outcome.text, text);
    }
}

#[test]
fn sets_hold_together_and_the_strongest_acts() {
    let soft = ruleset("mode: enforce", &["phrases: [\"bad\"], action: flag"]);
    let hard = ruleset("mode: enforce", &["phrases: [\"bad\"], action: reject"]);
    let watch = ruleset("mode: observe", &["phrases: [\"bad\"], action: reject"]);
    let both = [soft.clone(), watch.clone()];
    assert_eq!(run(&gate(&both), &["bad"]).text, "bad");
    for sets in [[soft.clone(), hard.clone()], [hard, soft]] {
        let sets = [&sets[..], std::slice::from_ref(&watch)].concat();
        let (outcome, found) = run_reporting(&gate(&sets), &["bad"]);
        assert_eq!((outcome.text.as_str(), found.len()), ("", 3));
    }
}

#[test]
fn the_earliest_match_acts_whatever_the_tokens() {
    let gate = enforce(&[
        "phrases: [\"later\"], action: reject",
        "phrases: [\"early\"], action: resample",
    ]);
    // Both arrive in one token; the roll-back comes first, and what is drawn then is fine.
    let outcome = run_with(&mut gate.begin(false), &["early, later"], |_, _| {
        "fine".to_owned()
    });
    assert_eq!(
        (outcome.resamples.as_slice(), outcome.text.as_str()),
        (&[0][..], "fine")
    );
}

#[test]
fn resample_rolls_back_to_what_is_released() {
    let gate = enforce(&["phrases: [\"guaranteed return\"], action: resample"]);
    let tokens = ["We", " have", " guaranteed", " return", "."];
    let mut state = gate.begin(false);
    let outcome = run_with(&mut state, &tokens, |_, at| {
        ["", "", " guaranteed", " fees", "."][at].to_owned()
    });
    assert_eq!(outcome.resamples, [2]);
    assert_eq!(outcome.text, "We have guaranteed fees.");
    assert_eq!(outcome.samples, [0, 1, 2, 3, 4]);
    let report = state.report();
    assert_eq!((report.attempts, report.discarded_tokens), (1, 2));
    assert!(!report.sampling_modified);
    assert_eq!(report.findings[0].attempt, 0);
}

#[track_caller]
fn check_then(then: &str, text: &str, cause: Option<Cause>) {
    let head = format!("mode: enforce\nresample: {{max_attempts: 2, then: {then}}}");
    let gate = gate(&[ruleset(
        &head,
        &["phrases: [\"bad one\"], action: resample"],
    )]);
    let outcome = run(&gate, &["a ", "bad", " one", " left", "."]);
    assert_eq!(outcome.resamples, [1, 1]);
    assert_eq!(outcome.text, text);
    assert_eq!(outcome.refusal.map(|refusal| refusal.cause), cause);
    assert_eq!(outcome.flagged.len(), usize::from(then == "flag"));
}

#[test]
fn when_attempts_run_out_then_acts() {
    check_then("reject", "a ", Some(Cause::AttemptsUsedUp { attempts: 2 }));
    check_then("redact", "a [redacted] left.", None);
    check_then("flag", "a bad one left.", None);
}

#[test]
fn attempts_are_counted_for_each_place() {
    let head = "mode: enforce\nresample: {max_attempts: 2, then: flag}";
    let gate = gate(&[ruleset(head, &["phrases: [\"bad\"], action: resample"])]);
    let mut state = gate.begin(false);
    let tokens = ["bad", " ok ", "bad", "."];
    let outcome = run_with(&mut state, &tokens, |_, at| tokens[at].to_owned());
    assert_eq!(outcome.resamples, [0, 0, 2, 2]);
    assert_eq!(
        (outcome.text.as_str(), outcome.flagged.len()),
        ("bad ok bad.", 2)
    );
    assert_eq!(state.attempt(), 4);
}

#[track_caller]
fn check_quota(quota: Quota, attempts: usize) {
    let head = "mode: enforce\nresample: {max_attempts: 9}";
    let set: Arc<RuleSet> = ruleset(head, &["phrases: [\"bad one\"], action: resample"]);
    let outcome = run(&Gate::new(vec![set], quota), &["bad", " one"]);
    assert_eq!(outcome.resamples.len(), attempts);
    assert_eq!(outcome.refusal.unwrap().cause, Cause::QuotaUsedUp);
}

#[test]
fn the_quota_bounds_attempts_and_discarded_tokens() {
    let quota = |attempts_max, discarded_tokens_max| Quota {
        attempts_max,
        discarded_tokens_max,
    };
    check_quota(quota(3, 1_000), 3);
    check_quota(quota(100, 5), 2);
    check_quota(Quota::NONE, 0);
}

#[test]
fn completion_scope_releases_nothing_before_the_end() {
    let head = "mode: enforce\nresample: {scope: completion}";
    let gate = gate(&[ruleset(head, &["phrases: [\"bad\"], action: resample"])]);
    let many = vec!["fine "; 200];
    let outcome = run(&gate, &many);
    assert_eq!(outcome.text, "fine ".repeat(200));
    assert!(outcome.pieces[..199].iter().all(String::is_empty));
    let mut tokens = vec!["fine ", "fine ", "bad", " end"];
    let outcome = run_with(&mut gate.begin(false), &tokens, |_, _| "good ".to_owned());
    assert_eq!(outcome.resamples, [0]);
    assert_eq!(outcome.text, "good good good good ");
    tokens.truncate(3);
    assert!(run(&gate, &tokens).refusal.is_some());
}

/// "ab" is released because an X came in the same token as the start of the next match; when that
/// is rolled back, no continuation may make the released "ab" part of a match.
#[test]
fn no_retry_completes_a_match_in_released_text() {
    let rules = [
        "phrases: [\"abc\"], action: redact",
        "phrases: [\"gh\"], action: resample",
    ];
    let gate = enforce(&rules);
    let tokens = ["ab", "Xg", "h"];
    let outcome = run_with(&mut gate.begin(false), &tokens, |attempt, _| {
        (if attempt == 1 { "c" } else { "d" }).to_owned()
    });
    assert_eq!(outcome.resamples, [1, 1]);
    assert_eq!(outcome.text, "abdd");
    let refused = run_with(&mut gate.begin(false), &tokens, |_, _| "c".to_owned());
    assert_eq!(refused.text, "ab");
    assert_eq!(refused.refusal.unwrap().cause, Cause::ReachesBack);
}

#[test]
fn a_redaction_that_is_out_goes_on_after_a_roll_back() {
    let gate = enforce(&[
        "regex: 'N[0-9]{2,4}', action: redact, with: \"#\"",
        "phrases: [\"gh\"], action: resample",
    ]);
    let tokens = ["N12", " g", "h", "."];
    let outcome = run_with(&mut gate.begin(false), &tokens, |_, at| {
        ["", "34", "", "."][at].to_owned()
    });
    assert_eq!(outcome.resamples, [1]);
    assert_eq!(outcome.text, "#.");
}

#[test]
fn a_redaction_ends_where_the_roll_back_went() {
    let gate = enforce(&[
        "regex: 'N[0-9]{2,4}', action: redact, with: \"#\"",
        "phrases: [\"gh\"], action: resample",
    ]);
    // The match ends inside the second token, which is held for its g and then discarded.
    let tokens = ["xN1", "2g", "h", "."];
    let outcome = run_with(&mut gate.begin(false), &tokens, |_, at| {
        ["", "y", "z", "."][at].to_owned()
    });
    assert_eq!(outcome.resamples, [1]);
    assert_eq!(outcome.text, "x#yz.");
}

#[test]
fn a_roll_back_takes_both_halves_of_a_character() {
    for every_tokens in [1, 2] {
        let head = format!("mode: enforce\ncheckpoint: {{every_tokens: {every_tokens}}}");
        let rule = "phrases: [\"é\"], normalise: none, action: resample";
        let gate = gate(&[ruleset(&head, &[rule])]);
        let outcome = run_with(&mut gate.begin(false), &["ab", "", "é"], |_, at| {
            ["", "c", "d"][at].to_owned()
        });
        assert_eq!(outcome.resamples, [1]);
        assert_eq!(outcome.text, "abcd");
    }
}

#[test]
fn admitted_pieces_join() {
    let gate = enforce(&["phrases: [\"odd\"], action: flag"]);
    let mut state = gate.begin(false);
    let mut admitted = Vec::new();
    for (index, text) in ["odd ", "one"].into_iter().enumerate() {
        let sample = crate::stream::sample(u32::try_from(index).unwrap());
        let end = (index == 1).then_some(portcullis_gate::End::Natural);
        let verdict = state.check(portcullis_gate::Checkpoint { sample, text, end });
        let Verdict::Continue(piece) = verdict else {
            panic!("{verdict:?}");
        };
        admitted.push(piece);
    }
    let last = admitted.pop().unwrap();
    let mut all = admitted.pop().unwrap();
    all.append(last);
    assert_eq!(
        (all.text(), all.num_tokens(), all.flagged().len()),
        ("odd one", 2, 1)
    );
    assert_eq!(all.samples().len(), 2);
    assert!(!all.is_empty());
}
