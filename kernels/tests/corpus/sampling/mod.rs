//! The sampler: every token that the device draws is the one of the plain loops.

mod draws;

use candle_core::{Device, Tensor};
use portcullis_kernels::{DrawFailure, DrawRow, Drawn, Order, emulate, sample};

use draws::{Choices, Logits, Owned, each_alone, truncated};

/// How far the keys of two tokens, logit under the temperature and noise, may be apart where a
/// card draws one and the plain loops the other: its logarithm is rounded in another way. On the
/// emulation there is none.
const KEY_TOLERANCE: f32 = 1e-5;

/// Of log-probabilities, entropies and masses: sums in f64 in another order, rounded once to f32.
const RELATIVE: f32 = 2.4e-7;
const ABSOLUTE: f32 = 1e-12;

const SMALL: [usize; 3] = [5, 33, 1000];
const LARGE: [usize; 2] = [32_000, 128_256];

#[test]
fn each_parameter_alone() {
    for vocab in SMALL {
        let draws = each_alone(vocab);
        for logits in [Logits::Spread, Logits::Tied] {
            let case = format!("{logits:?}, vocabulary {vocab}");
            check(&case, &logits.rows(vocab, draws.len()), &draws);
        }
    }
}

#[test]
fn parameters_combined_at_random() {
    for (index, vocab) in SMALL.into_iter().enumerate() {
        let mut choices = Choices::new(index as u64);
        for logits in Logits::ALL {
            let draws: Vec<Owned> = (0..32).map(|_| choices.draw(vocab)).collect();
            let case = format!("{logits:?}, vocabulary {vocab}");
            check(&case, &logits.rows(vocab, draws.len()), &draws);
        }
    }
}

#[test]
fn vocabularies_of_models() {
    for vocab in LARGE {
        let mut choices = Choices::new(vocab as u64);
        let mut draws = truncated();
        draws.extend((0..3).map(|_| choices.draw(vocab)));
        for logits in [Logits::Peaked, Logits::Spread] {
            let case = format!("{logits:?}, vocabulary {vocab}");
            check(&case, &logits.rows(vocab, draws.len()), &draws);
        }
    }
}

/// A part of 4,096 tokens, a token less and more, and three of which the last has one token.
#[test]
fn vocabularies_in_parts() {
    for vocab in [4095, 4096, 4097, 8193] {
        let mut choices = Choices::new(vocab as u64);
        let mut draws = each_alone(vocab);
        draws.extend((0..8).map(|_| choices.draw(vocab)));
        let case = format!("vocabulary {vocab}");
        check(&case, &Logits::Holed.rows(vocab, draws.len()), &draws);
    }
    // More parts than a warp has lanes.
    let vocab = 33 * 4096 + 1;
    let draws = truncated();
    check("34 parts", &Logits::Peaked.rows(vocab, draws.len()), &draws);
}

/// Zeros of both signs are equal, so the lower token is drawn.
#[test]
fn a_tie_of_zeros_goes_to_the_lower_token() {
    let greedy = Owned {
        greedy: true,
        ..Owned::default()
    };
    let weighted = Owned {
        weights: vec![(2, -1.0)],
        ..greedy.clone()
    };
    let draws = [greedy.clone(), greedy, weighted];
    let logits = [[-0.0f32, 0.0, -1.0], [0.0, -0.0, -1.0], [-0.0, 0.0, 0.0]];
    let drawn = check("zeros", &logits.map(|row| row.to_vec()), &draws);
    let tokens = drawn.into_iter().map(|drawn| drawn.unwrap().token);
    assert_eq!(tokens.collect::<Vec<_>>(), [0, 0, 0]);
}

/// A penalty that divides by next to nothing makes a logit infinite.
#[test]
fn a_logit_that_becomes_infinite() {
    for greedy in [false, true] {
        let infinite = Owned {
            greedy,
            repetition_penalty: 1e-38,
            completion: vec![0],
            ..Owned::default()
        };
        let banned = Owned {
            banned: vec![0],
            ..infinite.clone()
        };
        let logits = vec![vec![4.0f32, 1.0, 0.5]; 2];
        let drawn = check("infinite", &logits, &[infinite, banned]);
        assert_eq!(drawn[0], Err(DrawFailure::NothingLeft));
        assert_ne!(drawn[1].as_ref().unwrap().token, 0);
    }
}

/// What cannot be drawn from says why, and its neighbours are drawn as ever.
#[test]
fn rows_that_cannot_be_drawn_from() {
    for vocab in [33, 8193] {
        check_failures(vocab);
    }
}

fn check_failures(vocab: usize) {
    let everything: Vec<u32> = (0..vocab as u32).collect();
    for greedy in [false, true] {
        let plain = Owned {
            greedy,
            ..Owned::default()
        };
        let banned = Owned {
            banned: everything.clone(),
            ..plain.clone()
        };
        let nothing_allowed = Owned {
            allowed: Some(vec![]),
            ..plain.clone()
        };
        let draws = [&plain, &plain, &plain, &banned, &nothing_allowed, &plain].map(Owned::clone);
        let mut logits = Logits::Spread.rows(vocab, draws.len());
        logits[1][vocab - 1] = f32::NAN;
        logits[2].fill(f32::NEG_INFINITY);
        let drawn = check("rows that fail", &logits, &draws);
        let failures = drawn.into_iter().map(|drawn| drawn.err());
        let (broken, empty) = (DrawFailure::NotFinite, DrawFailure::NothingLeft);
        assert_eq!(
            failures.collect::<Vec<_>>(),
            [
                None,
                Some(broken),
                Some(broken),
                Some(empty),
                Some(empty),
                None
            ]
        );
    }
}

#[test]
fn masks_that_leave_one_token() {
    const VOCAB: usize = 1000;
    for token in [0u32, 31, 32, 999] {
        let mut words = vec![0; 32];
        words[token as usize / 32] = 1 << (token % 32);
        let one = |greedy| Owned {
            greedy,
            allowed: Some(words.clone()),
            ..Owned::default()
        };
        let draws = [one(false), one(true)];
        let drawn = check("one token", &Logits::Spread.rows(VOCAB, 2), &draws);
        for drawn in drawn {
            let drawn = drawn.expect("one token is left");
            assert_eq!((drawn.token, drawn.drawn_logprob), (token, 0.0));
        }
    }
}

/// Nothing of a draw's randomness or sums is of its row in the batch.
#[test]
fn permuting_the_rows_of_a_batch_gives_the_same_samples() {
    const VOCAB: usize = 8193;
    const ROWS: usize = 12;
    let mut choices = Choices::new(7);
    let draws: Vec<Owned> = (0..ROWS).map(|_| choices.draw(VOCAB)).collect();
    let logits = Logits::Spread.rows(VOCAB, ROWS);
    let straight = emulated(Order::Ascending, &logits, &draws);
    let moved = |row: usize| (row * 5 + 3) % ROWS;
    let permuted_logits: Vec<_> = (0..ROWS).map(|row| logits[moved(row)].clone()).collect();
    let permuted_draws: Vec<_> = (0..ROWS).map(|row| draws[moved(row)].clone()).collect();
    let permuted = emulated(Order::Ascending, &permuted_logits, &permuted_draws);
    for row in 0..ROWS {
        assert_eq!(permuted[row], straight[moved(row)], "row {row}");
    }
    let alone = emulated(Order::Ascending, &logits[4..5], &draws[4..5]);
    assert_eq!(alone[0], straight[4]);
}

/// Of the device's own draws, by their number alone.
#[test]
fn device_draws_follow_the_distribution() {
    const DRAWS: usize = 10_000;
    let shares = [0.1f32, 0.2, 0.3, 0.4];
    let draws: Vec<Owned> = (0..DRAWS as u64)
        .map(|position| Owned {
            position,
            ..Owned::default()
        })
        .collect();
    let logits = vec![shares.map(f32::ln).to_vec(); DRAWS];
    let mut counts = [0u32; 4];
    for drawn in emulated(Order::Ascending, &logits, &draws) {
        counts[drawn.expect("finite").token as usize] += 1;
    }
    let chi_square: f32 = counts
        .iter()
        .zip(shares.map(|share| share * DRAWS as f32))
        .map(|(&count, mean)| (count as f32 - mean).powi(2) / mean)
        .sum();
    // With three degrees of freedom passed by chance once in 10,000.
    assert!(chi_square < 21.1, "{chi_square}: {counts:?}");
}

/// The same on all devices, and on the emulation bit for bit in every order of threads.
fn check(case: &str, logits: &[Vec<f32>], draws: &[Owned]) -> Vec<Result<Drawn, DrawFailure>> {
    let expected = run(&Device::Cpu, logits, draws);
    let first = emulated(Order::ALL[0], logits, draws);
    for order in &Order::ALL[1..] {
        let found = emulated(*order, logits, draws);
        for (row, (found, first)) in found.iter().zip(&first).enumerate() {
            assert_eq!(
                found, first,
                "{case}, row {row}, {order:?}: {:?}",
                draws[row]
            );
        }
    }
    compare(case, logits, draws, &expected, &first, 0.0);
    #[cfg(feature = "cuda")]
    {
        let found = run(&crate::check::card(), logits, draws);
        let case = format!("{case}, card");
        compare(&case, logits, draws, &expected, &found, KEY_TOLERANCE);
    }
    first
}

fn emulated(order: Order, logits: &[Vec<f32>], draws: &[Owned]) -> Vec<Result<Drawn, DrawFailure>> {
    emulate(order, || run(&Device::Cpu, logits, draws))
}

fn run(device: &Device, logits: &[Vec<f32>], draws: &[Owned]) -> Vec<Result<Drawn, DrawFailure>> {
    let rows: Vec<DrawRow<'_>> = draws.iter().map(Owned::row).collect();
    let shape = (logits.len(), logits[0].len());
    let logits = Tensor::from_vec(logits.concat(), shape, device);
    logits
        .and_then(|logits| sample(&logits, &rows))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn compare(
    case: &str,
    logits: &[Vec<f32>],
    draws: &[Owned],
    expected: &[Result<Drawn, DrawFailure>],
    found: &[Result<Drawn, DrawFailure>],
    key_tolerance: f32,
) {
    assert_eq!(expected.len(), found.len(), "{case}: results");
    for (row, (expected, found)) in expected.iter().zip(found).enumerate() {
        let case = || format!("{case}, row {row}: {:?}", draws[row]);
        match (expected, found) {
            (Ok(expected), Ok(found)) if expected.token == found.token => {
                compare_drawn(case, expected, found);
            }
            (Ok(expected), Ok(found)) => assert!(
                within(key_tolerance, &logits[row], &draws[row], found.token),
                "{}: token {} for {}",
                case(),
                found.token,
                expected.token
            ),
            (expected, found) => assert_eq!(expected, found, "{}", case()),
        }
    }
}

/// Whether the plain loops draw `token` too once its key is raised by the tolerance.
fn within(key_tolerance: f32, logits: &[f32], draw: &Owned, token: u32) -> bool {
    let mut raised = draw.clone();
    let last_places = logits[token as usize].abs() * 2f32.powi(-22);
    let raise = (key_tolerance * draw.temperature).max(last_places);
    raised.bias.push((token, raise));
    let drawn = run(&Device::Cpu, &[logits.to_vec()], &[raised]);
    key_tolerance > 0.0 && drawn[0].as_ref().is_ok_and(|drawn| drawn.token == token)
}

#[test]
fn only_keys_within_the_tolerance_are_taken_for_equal() {
    let greedy = Owned {
        greedy: true,
        ..Owned::default()
    };
    let logits = [1.0, 1.0 + 5e-6, 0.9];
    assert!(within(KEY_TOLERANCE, &logits, &greedy, 0));
    assert!(!within(0.0, &logits, &greedy, 0));
    assert!(!within(KEY_TOLERANCE, &logits, &greedy, 2));
}

fn compare_drawn(case: impl Fn() -> String, expected: &Drawn, found: &Drawn) {
    let near = |what: &str, expected: f32, found: f32| {
        let close = (expected - found).abs() <= ABSOLUTE + RELATIVE * expected.abs();
        assert!(
            close || expected == found,
            "{}: {what} is {found}, expected {expected}",
            case()
        );
    };
    near("logprob", expected.logprob, found.logprob);
    near("drawn_logprob", expected.drawn_logprob, found.drawn_logprob);
    near("entropy", expected.entropy, found.entropy);
    assert_eq!(expected.top.len(), found.top.len(), "{}: top", case());
    for (expected, found) in expected.top.iter().zip(&found.top) {
        assert_eq!(expected.0, found.0, "{}: top", case());
        near("top", expected.1, found.1);
    }
    assert_eq!(
        expected.masses.len(),
        found.masses.len(),
        "{}: masses",
        case()
    );
    for (&expected, &found) in expected.masses.iter().zip(&found.masses) {
        near("mass", expected, found);
    }
}
