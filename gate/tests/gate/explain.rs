//! `RuleSet::explain`: what it says is what the gate does.

use portcullis_gate::{Explanation, Holds, NothingHeld, RuleSet, Side};

use crate::stream::{enforce, ruleset, run};

fn explain(head: &str, rules: &[&str]) -> Explanation {
    ruleset(head, rules).explain()
}

#[track_caller]
fn check_holds(head: &str, rule: &str, expected: Holds) {
    assert_eq!(explain(head, &[rule]).rules[0].holds, expected, "{rule}");
}

#[test]
fn phrases_are_shown_as_they_are_looked_for() {
    let rules = ["phrases: [\"Gu\\u0430ranteed  Return\", \"x\"], action: flag"];
    let explained = explain("mode: enforce", &rules);
    let patterns = &explained.rules[0].patterns;
    assert_eq!(patterns[0].looks_for, "guaranteed return");
    assert_eq!(patterns[0].longest_match_bytes, 17);
    assert!(!patterns[0].looks_ahead);
    assert_eq!(explained.rules[0].automata, [0]);
    let automaton = &explained.automata[0];
    assert_eq!((automaton.patterns, automaton.on), (2, Side::Output));
    assert!(automaton.states > 17 && automaton.memory_bytes > 0);
}

#[test]
fn rules_of_one_view_and_hold_share_an_automaton() {
    let rules = [
        "regex: 'a{2,5}', action: redact",
        "regex: 'b(?-u:\\b)', action: redact",
        "regex: 'c+', max_span: 7, action: redact",
        "pii: [iban], on: input, action: redact",
    ];
    let explained = explain("mode: enforce", &rules);
    let of = |rule: usize| &explained.rules[rule];
    assert_eq!(of(0).automata, of(1).automata);
    assert_ne!(of(0).automata, of(2).automata);
    assert_eq!(explained.automata[of(3).automata[0]].on, Side::Input);
    assert_eq!(of(0).patterns[0].longest_match_bytes, 5);
    assert!(of(1).patterns[0].looks_ahead);
    assert_eq!(of(2).patterns[0].longest_match_bytes, 7);
    assert!(of(3).patterns[0].check.is_some());
}

#[test]
fn what_waits_is_told_by_action_kind_and_scope() {
    let enforce = "mode: enforce";
    check_holds(enforce, "phrases: [abc], action: redact", Holds::Bytes(3));
    let notes = Holds::Nothing(NothingHeld::OnlyNotes);
    check_holds(enforce, "phrases: [abc], action: flag", notes);
    check_holds("mode: observe", "phrases: [abc], action: reject", notes);
    check_holds(enforce, "grammar: {regex: '~+'}, action: flag", notes);
    let mask = Holds::Nothing(NothingHeld::Mask);
    check_holds(enforce, "grammar: {regex: '~+'}, action: reject", mask);
    let input = Holds::Nothing(NothingHeld::OnInput);
    check_holds(enforce, "phrases: [abc], on: input, action: reject", input);
    let at_once = Holds::Nothing(NothingHeld::KnownAtOnce);
    check_holds(
        enforce,
        "length: {max_characters: 9}, action: reject",
        at_once,
    );
    let whole = "mode: enforce\nresample: {scope: completion}";
    check_holds(whole, "phrases: [abc], action: reject", Holds::All);
}

#[test]
fn a_window_of_tokens_waits() {
    let yaml = "ruleset: t\nversion: 1\nmode: enforce\nrules:\n- {id: r, why: w, logits: \
                {mean_entropy_max: 1, window: 8}, action: reject}\n";
    let explained = RuleSet::load(yaml.as_bytes()).unwrap().explain();
    assert_eq!(explained.rules[0].holds, Holds::Tokens(7));
}

/// The number of bytes that wait is the most that ever do: all but the last byte of a match, and
/// one more where the character after it decides.
#[test]
fn the_bytes_that_are_told_do_wait() {
    let rule = "regex: 'ab{1,6}c', action: redact";
    let Holds::Bytes(told) = explain("mode: enforce", &[rule]).rules[0].holds else {
        panic!("it holds text back");
    };
    let tokens = ["x", "a", "b", "b", "b", "b", "b", "b", "d"];
    let outcome = run(&enforce(&[rule]), &tokens);
    let released: Vec<usize> = outcome.pieces.iter().map(String::len).collect();
    assert_eq!(released, [1, 0, 0, 0, 0, 0, 0, 0, 8]);
    assert_eq!(told, 8);
}
