//! Sampled draws: every outcome comes as often as the law says, and a wrong resampler is found out.

use std::collections::BTreeMap;

use portcullis_types::SamplingParams;

use crate::fit::Fit;
use crate::law::{Law, Shares};
use crate::toy::{Fault, Outcome, Toy, gate};

const COMPLETIONS: u64 = 20_000;

/// A phrase can begin inside a token, and a release can turn out to be half of a phrase.
const TEXTS: [&str; 3] = ["a", "b", "ca"];
const PHRASES: [&str; 2] = ["aba", "bb"];

const SCOPES: [&str; 2] = ["segment", "completion"];

fn toy() -> Toy {
    Toy::random(&TEXTS, 4, 8, 2, 0.0)
}

fn at(temperature: f32) -> SamplingParams {
    SamplingParams {
        temperature,
        ..SamplingParams::default()
    }
}

fn top_k(k: u32) -> SamplingParams {
    SamplingParams {
        top_k: Some(k),
        ..SamplingParams::default()
    }
}

fn shares(toy: &Toy, scope: &str, retries: u32, sampling: &SamplingParams) -> Shares {
    let law = Law {
        toy,
        phrases: &PHRASES,
        whole_completion: scope == "completion",
        retries,
        sampling,
    };
    law.shares()
}

fn counts(
    toy: &Toy,
    scope: &str,
    retries: u32,
    sampling: &SamplingParams,
    fault: Fault,
) -> BTreeMap<Outcome, u64> {
    let gate = gate(&PHRASES, scope, retries, "reject");
    toy.sample_outcomes(&gate, sampling, fault, COMPLETIONS)
}

#[track_caller]
fn check_law(toy: &Toy, retries: u32, sampling: &SamplingParams) {
    for scope in SCOPES {
        let counts = counts(toy, scope, retries, sampling, Fault::None);
        let fit = Fit::of(&counts, &shares(toy, scope, retries, sampling));
        assert!(fit.cells >= 10, "{fit:?}");
        assert!(!fit.rejects(), "{scope}, {retries} retries: {fit:?}");
    }
}

#[test]
fn without_a_retry() {
    check_law(&toy(), 0, &at(1.0));
}

#[test]
fn one_attempt_more() {
    check_law(&toy(), 1, &at(1.0));
}

#[test]
fn two_attempts_more() {
    check_law(&toy(), 2, &at(1.0));
}

#[test]
fn ten_attempts_more() {
    check_law(&toy(), 10, &at(1.0));
}

/// Where refusals come back, and are remembered.
#[test]
fn at_a_low_temperature() {
    for retries in [1, 2, 10] {
        check_law(&toy(), retries, &at(0.4));
    }
}

/// Where truncation can keep nothing but what is refused.
#[test]
fn with_top_k() {
    for retries in [1, 2, 10] {
        check_law(&Toy::random(&TEXTS, 5, 7, 1, 0.0), retries, &top_k(2));
    }
}

/// On other models too.
#[test]
fn on_other_toys() {
    for seed in 100..106 {
        let toy = Toy::random(&TEXTS, 4, seed, 1, 0.0);
        check_law(&toy, 2, &at(0.8));
    }
}

/// What records say of completion scope: given success, the completion as a whole is drawn from
/// the sampler's distribution among those that are admissible, after however many attempts.
#[test]
fn with_completion_scope_success_is_the_conditional_distribution() {
    for sampling in [at(1.0), at(0.4)] {
        let [plain, rest @ ..] = [0, 1, 2, 10].map(|retries| {
            let mut shares = shares(&toy(), "completion", retries, &sampling);
            shares.retain(|outcome, _| outcome.finished);
            normalise(shares)
        });
        for shares in rest {
            assert_same(&shares, &plain);
        }
    }
}

/// What records say of segment scope: given the released prefix and success, the segment up to the
/// next release is drawn from the sampler's distribution among those that are admissible.
#[test]
fn with_segment_scope_success_is_conditional_for_each_segment() {
    for sampling in [at(1.0), at(0.4), top_k(3)] {
        for released in [vec![], vec![0], vec![1], vec![2, 0], vec![1, 1]] {
            let toy = toy();
            let [plain, rest @ ..] = [0, 1, 2, 10].map(|retries| {
                let law = Law {
                    toy: &toy,
                    phrases: &PHRASES,
                    whole_completion: false,
                    retries,
                    sampling: &sampling,
                };
                let mut shares = law.segment_shares(released.clone());
                shares.retain(|outcome, _| outcome.finished);
                normalise(shares)
            });
            for shares in rest {
                assert_same(&shares, &plain);
            }
        }
    }
}

fn normalise(shares: Shares) -> Shares {
    let total: f64 = shares.values().sum();
    let scaled = shares
        .into_iter()
        .map(|(outcome, share)| (outcome, share / total));
    scaled.collect()
}

#[track_caller]
fn assert_same(found: &Shares, expected: &Shares) {
    assert!(expected.keys().eq(found.keys()));
    for (outcome, share) in expected {
        assert!((found[outcome] - share).abs() < 1e-9, "{outcome:?}");
    }
}

#[track_caller]
fn check_found_out(fault: Fault, scopes: &[&str], sampling: &SamplingParams) {
    for scope in scopes {
        let counts = counts(&toy(), scope, 10, sampling, fault);
        let fit = Fit::of(&counts, &shares(&toy(), scope, 10, sampling));
        assert!(fit.rejects(), "{fault:?} passes with {scope}: {fit:?}");
    }
}

#[test]
fn the_same_noise_again_is_found_out() {
    check_found_out(Fault::SameNoise, &SCOPES, &at(1.0));
}

#[test]
fn banning_the_first_token_is_found_out() {
    check_found_out(Fault::BansTheFirstToken, &SCOPES, &at(1.0));
}

#[test]
fn rolling_back_to_the_wrong_place_is_found_out() {
    check_found_out(Fault::RollsBackTooLittle, &SCOPES, &at(1.0));
    // With completion scope there is nothing before the start to forget.
    check_found_out(Fault::RollsBackTooFar, &SCOPES[..1], &at(1.0));
}

#[test]
fn a_mask_before_truncation_is_found_out() {
    check_found_out(Fault::MasksBeforeTruncation, &SCOPES, &top_k(2));
}

#[test]
fn a_segment_passed_off_as_a_completion_is_found_out() {
    for retries in [1, 2, 10] {
        let counts = counts(&toy(), "segment", retries, &at(1.0), Fault::None);
        let fit = Fit::of(&counts, &shares(&toy(), "completion", retries, &at(1.0)));
        assert!(fit.rejects(), "{retries}: {fit:?}");
        // And not only because a refusal comes later: also among completions that were finished.
        let finished = |outcome: &Outcome| outcome.finished;
        let counts = counts
            .into_iter()
            .filter(|(outcome, _)| finished(outcome))
            .collect();
        let mut expected = shares(&toy(), "completion", retries, &at(1.0));
        expected.retain(|outcome, _| finished(outcome));
        let fit = Fit::of(&counts, &normalise(expected));
        assert!(fit.rejects(), "{retries}: {fit:?}");
    }
}
