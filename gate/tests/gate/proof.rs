//! The law, on random rule sets and streams, and on weaker gates, for which it must not hold.
//!
//! The normal run takes 100,000 completions. `PROPTEST_CASES` says how many of each property to
//! take instead: `just gate-proof` takes a million. The law of release held for a million on
//! 2026-11-21 (`PROPTEST_CASES=1000000 cargo test --release -p portcullis-gate --test gate --
//! proof::what_is_released_equals`, 3,264 s on part of a core, fresh seed).

use proptest::{collection::vec, prelude::*};

use crate::law::{self, Case, Choices, Theme, Weakening};

/// `normal` streams, or as many as the environment says, of which each case has `streams`.
#[expect(
    clippy::disallowed_methods,
    reason = "the number of streams is the caller's choice"
)]
fn config(normal: u32, streams: u32) -> ProptestConfig {
    let set = std::env::var("PROPTEST_CASES").ok();
    let all = set.and_then(|cases| cases.parse().ok()).unwrap_or(normal);
    ProptestConfig {
        cases: all.div_ceil(streams).max(1),
        max_shrink_time: 20_000,
        ..ProptestConfig::default()
    }
}

/// Decisions; in one line when they fail.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", hex::encode(&self.0))
    }
}

fn bytes(len: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..len).prop_map(Bytes)
}

const LETTERS: u32 = 100;
const PERSONAL: u32 = 400;

fn check_streams(theme: Theme, rules: &Bytes, streams: &[Bytes]) -> Result<(), TestCaseError> {
    let case = Case::new(theme, &mut Choices::new(&rules.0));
    for stream in streams {
        let checked = case.check(&mut Choices::new(&stream.0), Weakening::None);
        checked.map_err(TestCaseError::fail)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(80_000, LETTERS))]

    #[test]
    fn what_is_released_equals_a_scan_of_the_whole_text(
        rules in bytes(120),
        streams in vec(bytes(80), LETTERS as usize),
    ) {
        check_streams(Theme::Letters, &rules, &streams)?;
    }
}

proptest! {
    #![proptest_config(config(16_000, PERSONAL))]

    #[test]
    fn the_same_for_personal_data(
        rules in bytes(24),
        streams in vec(bytes(120), PERSONAL as usize),
    ) {
        check_streams(Theme::Personal, &rules, &streams)?;
    }
}

proptest! {
    #![proptest_config(config(16_000, 20))]

    #[test]
    fn what_is_released_holds_through_roll_backs(case in bytes(3_000)) {
        law::check_roll_backs(Theme::Letters, &mut Choices::new(&case.0))
            .map_err(TestCaseError::fail)?;
    }

    #[test]
    fn what_a_model_sees_equals_a_scan_of_the_whole_prompt(case in bytes(600)) {
        law::check_input(Theme::Letters, &mut Choices::new(&case.0)).map_err(TestCaseError::fail)?;
    }
}

proptest! {
    #![proptest_config(config(2_000, 100))]

    #[test]
    fn the_same_for_personal_data_in_prompts(case in bytes(2_000)) {
        law::check_input(Theme::Personal, &mut Choices::new(&case.0)).map_err(TestCaseError::fail)?;
    }
}

/// The first completion of which the law says that a gate so weakened broke it.
fn first_broken(weakening: Weakening) -> Option<usize> {
    let mut random = Random(1);
    for set in 0..200 {
        let case = Case::new(Theme::Letters, &mut Choices::new(&random.bytes(120)));
        for stream in 0..20 {
            let checked = case.check(&mut Choices::new(&random.bytes(80)), weakening);
            if checked.is_err() {
                return Some(set * 20 + stream);
            }
        }
    }
    None
}

/// A test that cannot fail proves nothing: under a weaker release rule the law turns red, and soon.
#[test]
fn the_law_notices_a_weaker_release_rule() {
    assert_eq!(first_broken(Weakening::None), None);
    for weakening in [
        Weakening::OneTokenMore,
        Weakening::TokenByToken,
        Weakening::CutIsEnd,
        Weakening::VerdictAfterwards,
    ] {
        let broken = first_broken(weakening);
        assert!(
            broken.is_some_and(|at| at < 400),
            "{weakening:?}: {broken:?}"
        );
    }
}

/// Source: G. Steele et al., Fast Splittable Pseudorandom Number Generators, 2014.
struct Random(u64);

impl Random {
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 56) as u8
    }
}
