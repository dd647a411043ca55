//! Stop strings equal a search in the whole text, however the text is cut; what a rule replaces is
//! no place to stop at, and what lies behind a stop string refuses nothing.

use std::{ops::Range, sync::Arc};

use portcullis_gate::{Checkpoint, End, Gate, RuleSet, Verdict};
use portcullis_types::Sample;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::stream::{enforce, gate, ruleset, run_with};

/// What came out, and how it ended.
#[derive(Debug, PartialEq)]
struct Streamed {
    text: String,
    stopped: bool,
    refused: bool,
}

/// Runs the pieces; the last one ends the completion.
fn streamed(gate: &Gate, pieces: &[&str], stops: &[&str], skip: usize) -> Streamed {
    let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
    let mut state = gate.begin(false).stopping_at(&stops, skip);
    let mut streamed = Streamed {
        text: String::new(),
        stopped: false,
        refused: false,
    };
    for (index, text) in pieces.iter().enumerate() {
        let end = (index + 1 == pieces.len()).then_some(End::Natural);
        let sample = Sample::certain(0);
        match state.check(Checkpoint { sample, text, end }) {
            Verdict::Continue(admitted) => streamed.text += admitted.text(),
            Verdict::Stopped(admitted) => {
                streamed.text += admitted.text();
                streamed.stopped = true;
                break;
            }
            Verdict::Resample { .. } | Verdict::Reject(_) => {
                streamed.refused = true;
                break;
            }
        }
    }
    streamed
}

/// The stop string that is complete first and touches none of `void`.
fn first_stop(text: &str, stops: &[&str], void: &[Range<usize>]) -> Option<Range<usize>> {
    let ends = text.char_indices().map(|(start, c)| start + c.len_utf8());
    for end in ends {
        let met = stops.iter().filter(|stop| !stop.is_empty());
        let met = met.filter(|stop| text[..end].ends_with(**stop));
        let mut met: Vec<Range<usize>> = met.map(|stop| end - stop.len()..end).collect();
        met.retain(|met| !void.iter().any(|v| v.start < met.end && met.start < v.end));
        if let Some(longest) = met.into_iter().min_by_key(|met| met.start) {
            return Some(longest);
        }
    }
    None
}

fn strs(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn equals_the_search_in_the_whole(
        pieces in vec("[abé👋]{0,4}", 1..8),
        stops in vec("[abé👋]{0,4}", 0..4),
    ) {
        let whole = pieces.concat();
        let stop = first_stop(&whole, &strs(&stops), &[]);
        let expected = Streamed {
            text: whole[..stop.as_ref().map_or(whole.len(), |stop| stop.start)].to_owned(),
            stopped: stop.is_some(),
            refused: false,
        };
        prop_assert_eq!(streamed(&Gate::open(), &strs(&pieces), &strs(&stops), 0), expected);
    }

    /// With a rule that replaces, and one that refuses, beside the stop strings.
    #[test]
    fn equals_the_search_in_what_is_not_replaced(
        pieces in vec("[abcd]{0,4}", 1..8),
        stops in vec("[abcd]{1,3}", 0..3),
        every in 1..4_usize,
        scope in prop::sample::select(vec!["segment", "completion"]),
    ) {
        let head = format!(
            "mode: enforce\ncheckpoint: {{every_tokens: {every}}}\nresample: {{scope: {scope}}}"
        );
        let gate = gate(&[ruleset(&head, &[
            "phrases: [\"bca\"], normalise: none, action: redact, with: \"#\"",
            "phrases: [\"dad\"], normalise: none, action: reject",
        ])]);
        let whole = pieces.concat();
        let all = |phrase: &str| {
            let starts = (0..whole.len()).filter(|at| whole[*at..].starts_with(phrase));
            starts.map(|at| at..at + phrase.len()).collect::<Vec<_>>()
        };
        let (replaced, refused) = (all("bca"), all("dad"));
        let stop = first_stop(&whole, &strs(&stops), &replaced);
        let end = stop.as_ref().map_or(whole.len(), |stop| stop.end);
        let out = streamed(&gate, &strs(&pieces), &strs(&stops), 0);
        if refused.iter().any(|refused| refused.start < end) {
            // A match that begins before the stop string is complete refuses.
            prop_assert!(out.refused, "{out:?}");
        } else {
            let kept = &whole[..stop.as_ref().map_or(whole.len(), |stop| stop.start)];
            prop_assert_eq!(out, Streamed {
                text: kept.replace("bca", "#"),
                stopped: stop.is_some(),
                refused: false,
            });
        }
    }
}

#[test]
fn a_stop_string_may_come_in_pieces() {
    let pieces = ["Yes.\n", "Us", "e", "ful.\nUse", "r: and on"];
    let out = streamed(&Gate::open(), &pieces, &["\nUser:", "</end>"], 0);
    assert_eq!((out.text.as_str(), out.stopped), ("Yes.\nUseful.", true));
}

#[test]
fn the_first_tokens_may_be_passed_over() {
    let out = streamed(&Gate::open(), &["ab", "ab", "xab", "c"], &["ab", "bx"], 2);
    assert_eq!((out.text.as_str(), out.stopped), ("ababx", true));
}

/// A caller who guesses digit after digit must not be told by where the answer stops.
#[test]
fn a_redacted_number_cannot_be_guessed_with_stop_strings() {
    let gate = enforce(&["regex: 'AC-[0-9]{8}', action: redact, with: \"[account]\""]);
    let pieces = ["It is ", "AC", "-", "20", "481", "631", ". Bye."];
    let plain = streamed(&gate, &pieces, &[], 0);
    assert_eq!(plain.text, "It is [account]. Bye.");
    for guess in ["AC-2", "AC-20481631", "2", "481", "631", "-20", "8", " AC"] {
        assert_eq!(streamed(&gate, &pieces, &[guess], 0), plain, "{guess}");
    }
    // What is not part of it still stops.
    let out = streamed(&gate, &pieces, &["Bye"], 0);
    assert_eq!(
        (out.text.as_str(), out.stopped),
        ("It is [account]. ", true)
    );
}

#[test]
fn what_lies_behind_a_stop_string_refuses_nothing() {
    let gate = enforce(&["phrases: [\"secret\"], action: reject"]);
    let out = streamed(&gate, &["All done.END the secret", " is"], &["END"], 0);
    assert_eq!((out.text.as_str(), out.stopped), ("All done.", true));
    // Nor does it when the stop string could have been the beginning of a match.
    let out = streamed(&gate, &["All done.", "sec", "ret", "x"], &["sec"], 0);
    assert!(out.refused);
    let out = streamed(
        &gate,
        &["All done.", "sec", "tion secret", "x"],
        &["sec"],
        0,
    );
    assert_eq!((out.text.as_str(), out.stopped), ("All done.", true));
}

/// The text is judged once more as what it is after the cut: a disclosure behind it is missing.
#[test]
fn the_end_is_judged_after_the_cut() {
    let set = "ruleset: test\nversion: 1\nmode: enforce\nresample: {scope: completion}\nrules:\n\
               - {id: r, why: test, require: \"at risk\", action: reject}\ntests:\n\
               - {rule: r, should_fail: \"Buy.\"}\n";
    let set = RuleSet::load(set.as_bytes()).unwrap();
    let gate = gate(&[Arc::new(set)]);
    let said = ["Buy.", " END Capital is at risk", "."];
    assert!(!streamed(&gate, &said, &[], 0).refused);
    assert!(streamed(&gate, &said, &["END"], 0).refused);
}

/// A roll-back from a stop string is no reason to forget the stop strings.
#[test]
fn stop_strings_outlive_a_roll_back() {
    let set = "ruleset: test\nversion: 1\nmode: enforce\nresample: {scope: completion}\nrules:\n\
               - {id: r, why: test, require: \"at risk\", action: resample}\ntests:\n\
               - {rule: r, should_fail: \"Buy.\"}\n";
    let gate = gate(&[Arc::new(RuleSet::load(set.as_bytes()).unwrap())]);
    let mut state = gate.begin(false).stopping_at(&["END".to_owned()], 0);
    let drafts = [["Buy.", "END", " on"], ["at risk.", "END", " and on"]];
    let outcome = run_with(&mut state, &drafts[0], |attempt, at| {
        drafts[attempt as usize][at].to_owned()
    });
    assert_eq!(outcome.resamples, [0]);
    assert_eq!(outcome.text, "at risk.");
}

/// A disclosure that is missing must not keep a stop string from ending the answer.
#[test]
fn rules_on_the_whole_do_not_keep_it_from_ending() {
    let set = "ruleset: test\nversion: 1\nmode: enforce\nresample: {scope: completion}\nrules:\n\
               - {id: r, why: test, require: \"at risk\", action: reject}\n\
               - {id: s, why: test, logits: {mean_entropy_max: 9, window: 8}, action: reject}\n\
               tests:\n- {rule: r, should_fail: \"Buy.\"}\n";
    let gate = gate(&[Arc::new(RuleSet::load(set.as_bytes()).unwrap())]);
    let mut state = gate.begin(false).stopping_at(&["END".to_owned()], 0);
    let tokens = ["at risk.", "END", " and", " on", " and", " on"];
    let outcome = run_with(&mut state, &tokens, |_, _| unreachable!());
    assert_eq!(
        (outcome.text.as_str(), outcome.pieces.len()),
        ("at risk.", 2)
    );
}

/// What was replaced and is out, with an invisible character behind it, is no reason to refuse when
/// the text is read again.
#[test]
fn what_was_replaced_stays_replaced_when_it_is_read_again() {
    let gate = enforce(&["phrases: [\"b\"], whole_word: true, action: redact, with: \"#\""]);
    let pieces = ["b\u{200b}", " b", "aa"];
    let out = streamed(&gate, &pieces, &["b"], 0);
    assert_eq!(
        (out.text.as_str(), out.stopped, out.refused),
        ("#\u{200b} ", true, false)
    );
}
