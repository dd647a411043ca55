//! Retries of draws that repeat themselves: exactly what was refused is taken away.

use portcullis_gate::{Checkpoint, End, Gate, GateState, Quota, Verdict};
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
        for (token, excluded) in state.mask_after(&[]).weights {
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
    let first = state.mask_after(&[]).weights;
    assert_eq!((first.len(), first[0].0), (1, 0));
    assert!((first[0].1 - 0.78_f32.ln()).abs() < 1e-6);
    let second = state.mask_after(&[0]).weights;
    assert!((second[0].1 - 0.6_f32.ln()).abs() < 1e-6);
    assert_eq!(state.mask_after(&[0, 1]).weights, [(2, f32::NEG_INFINITY)]);
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

/// Draws "ab", which is refused, with probability `likely` for each token.
fn refused_with_tokens_of(likely: f32) -> GateState {
    let gate = enforce(&["phrases: [\"ab\"], action: resample"]);
    let mut state = gate.begin(false);
    for (token, text) in [(0, "a"), (1, "b")] {
        state.check(Checkpoint {
            sample: Sample {
                drawn_logprob: likely.ln(),
                ..sample(token)
            },
            text,
            end: None,
        });
    }
    assert_eq!(state.attempt(), 1);
    state
}

#[test]
fn a_fresh_draw_is_enough_where_a_refusal_is_unlikely_to_come_back() {
    let mut state = refused_with_tokens_of(0.12);
    assert!(state.mask_after(&[]).is_empty());
    assert!(!state.report().sampling_modified);
}

#[test]
fn a_refusal_that_is_likely_to_come_back_is_taken_away_from_any_draw() {
    let mut state = refused_with_tokens_of(0.13);
    let mask = state.mask_after(&[]);
    assert!((mask.weights[0].1 - 0.87_f32.ln()).abs() < 1e-6);
    assert_eq!(state.mask_after(&[0]).weights, [(1, f32::NEG_INFINITY)]);
    assert!(state.report().sampling_modified);
}

/// At a temperature so low that nothing but the likeliest token has a probability that a float can
/// hold, what is drawn next has none, and would yet be drawn for ever.
#[test]
fn where_only_crumbs_are_left_each_refusal_is_remembered() {
    let gate = enforce(&["phrases: [\"a\", \"b\", \"c\"], action: resample"]);
    let mut state = gate.begin(false);
    for (token, logprob) in [(0, 0.0), (1, -5e5), (2, -9e5)] {
        state.check(Checkpoint {
            sample: Sample {
                drawn_logprob: logprob,
                ..sample(token)
            },
            text: VOCABULARY[token as usize],
            end: None,
        });
    }
    let banned = [0, 1, 2].map(|token| (token, f32::NEG_INFINITY));
    assert_eq!(state.mask_after(&[]).weights, banned);
}

/// Else a retry would write the match again, only with another end of the sentence.
#[test]
fn what_is_refused_ends_where_the_match_is_certain() {
    let head = "mode: enforce\ncheckpoint: {at: [sentence, end]}";
    let set = ruleset(head, &["phrases: [\"ab\"], action: resample"]);
    let mut state = Gate::new(vec![set], Quota::default()).begin(true);
    for token in [0, 1, 2, 3, 4] {
        state.check(Checkpoint {
            sample: sample(token),
            text: VOCABULARY[token as usize],
            end: None,
        });
    }
    assert_eq!(state.attempt(), 1);
    assert_eq!(state.mask_after(&[0]).weights, [(1, f32::NEG_INFINITY)]);
    assert!(state.mask_after(&[0, 1]).is_empty());
}

/// What lacks a required text where it ends, must not end there; to go on is innocent.
#[test]
fn a_refusal_at_the_end_takes_away_only_that_end() {
    let head = "mode: enforce\nresample: {scope: completion}";
    let set = ruleset(head, &["require: [\"c\", \"~\"], action: resample"]);
    let mut state = Gate::new(vec![set], Quota::default()).begin(true);
    for (token, end) in [(0, None), (1, None), (9, Some(End::Natural))] {
        state.check(Checkpoint {
            sample: draw_at_half(token),
            text: VOCABULARY.get(token as usize).unwrap_or(&""),
            end,
        });
    }
    assert_eq!(state.attempt(), 1);
    assert!(state.mask_after(&[]).weights[0].1 > f32::NEG_INFINITY);
    assert_eq!(state.mask_after(&[0, 1]).weights, [(9, f32::NEG_INFINITY)]);
}

/// The same where a stop string made the end, which is searched for in every attempt.
#[test]
fn a_refusal_at_a_stop_string_takes_away_only_that_string() {
    let head = "mode: enforce\nresample: {scope: completion}";
    let set = ruleset(head, &["require: [\"c\", \"~\"], action: resample"]);
    let gate = Gate::new(vec![set], Quota::default());
    let mut state = gate.begin(true).stopping_at(&[".".to_owned()], 0);
    let mut write = |tokens: &[TokenId]| {
        let mut verdicts = tokens.iter().map(|&token| {
            state.check(Checkpoint {
                sample: draw_at_half(token),
                text: VOCABULARY[token as usize],
                end: None,
            })
        });
        let last = verdicts.by_ref().last();
        (last.unwrap(), state.mask_after(&[0]).weights)
    };
    let (verdict, mask) = write(&[0, 4]);
    assert_eq!(verdict, Verdict::Resample { keep_tokens: 0 });
    assert_eq!(mask, [(4, f32::NEG_INFINITY)]);
    let (verdict, _) = write(&[0, 2, 4]);
    let Verdict::Stopped(admitted) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(admitted.text(), "ac");
}

fn draw_at_half(token: TokenId) -> Sample {
    Sample {
        drawn_logprob: 0.5_f32.ln(),
        ..sample(token)
    }
}
