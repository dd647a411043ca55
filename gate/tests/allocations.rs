//! In the steady state the gate allocates nothing of its own: a token whose text matches nothing
//! costs what [`Admitted`] takes away, its text and its list of samples, and no more.

use std::sync::Arc;

use portcullis_gate::{Admitted, Checkpoint, Gate, GateState, Quota, RuleSet, Verdict};
use portcullis_types::Sample;

/// Tokens until every buffer has grown to what it needs.
const WARM_UP_TOKENS: usize = 3_000;
const TOKENS: usize = 10_000;

/// Every way in which rules read text: three folds, checks, spans that stay open, word boundaries,
/// and judges that look at tokens. (A rule on the language keeps the text as a whole, which grows.)
const RULES: &str = r#"ruleset: steady
version: 1
mode: enforce
rules:
- {id: promise, why: test, phrases: ["guaranteed return", "risk-free profit"], action: resample}
- {id: word, why: test, phrases: ["the best fund"], whole_word: true, normalise: basic, action: resample}
- {id: account, why: test, regex: '(?-u:\b)AC-[0-9]{8}(?-u:\b)', action: redact}
- {id: open, why: test, regex: 'm[a-z ]+!', max_span: 90, action: redact}
- {id: pii, why: test, pii: [email, phone, iban, payment_card, us_ssn, ipv4, ipv6], action: redact}
- {id: short, why: test, length: {max_characters: 10000000}, action: reject}
- {id: sure, why: test, logits: {mean_entropy_max: 2.5, window: 32}, action: flag}
tests:
- {rule: promise, should_fail: "a guaranteed return"}
- {rule: word, should_fail: "the best fund"}
- {rule: account, should_fail: "AC-12345678"}
- {rule: open, should_fail: "my word!"}
- {rule: pii, should_fail: "a@example.com"}
- {rule: short, should_pass: "short"}
"#;

const WORDS: [&str; 20] = [
    "No",
    " return",
    " is",
    " guarant",
    "eed",
    " risk",
    "-",
    "free",
    " pro",
    "ducts",
    " AC",
    "-1234567",
    " x",
    " 4111",
    " 1111",
    ".\n",
    "Привет",
    " naïve",
    "\u{2019}s",
    " 日本",
];

#[test]
fn a_token_that_matches_nothing_costs_no_allocation_but_what_it_gives_away() {
    let set = RuleSet::load(RULES.as_bytes()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let gate = Gate::new([Arc::new(set)], Quota::default());
    let mut state = gate.begin(false).stopping_at(&["\nUser:".to_owned()], 0);
    for index in 0..WARM_UP_TOKENS {
        check(&mut state, index);
    }
    for index in WARM_UP_TOKENS..WARM_UP_TOKENS + TOKENS {
        let mut admitted = None;
        let made = allocation_counter::measure(|| admitted = Some(check(&mut state, index)));
        let admitted = admitted.expect("the closure was run");
        assert_eq!(
            made.count_total,
            given_away(&admitted),
            "token {index}: {admitted:?}"
        );
    }
    assert_eq!(state.report().findings_total, 0, "{:?}", state.report());
}

fn check(state: &mut GateState, index: usize) -> Admitted {
    let verdict = state.check(Checkpoint {
        sample: Sample::certain(1),
        text: WORDS[index % WORDS.len()],
        end: None,
    });
    match verdict {
        Verdict::Continue(admitted) => admitted,
        other => panic!("{other:?}"),
    }
}

/// The text, and the list of samples.
fn given_away(admitted: &Admitted) -> u64 {
    u64::from(!admitted.text().is_empty()) + u64::from(!admitted.samples().is_empty())
}
