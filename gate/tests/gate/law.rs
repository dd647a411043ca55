//! The law of the gate: however a text is cut into tokens, what is released equals what a scan of
//! the whole text allows. Set `PROPTEST_CASES` for more than the normal run's 20,000 streams.

use std::{fmt::Write, sync::Arc};

use portcullis_gate::{Action, Checkpoint, End, Gate, Mode, Quota, RuleSet, Scope, Then, Verdict};
use proptest::prelude::*;

use crate::{
    oracle::{ALPHABET, Scanner, Whole, redact, scan},
    stream::{Outcome, run, sample},
};

/// Streams for each rule set.
const STREAMS: usize = 80;

fn text(len: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let character = prop_oneof![
        // Mostly what patterns are made of, so that matches are frequent.
        5 => prop::sample::select(vec!['a', 'b', 'c', ' ']),
        2 => prop::sample::select(ALPHABET.map(|entry| entry.0).to_vec()),
    ];
    prop::collection::vec(character, len).prop_map(String::from_iter)
}

/// A text cut at random places, also where nothing lies between.
pub(crate) fn tokens() -> impl Strategy<Value = Vec<String>> {
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..10);
    (text(1..18), cuts).prop_map(|(text, cuts)| {
        let boundaries: Vec<usize> = (0..=text.len())
            .filter(|&at| text.is_char_boundary(at))
            .collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.get(&boundaries)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        cuts.windows(2)
            .map(|cut| text[cut[0]..cut[1]].to_owned())
            .collect()
    })
}

fn phrases() -> impl Strategy<Value = String> {
    let phrase = text(1..4).prop_filter("something must show", |text| {
        !text
            .chars()
            .all(|c| c.is_whitespace() || "\u{200B}\u{0301}".contains(c))
    });
    let normalise = prop::sample::select(vec!["none", "basic", "strict"]);
    let list = prop::collection::vec(phrase, 1..3);
    (list, normalise, any::<bool>()).prop_map(|(phrases, normalise, whole_word)| {
        let quoted = phrases.iter().map(|phrase| {
            let escaped = phrase.chars().map(|c| format!("\\U{:08X}", c as u32));
            format!("\"{}\"", escaped.collect::<String>())
        });
        let list = quoted.collect::<Vec<_>>().join(", ");
        format!("phrases: [{list}], normalise: {normalise}, whole_word: {whole_word}")
    })
}

fn regex() -> impl Strategy<Value = String> {
    let atom = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "[ab]",
        "(?:ab|ba)",
        " ",
        "[a-c]",
        "(?:a|bc)",
    ]);
    let many = prop::sample::select(vec!["", "", "?", "{1,2}", "+", "*"]);
    let part = (atom.clone(), many).prop_map(|(atom, many)| format!("{atom}{many}"));
    let before = prop::collection::vec(part.clone(), 0..3).prop_map(|parts| parts.concat());
    let after = prop::collection::vec(part, 0..3).prop_map(|parts| parts.concat());
    let first = prop::sample::select(vec!["", "", "", "^", "(?m)^", "(?-u:\\b)"]);
    let last = prop::sample::select(vec!["", "", "", "$", "(?m)$", "(?-u:\\b)"]);
    let options = (prop::sample::select(vec!["none", "basic"]), 1..9_usize);
    let pattern =
        (first, before, atom, after, last).prop_map(|(first, before, atom, after, last)| {
            format!("{first}{before}{atom}{after}{last}")
        });
    (pattern, options).prop_map(|(pattern, (normalise, max_span))| {
        format!("regex: '{pattern}', normalise: {normalise}, max_span: {max_span}")
    })
}

fn rule() -> impl Strategy<Value = String> {
    let action = prop_oneof![
        4 => Just("redact"),
        2 => Just("resample"),
        1 => Just("reject"),
        1 => Just("flag"),
        1 => Just("observe"),
    ];
    (prop_oneof![phrases(), regex()], action).prop_map(|(kind, action)| {
        let with = if matches!(action, "redact" | "resample") {
            ", with: \"#\""
        } else {
            ""
        };
        format!("{kind}, action: {action}{with}")
    })
}

/// A rule set as text, in enforce and in observe.
pub(crate) fn ruleset() -> impl Strategy<Value = (Arc<RuleSet>, Arc<RuleSet>)> {
    let rules = prop::collection::vec(rule(), 1..5);
    let then = prop::sample::select(vec!["reject", "redact", "flag"]);
    let scope = prop::sample::select(vec!["segment", "segment", "completion"]);
    let checkpoint = prop::sample::select(vec![
        "every_tokens: 1",
        "every_tokens: 3",
        "at: [sentence]",
        "at: [end]",
    ]);
    (rules, then, scope, checkpoint).prop_map(|(rules, then, scope, checkpoint)| {
        let mut yaml = format!(
            "ruleset: law\nversion: 1\ncheckpoint: {{{checkpoint}}}\n\
             resample: {{max_attempts: 3, scope: {scope}, then: {then}}}\nrules:\n"
        );
        for (index, rule) in rules.iter().enumerate() {
            writeln!(yaml, "- {{id: r{index}, why: law, {rule}}}").unwrap();
        }
        yaml += "tests:\n";
        for index in 0..rules.len() {
            writeln!(yaml, "- {{rule: r{index}, should_pass: \"zz\"}}").unwrap();
        }
        let load = |mode: &str| {
            let yaml = format!("mode: {mode}\n{yaml}");
            Arc::new(RuleSet::load(yaml.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{yaml}")))
        };
        (load("enforce"), load("observe"))
    })
}

/// The rules with what they come to when no roll-back is allowed.
fn oracle(set: &RuleSet) -> Vec<(Scanner, Action, String)> {
    set.rules()
        .map(|rule| {
            let action = match (rule.action, set.resample().then) {
                (Action::Resample, Then::Flag) => Action::Flag,
                (Action::Resample, Then::Redact) => Action::Redact,
                (action, _) => action,
            };
            (Scanner::new(rule), action, rule.with.to_string())
        })
        .collect()
}

fn byte_ends(tokens: &[&str]) -> Vec<usize> {
    let lens = tokens.iter().map(|token| token.len());
    lens.scan(0, |at, len| {
        *at += len;
        Some(*at)
    })
    .collect()
}

fn check_stream(outcome: &Outcome, whole: &Whole, tokens: &[&str]) {
    let text = tokens.concat();
    let ends = byte_ends(tokens);
    let released = match outcome.released_tokens {
        0 => 0,
        count => ends[count - 1],
    };
    let (expected, covered) = redact(&text, released, &whole.redactions);
    assert_eq!(outcome.text, expected);
    match whole.refused_from {
        Some(start) => {
            assert!(outcome.refusal.is_some(), "a match went through");
            assert!(
                released <= start,
                "{released} bytes out, a match from {start}"
            );
        }
        None => {
            assert_eq!(outcome.refusal, None, "refused without a match");
            assert_eq!(outcome.released_tokens, tokens.len());
            assert_eq!(whole.flagged, !outcome.flagged.is_empty());
        }
    }
    for &token in &outcome.samples {
        let end = ends[token as usize];
        let start = end - tokens[token as usize].len();
        assert!(
            !covered[start..end].contains(&true),
            "the sample of a redacted token is out"
        );
    }
}

proptest! {
    #[test]
    fn what_is_released_equals_a_scan_of_the_whole_text(
        (enforce, observe) in ruleset(),
        streams in prop::collection::vec(tokens(), STREAMS),
    ) {
        let rules = oracle(&enforce);
        let gate = Gate::new(vec![enforce], Quota::NONE);
        let watched = Gate::new(vec![observe], Quota::default());
        for tokens in &streams {
            let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
            let whole = scan(&rules, &tokens.concat());
            check_stream(&run(&gate, &tokens), &whole, &tokens);
            // Watched text comes as through the open gate: the same bytes with the same token.
            let seen = run(&watched, &tokens);
            prop_assert_eq!(&seen.pieces, &tokens);
            prop_assert_eq!(seen.samples.len(), tokens.len());
        }
    }

    #[test]
    fn what_is_released_holds_through_roll_backs(
        (enforce, observe) in ruleset(),
        drafts in prop::collection::vec(prop::collection::vec(tokens(), 4), STREAMS / 4),
    ) {
        let rules: Vec<_> = oracle(&enforce);
        let quota = Quota { attempts_max: 5, discarded_tokens_max: 40 };
        let gate = Gate::new(vec![enforce.clone(), observe], quota);
        for drafts in &drafts {
            let (written, outcome) = write_drafts(&gate, drafts);
            if outcome.refusal.is_none() {
                check_written(&enforce, &rules, &written, &outcome);
            }
            prop_assert!(outcome.resamples.len() <= 5);
        }
    }
}

/// Writes a completion whose tokens come from the next draft after each roll-back.
fn write_drafts(gate: &Gate, drafts: &[Vec<String>]) -> (String, Outcome) {
    let mut state = gate.begin(false);
    let mut outcome = Outcome::default();
    let mut written: Vec<String> = Vec::new();
    let mut fresh = 0;
    loop {
        let draft = &drafts[state.attempt() as usize % drafts.len()];
        let text = &draft[fresh % draft.len()];
        fresh += 1;
        written.push(text.clone());
        let end = written.len() >= 12;
        match state.check(Checkpoint {
            sample: sample(0),
            text,
            end: end.then_some(End::Natural),
        }) {
            Verdict::Continue(admitted) | Verdict::Stopped(admitted) => {
                outcome.text += admitted.text();
                outcome.released_tokens += admitted.num_tokens();
                if end {
                    assert_eq!(outcome.released_tokens, written.len());
                    return (written.concat(), outcome);
                }
            }
            Verdict::Resample { keep_tokens } => {
                assert_eq!(keep_tokens, outcome.released_tokens);
                written.truncate(keep_tokens);
                outcome.resamples.push(keep_tokens);
            }
            Verdict::Reject(refusal) => {
                outcome.refusal = Some(refusal);
                return (written.concat(), outcome);
            }
        }
    }
}

fn check_written(
    set: &RuleSet,
    rules: &[(Scanner, Action, String)],
    written: &str,
    outcome: &Outcome,
) {
    assert_eq!(set.mode(), Mode::Enforce);
    let whole = scan(rules, written);
    assert_eq!(whole.refused_from, None, "a match is out after roll-backs");
    let (expected, covered) = redact(written, written.len(), &whole.redactions);
    if outcome.resamples.is_empty() || set.resample().scope == Scope::Completion {
        // A `then: redact` may have found another continuation instead.
        let drawn_again = !outcome.resamples.is_empty();
        assert!(drawn_again || outcome.text == expected);
    }
    assert!(
        is_redaction_of(&outcome.text, written, &covered),
        "{:?} of {written:?}",
        outcome.text
    );
}

/// Whether `text` is `written` with at least the covered bytes replaced by `#`. After a roll-back
/// it may be more: what was replaced is out as such, and the text behind it can change.
fn is_redaction_of(text: &str, written: &str, covered: &[bool]) -> bool {
    let characters: Vec<(usize, char)> = written.char_indices().collect();
    // Places in `written` that the text so far can have come to.
    let mut places = vec![false; characters.len() + 1];
    places[0] = true;
    for next in text.chars() {
        let mut after = vec![false; characters.len() + 1];
        for at in (0..characters.len()).filter(|&at| places[at]) {
            if next == '#' {
                after[at + 1..].fill(true);
            } else if characters[at].1 == next && !covered[characters[at].0] {
                after[at + 1] = true;
            }
        }
        places = after;
    }
    places[characters.len()]
}
