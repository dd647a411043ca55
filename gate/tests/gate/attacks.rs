//! Attacks on what is hidden: a caller chooses limits, stop strings and the number of choices, and
//! reads what comes out.

use std::sync::Arc;

use portcullis_gate::{BoundSet, Checkpoint, End, Gate, Quota, RuleSet, Verdict};

use crate::stream::{gate, ruleset, run, sample};

const SECRETS: [(&str, &str); 8] = [
    ("payment_card", "4111 1111 1111 1111"),
    ("payment_card", "4111\u{2011}1111\u{2011}1111\u{2011}1111"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("email", "jane.doe@example.com"),
    ("phone", "+49 30 901820"),
    ("us_ssn", "123-45-6789"),
    ("ipv4", "203.0.113.77"),
    ("ipv6", "2001:db8::8a2e:370:7334"),
];

/// What a reader sees of `tokens`, of which `end` cuts the last one off.
fn seen(gate: &Gate, tokens: &[&str], stops: &[String], end: End) -> String {
    let mut state = gate.begin(false).stopping_at(stops, 0);
    let mut seen = String::new();
    for (at, text) in tokens.iter().enumerate() {
        let verdict = state.check(Checkpoint {
            sample: sample(u32::try_from(at).unwrap()),
            text,
            end: (at + 1 == tokens.len()).then_some(end),
        });
        match verdict {
            Verdict::Continue(admitted) => seen += admitted.text(),
            Verdict::Stopped(admitted) => return seen + admitted.text(),
            Verdict::Resample { .. } | Verdict::Reject(_) => break,
        }
    }
    seen
}

/// The secret in tokens of `size` characters.
fn tokens(secret: &str, size: usize) -> Vec<String> {
    let text: Vec<char> = format!("It is {secret} .").chars().collect();
    text.chunks(size)
        .map(|piece| piece.iter().collect())
        .collect()
}

fn redacting(kind: &str, head: &str) -> Arc<RuleSet> {
    let rule = format!("pii: [{kind}], action: redact, with: \"#\"");
    ruleset(head, &[&rule])
}

const HEADS: [&str; 4] = [
    "mode: enforce",
    "mode: enforce\ncheckpoint: {every_tokens: 3}",
    "mode: enforce\ncheckpoint: {at: [end]}",
    "mode: enforce\nresample: {scope: completion}",
];

/// `max_tokens` at every place of a hidden number shows nothing of it.
#[test]
fn no_token_limit_shows_a_part_of_what_is_hidden() {
    for (kind, secret) in SECRETS {
        for head in HEADS {
            let gate = gate(&[redacting(kind, head)]);
            for size in 1..5 {
                let tokens = tokens(secret, size);
                let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
                for limit in 1..=tokens.len() {
                    let seen = seen(&gate, &tokens[..limit], &[], End::Cut);
                    let innocent = ["It is ", "It is # ."].map(|all| all.starts_with(&seen));
                    assert!(
                        innocent.contains(&true),
                        "{seen:?} of {secret:?} at {limit}"
                    );
                }
            }
        }
    }
}

/// Nor does a stop string that guesses a part of it, with or without a limit.
#[test]
fn no_stop_string_guesses_what_is_hidden() {
    for (kind, secret) in SECRETS {
        let gate = gate(&[redacting(kind, HEADS[0])]);
        let tokens = tokens(secret, 2);
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let starts: Vec<usize> = secret.char_indices().map(|(at, _)| at).collect();
        for &from in &starts {
            // One letter of it may stand elsewhere in the text.
            let guess = [secret[from..].chars().take(4).collect::<String>()];
            if guess[0].chars().count() < 4 {
                continue;
            }
            let all = seen(&gate, &tokens, &guess, End::Natural);
            assert_eq!(all, "It is # .", "{guess:?}");
            for limit in 1..tokens.len() {
                let with = seen(&gate, &tokens[..limit], &guess, End::Cut);
                let without = seen(&gate, &tokens[..limit], &[], End::Cut);
                assert_eq!(with, without, "{guess:?} at {limit}");
            }
        }
    }
}

/// Sets that look at different times, one of them only watching, hide no less together.
#[test]
fn sets_with_other_checkpoints_and_candidates_hide_no_less() {
    for (kind, secret) in SECRETS {
        let slow = redacting(kind, HEADS[2]);
        let other = ruleset(HEADS[0], &["phrases: [\"is\"], action: flag"]);
        let candidate = BoundSet::observed(redacting("us_ssn", HEADS[3]));
        let sets = [BoundSet::from(other), candidate, BoundSet::from(slow)];
        let gate = Gate::new(sets, Quota::NONE);
        let tokens = tokens(secret, 1);
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        assert_eq!(run(&gate, &tokens).text, "It is # .");
        for limit in 1..tokens.len() {
            let seen = seen(&gate, &tokens[..limit], &[], End::Cut);
            assert!("It is # .".starts_with(&seen), "{seen:?}");
        }
    }
}

/// Choices share no state: what one holds back does not come out of another.
#[test]
fn choices_side_by_side_hide_what_each_hides_alone() {
    let gate = gate(&[redacting("payment_card", HEADS[0])]);
    let texts = [
        "4111 1111 1111 1111.",
        "1111 1111 1111 4111.",
        "nothing to hide here",
    ];
    let mut states = texts.map(|_| gate.begin(true));
    let mut seen = texts.map(|_| String::new());
    for at in 0..texts[0].len() {
        for (choice, state) in states.iter_mut().enumerate() {
            let verdict = state.check(Checkpoint {
                sample: sample(0),
                text: &texts[choice][at..=at],
                end: (at + 1 == texts[0].len()).then_some(End::Natural),
            });
            let Verdict::Continue(admitted) = verdict else {
                panic!("{verdict:?}")
            };
            seen[choice] += admitted.text();
        }
    }
    assert_eq!(seen, ["#.", texts[1], texts[2]]);
}

/// Where no attempt is left, `then` acts at once, and a number is hidden through every way out.
#[test]
fn without_any_quota_then_acts_at_once() {
    for (then, text) in [
        ("reject", "It is "),
        ("redact", "It is # ."),
        ("flag", "It is 123-45-6789 ."),
    ] {
        let head = format!("mode: enforce\nresample: {{then: {then}}}");
        let rule = "pii: [us_ssn], action: resample, with: \"#\"";
        let set = ruleset(&head, &[rule]);
        for quota in [
            Quota::NONE,
            Quota {
                attempts_max: 9,
                discarded_tokens_max: 0,
            },
        ] {
            let gate = Gate::new([set.clone()], quota);
            let outcome = run(&gate, &["It is ", "123-", "45-67", "89", " ."]);
            assert_eq!((outcome.text.as_str(), outcome.resamples.len()), (text, 0));
            assert_eq!(outcome.flagged.len(), usize::from(then == "flag"));
        }
    }
}

/// Greedy draws and others hide the same.
#[test]
fn greedy_or_not_the_same_is_hidden() {
    let gate = gate(&[redacting("iban", HEADS[1])]);
    let tokens = tokens(SECRETS[2].1, 3);
    let seen = [false, true].map(|greedy| {
        let mut state = gate.begin(greedy);
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        crate::stream::run_with(&mut state, &tokens, |_, _| unreachable!()).text
    });
    assert_eq!(seen, ["It is # .", "It is # ."]);
}
