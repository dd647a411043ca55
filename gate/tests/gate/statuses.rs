//! What is said of each rule: pass, fail, error or not run, and never a guess.

use std::sync::Arc;

use portcullis_gate::{
    Checkpoint, End, Gate, GateReport, GateState, Quota, RuleReport, RuleSet, Verdict, Vocabulary,
    limits::FINDINGS_MAX,
};
use portcullis_types::{Sample, TokenBytes};

use crate::stream::{enforce, gate, ruleset};

/// How a test lets a completion end.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Natural,
    Cut,
    /// By its reader: no verdict says that it is over.
    Cancelled,
}
use Ending::{Cancelled, Cut, Natural};

/// Such as `r0 pass, r1 fail 2 flag`; sets are told apart by `|`.
fn said(rules: &[RuleReport]) -> String {
    let mut said = String::new();
    for (index, rule) in rules.iter().enumerate() {
        let same_set = index.checked_sub(1).map(|last| rules[last].set == rule.set);
        said += same_set.map_or("", |same| if same { ", " } else { " | " });
        said += &format!("{} {}", rule.rule, rule.status.as_str());
        if rule.matches > 0 {
            said += &format!(" {}", rule.matches);
        }
        said += &rule
            .action
            .map_or(String::new(), |action| format!(" {action}"));
    }
    said
}

/// Runs `tokens`, whose roll-backs are all answered by an `x`.
fn report(mut state: GateState, tokens: &[&str], ending: Ending) -> GateReport {
    let mut at = 0;
    let mut again = 0;
    while at < tokens.len() {
        let text = if at < again { "x" } else { tokens[at] };
        let last = at + 1 == tokens.len();
        let end = match ending {
            Natural if last => Some(End::Natural),
            Cut if last => Some(End::Cut),
            _ => None,
        };
        let sample = crate::stream::sample(u32::try_from(at).unwrap());
        match state.check(Checkpoint { sample, text, end }) {
            Verdict::Continue(_) => at += 1,
            Verdict::Resample { keep_tokens } => {
                again = at + 1;
                at = keep_tokens;
            }
            Verdict::Stopped(_) | Verdict::Reject(_) => break,
        }
    }
    state.into_report()
}

/// A gate with one enforced set that brings its own tests.
#[track_caller]
fn loaded(rules: &str) -> Gate {
    let yaml = format!("ruleset: test\nversion: 1\nmode: enforce\nrules:\n{rules}");
    let set = RuleSet::load(yaml.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    Gate::new([Arc::new(set)], Quota::default())
}

#[track_caller]
fn check(gate: &Gate, tokens: &[&str], ending: Ending, expected: &str) {
    let report = report(gate.begin(false), tokens, ending);
    assert_eq!(said(&report.rules), expected, "{report:?}");
}

#[test]
fn a_pattern_fails_whatever_its_action() {
    for (action, tokens, expected) in [
        (
            "observe",
            &["odd ", "one"][..],
            "r0 fail 1 observe, r1 pass",
        ),
        ("flag", &["odd ", "odd"], "r0 fail 2 flag, r1 pass"),
        ("redact", &["odd ", "one"], "r0 fail 1 redact, r1 pass"),
        // Drawn again, it is fine: it was found all the same.
        ("resample", &["odd ", "one"], "r0 fail 1 resample, r1 pass"),
        ("reject", &["fine, ", "odd"], "r0 fail 1 reject, r1 pass"),
        ("reject", &["fine, ", "fine"], "r0 pass, r1 pass"),
    ] {
        let rules = [
            &format!("phrases: [\"odd\"], action: {action}"),
            "phrases: [\"zebra\"], action: reject",
        ];
        check(&enforce(&rules), tokens, Natural, expected);
    }
}

#[test]
fn matches_are_counted_beyond_the_list_of_findings() {
    let gate = enforce(&["phrases: [\"odd\"], action: flag"]);
    let tokens = vec!["odd "; FINDINGS_MAX + 9];
    let report = report(gate.begin(false), &tokens, Natural);
    assert_eq!(report.findings.len(), FINDINGS_MAX);
    assert_eq!(
        said(&report.rules),
        format!("r0 fail {} flag", FINDINGS_MAX + 9)
    );
}

#[test]
fn the_strongest_action_is_told() {
    for (then, expected) in [
        ("flag", "r0 fail 3 resample"),
        ("reject", "r0 fail 3 reject"),
    ] {
        let head = format!("mode: enforce\nresample: {{max_attempts: 2, then: {then}}}");
        let gate = gate(&[ruleset(&head, &["phrases: [\"x\"], action: resample"])]);
        // What is drawn again is an x again.
        check(&gate, &["x", "."], Natural, expected);
    }
}

#[test]
fn every_set_has_its_rules_in_order() {
    let sets = [
        ruleset(
            "mode: enforce",
            &["phrases: [a], action: flag", "phrases: [b], action: flag"],
        ),
        ruleset("mode: observe", &["phrases: [a], action: reject"]),
    ];
    let expected = "r0 fail 1 flag, r1 pass | r0 fail 1 observe";
    check(&gate(&sets), &["a", "."], Natural, expected);
    let open = report(Gate::open().begin(false), &["a"], Natural);
    assert!(open.rules.is_empty());
}

#[test]
fn nothing_is_said_before_the_end() {
    let gate = enforce(&["phrases: [\"odd\"], action: flag"]);
    let mut state = gate.begin(false);
    let mut see = |text, end| {
        let sample = Sample::certain(0);
        assert!(matches!(
            state.check(Checkpoint { sample, text, end }),
            Verdict::Continue(_)
        ));
        state.report().clone()
    };
    assert!(see("odd", None).rules.is_empty());
    let ended = see(".", Some(End::Natural));
    assert_eq!(said(&ended.rules), "r0 fail 1 flag");
    assert_eq!(state.into_report(), ended);
}

const LENGTH: &str = "length: {max_characters: 3}, action: reject";

#[test]
fn a_limit_on_length_is_judged_as_text_arrives() {
    let gate = enforce(&[LENGTH]);
    check(&gate, &["ab", "c"], Natural, "r0 pass");
    check(&gate, &["ab", "c"], Cancelled, "r0 pass");
    check(&gate, &["ab", "cd"], Natural, "r0 fail 1 reject");
}

/// Rules on a completion as a whole.
fn about_whole() -> Gate {
    let head = "mode: enforce\nresample: {scope: completion}";
    gate(&[ruleset(
        head,
        &[
            "require: [\"at risk\", \"~\"], action: reject",
            "language: {allow: [en]}, action: flag",
            "phrases: [\"bad\"], action: reject",
            "regex: 'AC-[0-9]{8}', action: redact",
        ],
    )])
}

#[test]
fn what_is_judged_at_the_end_did_not_run_without_it() {
    let tokens = ["Your capital ", "is at risk", " here."];
    check(
        &about_whole(),
        &tokens,
        Natural,
        "r0 pass, r1 pass, r2 pass, r3 pass",
    );
    check(
        &about_whole(),
        &tokens,
        Cancelled,
        "r0 not_run, r1 not_run, r2 pass, r3 pass",
    );
    let tokens = ["Your capital ", "is bad", " at risk."];
    let expected = "r0 not_run, r1 not_run, r2 fail 1 reject, r3 pass";
    check(&about_whole(), &tokens, Natural, expected);
    let expected = "r0 fail 1 reject, r1 pass, r2 pass, r3 pass";
    check(
        &about_whole(),
        &["Your capital is safe."],
        Natural,
        expected,
    );
    let french = "Votre capital est en danger, et personne ne vous le rendra jamais: at risk.";
    check(
        &about_whole(),
        &[french],
        Natural,
        "r0 pass, r1 fail 1 flag, r2 pass, r3 pass",
    );
}

/// The end of the completion was judged and is not in the answer.
#[test]
fn what_is_judged_at_the_end_did_not_run_where_the_end_is_withheld() {
    let tokens = ["Your capital is at risk. ", "AC-123"];
    let expected = "r0 not_run, r1 not_run, r2 pass, r3 pass";
    check(&about_whole(), &tokens, Cut, expected);
    check(
        &about_whole(),
        &tokens,
        Natural,
        "r0 pass, r1 pass, r2 pass, r3 pass",
    );
}

#[test]
fn logits_run_as_soon_as_a_window_is_full() {
    // Samples have an entropy of 0.5.
    let gate = loaded(
        "- {id: r0, why: test, logits: {mean_entropy_max: 2, window: 3}, action: flag}\n\
         - {id: r1, why: test, logits: {mean_entropy_max: 0.1, window: 3}, action: flag}\n",
    );
    check(&gate, &["a", "b"], Cancelled, "r0 not_run, r1 not_run");
    check(&gate, &["a", "b"], Natural, "r0 pass, r1 fail 1 flag");
    check(
        &gate,
        &["a", "b", "c"],
        Cancelled,
        "r0 pass, r1 fail 1 flag",
    );
}

/// One token for each byte.
fn vocabulary() -> Arc<Vocabulary> {
    let bytes = |token| {
        let byte = vec![u8::try_from(token).ok()?];
        Some(TokenBytes {
            at_start: byte.clone(),
            inside: byte,
        })
    };
    Arc::new(Vocabulary::new(257, bytes, &[256]).unwrap())
}

#[track_caller]
fn check_grammar(text: &str, ending: Ending, expected: &str) {
    let gate = loaded(
        "- {id: r0, why: test, grammar: {regex: '[a-z]+[0-9]{1,9}'}, action: reject}\n\
         - {id: r1, why: test, regex: 'z[0-9]{4}', action: redact}\n\
         tests:\n- {rule: r0, should_pass: ab1}\n- {rule: r0, should_fail: a}\n\
         - {rule: r1, should_pass: ab1}\n",
    );
    let mut state = gate.for_model(&vocabulary()).unwrap().begin(false);
    let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
    for (index, token) in tokens.iter().enumerate() {
        let last = index + 1 == tokens.len();
        let end = if ending == Cut {
            End::Cut
        } else {
            End::Natural
        };
        let checkpoint = Checkpoint {
            sample: Sample::certain(*token),
            text: &text[index..=index],
            end: (last && ending != Cancelled).then_some(end),
        };
        state.check(checkpoint);
    }
    assert_eq!(said(&state.into_report().rules), expected);
}

#[test]
fn a_grammar_runs_to_the_end_or_not_at_all() {
    check_grammar("ab1", Natural, "r0 pass, r1 pass");
    check_grammar("ab1", Cut, "r0 pass, r1 pass");
    check_grammar("ab1", Cancelled, "r0 not_run, r1 pass");
    check_grammar("ab", Cut, "r0 fail 1 reject, r1 pass");
    // `z12` could have become a match: what is released is the `a` alone.
    check_grammar("az12", Cut, "r0 not_run, r1 pass");
}

const EVERY_FOURTH: &str = "mode: observe\ncheckpoint: {every_tokens: 4}";

#[test]
fn an_observed_rule_did_not_run_on_text_that_left_before_its_checkpoint() {
    let gate = gate(&[ruleset(EVERY_FOURTH, &["phrases: [\"odd\"], action: flag"])]);
    check(&gate, &["a"; 3], Cancelled, "r0 not_run");
    check(&gate, &["a"; 4], Cancelled, "r0 pass");
    check(&gate, &["a"; 5], Cancelled, "r0 not_run");
    check(&gate, &["a"; 5], Natural, "r0 pass");
    check(&gate, &["a", "odd", "a"], Cancelled, "r0 not_run");
    check(
        &gate,
        &["a", "odd", "a", "a"],
        Cancelled,
        "r0 fail 1 observe",
    );
    check(&gate, &["a", "odd"], Natural, "r0 fail 1 observe");
}

/// `odd` is out, and with the end it is a word.
#[test]
fn a_match_that_the_end_makes_is_no_pass() {
    let gate = enforce(&["regex: '(?-u:\\b)odd(?-u:\\b)', action: flag"]);
    check(&gate, &["odd"], Cancelled, "r0 not_run");
    check(&gate, &["odd"], Natural, "r0 fail 1 flag");
    check(&gate, &["oddly"], Cancelled, "r0 pass");
}

#[test]
fn a_roll_back_makes_no_pass_of_what_waits() {
    let sets = [
        ruleset(EVERY_FOURTH, &["phrases: [\"odd\"], action: flag"]),
        ruleset("mode: enforce", &["phrases: [\"bad\"], action: resample"]),
    ];
    let expected = "r0 not_run | r0 fail 1 resample";
    check(&gate(&sets), &["a", "odd", "bad"], Cancelled, expected);
    // Four tokens stay, of which two were there before.
    let expected = "r0 pass | r0 fail 1 resample";
    check(&gate(&sets), &["a", "a", "bad", "a"], Cancelled, expected);
}

#[test]
fn what_is_held_until_a_checkpoint_is_not_run_before_it() {
    let head = "mode: enforce\ncheckpoint: {every_tokens: 4}";
    let gate = gate(&[ruleset(head, &["phrases: [\"odd\"], action: reject"])]);
    check(&gate, &["a"; 3], Cancelled, "r0 not_run");
    // Four are released; the fifth is not.
    check(&gate, &["a"; 5], Cancelled, "r0 pass");
    check(&gate, &["a", "a", "a", "a", "odd"], Cancelled, "r0 not_run");
    check(&gate, &[], Cancelled, "r0 not_run");
}

const LONG: &str = "regex: 'x+!', max_span: 500, action: reject";

fn holds_too_long(on_gate_error: &str) -> Arc<RuleSet> {
    let head = format!(
        "mode: enforce\non_gate_error: {on_gate_error}\ncheckpoint: {{max_hold_tokens: 4}}"
    );
    let zebra = "phrases: [\"zebra\"], action: flag";
    ruleset(&head, &[LONG, zebra, "phrases: [\"odd\"], action: flag"])
}

#[test]
fn an_error_of_the_gate_is_never_a_pass() {
    let other = ruleset("mode: enforce", &["phrases: [\"zebra\"], action: reject"]);
    let tokens = ["odd ", "x", "x", "x", "x", "x", "x"];
    let expected = "r0 error, r1 error, r2 fail 1 flag | r0 pass";
    for on_gate_error in ["flag", "reject"] {
        for ending in [Natural, Cancelled] {
            let sets = [holds_too_long(on_gate_error), other.clone()];
            check(&gate(&sets), &tokens, ending, expected);
        }
    }
    let short = "r0 pass, r1 pass, r2 fail 1 flag | r0 pass";
    check(
        &gate(&[holds_too_long("reject"), other]),
        &tokens[..4],
        Natural,
        short,
    );
}

#[test]
fn a_refusal_by_another_rule_leaves_what_was_judged() {
    let gate = enforce(&[
        "phrases: [\"bad\"], action: reject",
        "phrases: [\"zebra\"], action: flag",
        "phrases: [\"worse\"], action: reject",
    ]);
    check(
        &gate,
        &["a ", "bad"],
        Natural,
        "r0 fail 1 reject, r1 pass, r2 pass",
    );
    // A match behind the one that refused is in no text that anybody sees.
    let expected = "r0 fail 1 reject, r1 pass, r2 not_run";
    check(&gate, &["a ", "bad, worse"], Natural, expected);
    check(
        &gate,
        &["a ", "worse, bad"],
        Natural,
        "r0 not_run, r1 pass, r2 fail 1 reject",
    );
}

#[test]
fn a_refusal_before_its_checkpoint_leaves_a_set_that_did_not_run() {
    let sets = [
        ruleset("mode: enforce", &["phrases: [\"bad\"], action: reject"]),
        ruleset(
            "mode: enforce\ncheckpoint: {every_tokens: 3}",
            &["phrases: [\"zebra\"], action: reject"],
        ),
    ];
    check(
        &gate(&sets),
        &["a ", "bad", "."],
        Natural,
        "r0 fail 1 reject | r0 not_run",
    );
    // What was released had its checkpoint.
    let tokens = ["a ", "a ", "a ", "bad", "."];
    check(&gate(&sets), &tokens, Natural, "r0 fail 1 reject | r0 pass");
}

#[test]
fn a_refusal_at_the_end_leaves_what_was_judged_there() {
    let gate = loaded(
        "- {id: r0, why: test, phrases: [bad], action: resample}\n\
         - {id: r1, why: test, language: {allow: [fr]}, action: reject}\n\
         - {id: r2, why: test, length: {max_tokens: 9}, action: reject}\n\
         - {id: r3, why: test, require: [bat], action: flag}\n\
         resample: {scope: completion, max_attempts: 1}\n\
         tests:\n- {rule: r0, should_pass: a}\n- {rule: r1, should_pass: a}\n\
         - {rule: r3, should_pass: bat}\n",
    );
    let english = "There is nothing in this sentence that a reader could take for French.";
    let expected = "r0 pass, r1 fail 1 reject, r2 pass, r3 fail 1 flag";
    check(&gate, &[english], Natural, expected);
    // Rolled back from the end, it has none any more.
    let mut state = gate.begin(false);
    let (sample, end) = (Sample::certain(0), Some(End::Natural));
    let text = "bat, bad";
    let verdict = state.check(Checkpoint { sample, text, end });
    assert_eq!(verdict, Verdict::Resample { keep_tokens: 0 });
    let rules = state.into_report().rules;
    assert_eq!(
        said(&rules),
        "r0 fail 1 resample, r1 not_run, r2 pass, r3 not_run"
    );
}

#[test]
fn what_lies_behind_a_stop_string_is_not_found() {
    let gate = enforce(&[
        "phrases: [\"bad\"], action: reject",
        "require: [\"a\", \"~\"], action: flag",
    ]);
    let state = || gate.begin(false).stopping_at(&["##".to_owned()], 0);
    let rules = report(state(), &["a ", "##bad"], Natural).rules;
    assert_eq!(said(&rules), "r0 pass, r1 pass");
    let rules = report(state(), &["b ", "##", " a"], Natural).rules;
    assert_eq!(said(&rules), "r0 pass, r1 fail 1 flag");
}

fn on_input() -> Gate {
    let rules = [
        "on: input, phrases: [\"odd\"], action: redact",
        "on: input, phrases: [\"bad\"], action: reject",
        "on: input, phrases: [\"zebra\"], action: flag",
        "phrases: [\"odd\"], action: flag",
    ];
    enforce(&rules)
}

#[track_caller]
fn check_input(texts: &[&str], expected: &str) {
    let texts = texts.iter().map(|text| (*text).to_owned());
    let rules = match on_input().check_input(texts) {
        Ok(admitted) => admitted.rules,
        Err(refused) => refused.rules,
    };
    assert_eq!(said(&rules), expected);
}

#[test]
fn rules_on_the_prompt_have_their_say_there() {
    check_input(&["a", "b"], "r0 pass, r1 pass, r2 pass");
    check_input(&["odd", "odd, odd"], "r0 fail 3 redact, r1 pass, r2 pass");
    // Everything was read before the refusal.
    check_input(
        &["a", "bad zebra"],
        "r0 pass, r1 fail 1 reject, r2 fail 1 flag",
    );
    check_input(&["bad", "a"], "r0 not_run, r1 fail 1 reject, r2 not_run");
    check_input(
        &["odd", "bad", "a"],
        "r0 fail 1 redact, r1 fail 1 reject, r2 not_run",
    );
    check_input(&[], "r0 not_run, r1 not_run, r2 not_run");
    let expected = "r0 not_run, r1 not_run, r2 not_run, r3 fail 1 flag";
    check(&on_input(), &["odd"], Natural, expected);
}

#[test]
fn a_candidate_beside_what_is_in_force_only_observes() {
    let set = ruleset(
        "mode: enforce",
        &["on: input, phrases: [\"bad\"], action: reject"],
    );
    let observed = Gate::new([portcullis_gate::BoundSet::observed(set)], Quota::NONE);
    let admitted = observed.check_input(["bad".to_owned()]).unwrap();
    assert_eq!(said(&admitted.rules), "r0 fail 1 observe");
}
