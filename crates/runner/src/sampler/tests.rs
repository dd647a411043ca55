use std::sync::Arc;

use portcullis_types::{History, SamplingParams, TokenBitSet, TokenId, TokenMask};
use proptest::prelude::*;

use super::*;

fn draw(params: SamplingParams) -> Draw {
    Draw {
        params: Arc::new(params),
        position: 0,
        attempt: 0,
        mask: TokenMask::default(),
        watch: Arc::default(),
        history: None,
    }
}

fn ln(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

/// Share of each token over many positions, compared with what is expected.
fn check_shares(logits: &[f32], draw: &Draw, expected: &[f64]) {
    const DRAWS: u32 = 40_000;
    let mut counts = vec![0u32; logits.len()];
    for position in 0..DRAWS {
        let draw = Draw {
            position: position.into(),
            ..draw.clone()
        };
        counts[sample(logits, &draw).expect("finite logits").token as usize] += 1;
    }
    // Chi-square with up to 5 degrees of freedom: 25 is passed by chance less than once in 5,000.
    let mut chi_square = 0.0;
    for (count, share) in counts.iter().zip(expected) {
        let mean = share * f64::from(DRAWS);
        if mean == 0.0 {
            assert_eq!(*count, 0, "a token that was excluded was drawn: {counts:?}");
        } else {
            chi_square += (f64::from(*count) - mean).powi(2) / mean;
        }
    }
    assert!(
        chi_square < 25.0,
        "chi-square {chi_square}: {counts:?} against {expected:?}"
    );
}

#[test]
fn draws_follow_the_distribution() {
    check_shares(
        &ln(&[0.1, 0.2, 0.3, 0.4]),
        &draw(SamplingParams::default()),
        &[0.1, 0.2, 0.3, 0.4],
    );
}

#[test]
fn temperature_sharpens() {
    let params = SamplingParams {
        temperature: 0.5,
        ..SamplingParams::default()
    };
    let squares = [0.01, 0.04, 0.09, 0.16].map(|p: f64| p / 0.3);
    check_shares(&ln(&[0.1, 0.2, 0.3, 0.4]), &draw(params), &squares);
}

#[test]
fn top_k_keeps_the_k_likeliest() {
    let params = SamplingParams {
        top_k: Some(2),
        ..SamplingParams::default()
    };
    check_shares(
        &ln(&[0.1, 0.2, 0.3, 0.4]),
        &draw(params),
        &[0.0, 0.0, 3.0 / 7.0, 4.0 / 7.0],
    );
}

#[test]
fn top_p_keeps_the_smallest_set_that_reaches_it() {
    let params = SamplingParams {
        top_p: 0.65,
        ..SamplingParams::default()
    };
    check_shares(
        &ln(&[0.1, 0.2, 0.3, 0.4]),
        &draw(params),
        &[0.0, 0.0, 3.0 / 7.0, 4.0 / 7.0],
    );
}

#[test]
fn min_p_is_relative_to_the_likeliest() {
    let params = SamplingParams {
        min_p: 0.45,
        ..SamplingParams::default()
    };
    let left = [0.0, 2.0 / 9.0, 3.0 / 9.0, 4.0 / 9.0];
    check_shares(&ln(&[0.1, 0.2, 0.3, 0.4]), &draw(params), &left);
}

#[test]
fn a_mask_takes_exactly_its_weight_away() {
    let mut draw = draw(SamplingParams::default());
    draw.mask.weights = vec![(0, f32::NEG_INFINITY), (3, 0.5f32.ln())];
    let left = [0.0, 2.0 / 7.0, 3.0 / 7.0, 2.0 / 7.0];
    check_shares(&ln(&[0.1, 0.2, 0.3, 0.4]), &draw, &left);
}

#[test]
fn greedy_takes_the_likeliest_and_the_lowest_of_equals() {
    let greedy = draw(SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    });
    assert_eq!(
        sample(&[0.0, 2.0, 2.0, 1.0], &greedy)
            .expect("finite")
            .token,
        1
    );
}

#[test]
fn a_greedy_log_probability_is_that_before_the_mask() {
    let mut greedy = draw(SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    });
    greedy.mask.weights = vec![(3, 0.1f32.ln())];
    let sample = sample(&ln(&[0.1, 0.2, 0.3, 0.4]), &greedy).expect("finite");
    assert_eq!(sample.token, 2);
    assert!((sample.drawn_logprob - 0.3f32.ln()).abs() < 1e-6);
}

/// Else what has been refused before would make what is refused next look likelier than it is.
#[test]
fn a_greedy_log_probability_is_that_before_a_refusal_too() {
    let mut greedy = draw(SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    });
    greedy.mask.weights = vec![(3, f32::NEG_INFINITY)];
    let sample = sample(&ln(&[0.1, 0.2, 0.3, 0.4]), &greedy).expect("finite");
    assert_eq!(sample.token, 2);
    assert!((sample.drawn_logprob - 0.3f32.ln()).abs() < 1e-6);
}

#[test]
fn penalties_lower_what_was_said() {
    let params = SamplingParams {
        temperature: 0.0,
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        repetition_penalty: 2.0,
        ..SamplingParams::default()
    };
    let mut draw = draw(params);
    draw.history = Some(History {
        prompt: vec![0],
        completion: vec![1, 1],
    });
    let sample = sample(&[4.0, 4.0, 0.5], &draw).expect("finite");
    assert_eq!(sample.token, 0);
    let left = [2.0f32, 2.0 - 0.5 - 0.5, 0.5].map(f32::exp);
    let share = left[0] / left.iter().sum::<f32>();
    assert!((sample.drawn_logprob - share.ln()).abs() < 1e-6);
}

#[test]
fn summary_is_that_of_the_model() {
    let params = SamplingParams {
        temperature: 0.3,
        top_logprobs: 2,
        ..SamplingParams::default()
    };
    let sample = sample(&ln(&[0.5, 0.25, 0.25]), &draw(params)).expect("finite");
    assert!((sample.entropy - 1.5 * std::f32::consts::LN_2).abs() < 1e-6);
    assert_eq!(
        sample.top.iter().map(|t| t.token).collect::<Vec<_>>(),
        [0, 1]
    );
    assert!((sample.top[0].logprob - 0.5f32.ln()).abs() < 1e-6);
}

#[test]
fn logits_that_are_not_finite_are_an_error() {
    let params = draw(SamplingParams::default());
    assert_eq!(sample(&[f32::NAN, 1.0], &params), Err(DrawError::NotFinite));
    assert_eq!(
        sample(&[f32::NEG_INFINITY; 2], &params),
        Err(DrawError::NotFinite)
    );
}

fn draw_at(temperature: f32) -> Draw {
    draw(SamplingParams {
        temperature,
        ..SamplingParams::default()
    })
}

#[test]
fn bans_that_leave_nothing_are_an_error() {
    for temperature in [0.0, 1.0] {
        let mut draw = draw_at(temperature);
        draw.mask.banned = vec![1, 0];
        assert_eq!(sample(&[1.0, 2.0], &draw), Err(DrawError::NothingLeft));
    }
}

fn allow(draw: &mut Draw, tokens: &[TokenId], vocab_size: usize) {
    let mut allowed = TokenBitSet::new(vocab_size);
    tokens.iter().for_each(|&token| allowed.set(token, true));
    draw.mask.allowed = Some(Arc::new(allowed));
}

/// A constraint is part of the distribution: truncation and the log-probability see only what it
/// allows, and refused continuations are taken away from that.
#[test]
fn only_allowed_tokens_are_in_the_distribution() {
    let logits = ln(&[0.1, 0.2, 0.3, 0.4]);
    let mut nucleus = draw(SamplingParams {
        top_p: 0.6,
        ..SamplingParams::default()
    });
    allow(&mut nucleus, &[0, 1], 4);
    check_shares(&logits, &nucleus, &[0.0, 1.0, 0.0, 0.0]);

    let mut weighed = draw(SamplingParams::default());
    allow(&mut weighed, &[0, 1, 2], 4);
    weighed.mask.weights = vec![(1, 0.5f32.ln())];
    check_shares(&logits, &weighed, &[0.2, 0.2, 0.6, 0.0]);
    let sample = sample(&logits, &weighed).expect("finite");
    let share = [1.0 / 6.0, 2.0 / 6.0, 3.0 / 6.0][sample.token as usize];
    assert!((sample.drawn_logprob - f32::ln(share)).abs() < 1e-6);
}

#[test]
fn a_greedy_draw_is_the_likeliest_allowed_token_with_its_share_of_the_allowed() {
    let mut greedy = draw(SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    });
    allow(&mut greedy, &[0, 2], 4);
    let sample = sample(&ln(&[0.1, 0.2, 0.3, 0.4]), &greedy).expect("finite");
    assert_eq!(sample.token, 2);
    assert!((sample.drawn_logprob - 0.75f32.ln()).abs() < 1e-6);
    // What is known of the model does not change.
    assert!((sample.logprob - 0.3f32.ln()).abs() < 1e-6);
}

#[test]
fn allowing_nothing_is_an_error() {
    for temperature in [0.0, 1.0] {
        let mut draw = draw(SamplingParams {
            temperature,
            ..SamplingParams::default()
        });
        allow(&mut draw, &[], 2);
        assert_eq!(sample(&[1.0, 2.0], &draw), Err(DrawError::NothingLeft));
    }
}

/// The gate must see the refused token again, to say what becomes of the completion.
#[test]
fn weights_that_leave_nothing_are_passed_over() {
    for temperature in [0.0, 1e-6, 1.0] {
        let mut draw = draw_at(temperature);
        draw.mask.weights = vec![(0, f32::NEG_INFINITY), (1, f32::NEG_INFINITY)];
        assert!(sample(&[1.0, 2.0], &draw).is_ok(), "at {temperature}");
        draw.mask.banned = vec![1];
        assert_eq!(sample(&[1.0, 2.0], &draw).map(|s| s.token), Ok(0));
    }
}

#[test]
fn bans_come_before_truncation_and_weights_after() {
    let mut draw = draw(SamplingParams {
        top_k: Some(2),
        ..SamplingParams::default()
    });
    let logits = ln(&[0.1, 0.2, 0.3, 0.4]);
    draw.mask.weights = vec![(3, f32::NEG_INFINITY)];
    check_shares(&logits, &draw, &[0.0, 0.0, 1.0, 0.0]);
    draw.mask.weights.clear();
    draw.mask.banned = vec![3];
    check_shares(&logits, &draw, &[0.0, 0.4, 0.6, 0.0]);
}

#[test]
fn where_all_that_truncation_keeps_is_refused_the_next_likeliest_come() {
    let mut draw = draw(SamplingParams {
        top_k: Some(2),
        ..SamplingParams::default()
    });
    draw.mask.weights = vec![
        (1, 0.5f32.ln()),
        (2, f32::NEG_INFINITY),
        (3, f32::NEG_INFINITY),
    ];
    check_shares(&ln(&[0.1, 0.2, 0.3, 0.4]), &draw, &[0.5, 0.5, 0.0, 0.0]);
}

/// What a near-certain token leaves to the others is what a retry has to go on.
#[test]
fn a_log_probability_near_zero_keeps_its_digits() {
    for temperature in [0.0, 1.0] {
        let draw = draw_at(temperature);
        let sample = sample(&[30.0, 30.0 - 20.0, -50.0], &draw).expect("finite");
        assert_eq!(sample.token, 0);
        let others = (-20.0f64).exp();
        let found = -f64::from(sample.drawn_logprob).exp_m1();
        assert!((found / others - 1.0).abs() < 1e-5, "{found} {others}");
    }
}

#[test]
fn a_greedy_log_probability_is_that_among_what_may_be_drawn() {
    let mut greedy = draw_at(0.0);
    greedy.mask.banned = vec![3];
    let sample = sample(&ln(&[0.1, 0.2, 0.3, 0.4]), &greedy).expect("finite");
    assert_eq!(sample.token, 2);
    assert!((sample.drawn_logprob - 0.5f32.ln()).abs() < 1e-6);
}

proptest! {
    /// The same draw on the same logits is the same token, and another attempt draws anew.
    #[test]
    fn draws_depend_on_seed_position_and_attempt(seed: u64, position in 0u64..10_000, attempt in 0u32..10) {
        let logits: Vec<f32> = (0..200).map(|i| (i as f32 * 0.37).sin()).collect();
        let at = |position, attempt| {
            let mut draw = draw(SamplingParams { seed, ..SamplingParams::default() });
            (draw.position, draw.attempt) = (position, attempt);
            sample(&logits, &draw).expect("finite").token
        };
        prop_assert_eq!(at(position, attempt), at(position, attempt));
        let others: Vec<_> = (1..20).map(|n| at(position, attempt + n)).collect();
        prop_assert!(others.iter().any(|token| *token != at(position, attempt)));
    }
}
