//! Retries of draws that repeat themselves: exactly what was refused is taken away.

use portcullis_gate::{Checkpoint, End, Gate, Quota, Verdict};
use portcullis_types::{Sample, TokenId};

use crate::stream::{enforce, ruleset, sample};

/// A toy model: what follows depends on the last token only.
const VOCABULARY: [&str; 5] = ["a", "b", "c", "d", "."];
const NEXT: [[f32; 5]; 6] = [
    [0.10, 0.55, 0.25, 0.05, 0.05], // after a
    [0.30, 0.10, 0.40, 0.10, 0.10], // after b
    [0.25, 0.25, 0.25, 0.15, 0.10], // after c
    [0.20, 0.20, 0.20, 0.20, 0.20], // after d
    [0.20, 0.20, 0.20, 0.20, 0.20], // after .
    [0.60, 0.15, 0.10, 0.10, 0.05], // at the start
];

fn distribution(last: Option<TokenId>) -> [f32; 5] {
    NEXT[last.map_or(5, |token| token as usize)]
}

fn draw(token: TokenId, last: Option<TokenId>) -> Sample {
    Sample {
        drawn_logprob: distribution(last)[token as usize].ln(),
        ..sample(token)
    }
}

/// Writes `len` tokens greedily under the mask; gives them, or `None` where the gate refused.
fn write(gate: &Gate, len: usize) -> (Option<Vec<TokenId>>, u32) {
    let mut state = gate.begin(true);
    let mut tokens: Vec<TokenId> = Vec::new();
    while tokens.len() < len {
        let last = tokens.last().copied();
        let mut scores = distribution(last).map(f32::ln);
        for (token, excluded) in state.mask_after(&[]).exclusions {
            scores[token as usize] += excluded;
        }
        let best = (0..5)
            .max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
            .unwrap();
        let token = TokenId::try_from(best).unwrap();
        tokens.push(token);
        let end = tokens.len() == len;
        let text = VOCABULARY[best];
        match state.check(Checkpoint {
            sample: draw(token, last),
            text,
            end: end.then_some(End::Natural),
        }) {
            Verdict::Continue(_) | Verdict::Stopped(_) => {}
            Verdict::Resample { keep_tokens } => tokens.truncate(keep_tokens),
            Verdict::Reject(_) => return (None, state.attempt()),
        }
    }
    (Some(tokens), state.attempt())
}

#[test]
fn a_greedy_retry_does_not_repeat_what_was_refused() {
    // Greedy writes a b c; then a b is still the best way, with another end.
    let gate = enforce(&["phrases: [\"abc\"], action: resample"]);
    let (tokens, attempts) = write(&gate, 3);
    assert_eq!((tokens.unwrap(), attempts), (vec![0, 1, 0], 1));
}

#[test]
fn the_first_token_of_a_refused_phrase_is_not_banned() {
    let gate = enforce(&["phrases: [\"abc\"], action: resample"]);
    let mut state = gate.begin(true);
    let path: [(TokenId, Option<TokenId>); 3] = [(0, None), (1, Some(0)), (2, Some(1))];
    for (index, (token, last)) in path.into_iter().enumerate() {
        let text = VOCABULARY[token as usize];
        let verdict = state.check(Checkpoint {
            sample: draw(token, last),
            text,
            end: None,
        });
        assert_eq!(
            matches!(verdict, Verdict::Resample { keep_tokens: 0 }),
            index == 2
        );
    }
    // After the roll-back: P(bc | a) = 0.55 * 0.4 is gone from a, P(c | ab) = 0.4 from b.
    let first = state.mask_after(&[]).exclusions;
    assert_eq!((first.len(), first[0].0), (1, 0));
    assert!((first[0].1 - 0.78_f32.ln()).abs() < 1e-6);
    let second = state.mask_after(&[0]).exclusions;
    assert!((second[0].1 - 0.6_f32.ln()).abs() < 1e-6);
    assert_eq!(
        state.mask_after(&[0, 1]).exclusions,
        [(2, f32::NEG_INFINITY)]
    );
    // Anywhere else nothing changes.
    assert!(state.mask_after(&[1]).is_empty());
    assert!(state.mask_after(&[0, 1, 0]).is_empty());
    assert!(state.report().sampling_modified);
}

#[test]
fn the_mask_is_gone_once_the_place_is_passed() {
    let gate = enforce(&["phrases: [\"abc\"], action: resample"]);
    let mut state = gate.begin(true);
    for token in [0, 1, 2] {
        let text = VOCABULARY[token as usize];
        state.check(Checkpoint {
            sample: draw(token, None),
            text,
            end: None,
        });
    }
    assert!(!state.mask_after(&[]).is_empty());
    state.check(Checkpoint {
        sample: draw(3, None),
        text: "d",
        end: None,
    });
    assert!(state.mask_after(&[]).is_empty());
    assert!(state.mask_after(&[0, 1]).is_empty());
}

#[test]
fn each_refused_continuation_is_drawn_once() {
    let head = "mode: enforce\nresample: {max_attempts: 64}";
    let rule = "phrases: [\"a\", \"b\", \"c\", \"d\"], normalise: none, action: resample";
    let quota = Quota {
        attempts_max: 64,
        discarded_tokens_max: 1_000,
    };
    let gate = Gate::new(vec![ruleset(head, &[rule])], quota);
    // Four tokens are refused one after the other, each once.
    let (tokens, attempts) = write(&gate, 1);
    assert_eq!((tokens.unwrap(), attempts), (vec![4], 4));
}

#[test]
fn fresh_draws_need_no_mask() {
    let gate = enforce(&["phrases: [\"a\"], action: resample"]);
    let mut state = gate.begin(false);
    let verdict = state.check(Checkpoint {
        sample: sample(0),
        text: "a",
        end: None,
    });
    assert_eq!(verdict, Verdict::Resample { keep_tokens: 0 });
    assert!(state.mask_after(&[]).is_empty());
    assert!(!state.report().sampling_modified);
}
