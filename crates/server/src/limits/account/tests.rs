//! The limiter's arithmetic, and its law.

use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;

const NO_LIMITS: KeyLimits = KeyLimits {
    requests_per_minute: None,
    tokens_per_minute: None,
    tokens_per_day: None,
    max_concurrent_requests: None,
};
/// 2023-11-14 22:13:20, so that 6,400 seconds are left of the day.
const WALL: i64 = 1_700_000_000;

fn at(seconds: u64) -> Now {
    at_ms(seconds * 1000)
}

fn at_ms(ms: u64) -> Now {
    Now {
        clock: Duration::from_millis(ms),
        wall: WALL + (ms / 1000) as i64,
    }
}

/// A whole call, over in no time.
fn call(
    account: &mut Account,
    limits: &KeyLimits,
    now: Now,
    prompt: u64,
    total: u64,
) -> Result<(), Refusal> {
    let mut taken = account.admit(limits, now)?;
    account.admit_prompt(&mut taken, prompt, limits, now)?;
    account.note_tokens(&mut taken, total, limits, now);
    account.end(&mut taken, total);
    Ok(())
}

fn told(refused: Result<(), Refusal>) -> (Kind, u64, u64, Wait) {
    let refusal = refused.expect_err("a limit is reached");
    (refusal.kind, refusal.used, refusal.requested, refusal.wait)
}

fn secs(seconds: u64) -> Wait {
    Wait::For(Duration::from_secs(seconds))
}

#[test]
fn requests_are_counted_by_the_minute() {
    let limits = KeyLimits {
        requests_per_minute: NonZeroU64::new(2),
        ..NO_LIMITS
    };
    let mut account = Account::new(at(0));
    call(&mut account, &limits, at(0), 5, 5).unwrap();
    call(&mut account, &limits, at(30), 5, 5).unwrap();
    let refused = call(&mut account, &limits, at(40), 5, 5);
    assert_eq!(told(refused), (Kind::RequestsPerMinute, 2, 1, secs(21)));
    assert_eq!(
        account.requests(&limits, at(40)),
        Some(Standing {
            limit: 2,
            remaining: 0,
            reset: Duration::from_secs(51)
        })
    );
    assert_eq!(account.tokens(&limits, at(40)), None);
    call(&mut account, &limits, at(61), 5, 5).unwrap();
}

#[test]
fn tokens_are_counted_as_they_are_used_and_paid_back_if_too_many() {
    let limits = KeyLimits {
        tokens_per_minute: NonZeroU64::new(100),
        ..NO_LIMITS
    };
    let mut account = Account::new(at(0));
    call(&mut account, &limits, at(0), 40, 60).unwrap();
    let refused = call(&mut account, &limits, at(1), 41, 41);
    assert_eq!(told(refused), (Kind::TokensPerMinute, 60, 41, secs(60)));
    // How long an answer gets nobody knows before: it may cost more than there is.
    call(&mut account, &limits, at(1), 40, 240).unwrap();
    let refused = call(&mut account, &limits, at(2), 1, 1);
    assert_eq!(told(refused), (Kind::TokensPerMinute, 300, 1, secs(181)));
    let standing = account.tokens(&limits, at(2)).unwrap();
    assert_eq!((standing.limit, standing.remaining), (100, 0));
    let refused = call(&mut account, &limits, at(500), 101, 101);
    assert_eq!(told(refused), (Kind::TokensPerMinute, 0, 101, Wait::InVain));
}

#[test]
fn prompts_that_come_together_do_not_count_on_the_same_tokens() {
    let limits = KeyLimits {
        tokens_per_minute: NonZeroU64::new(100),
        ..NO_LIMITS
    };
    let mut account = Account::new(at(0));
    let mut first = account.admit(&limits, at(0)).unwrap();
    let mut second = account.admit(&limits, at(0)).unwrap();
    account
        .admit_prompt(&mut first, 60, &limits, at(0))
        .unwrap();
    let refused = account.admit_prompt(&mut second, 60, &limits, at(0));
    assert_eq!(told(refused), (Kind::TokensPerMinute, 60, 60, secs(61)));
    // The first was never computed.
    account.end(&mut first, 0);
    call(&mut account, &limits, at(0), 100, 100).unwrap();
}

#[test]
fn a_day_ends_at_midnight() {
    let limits = KeyLimits {
        tokens_per_day: NonZeroU64::new(100),
        ..NO_LIMITS
    };
    let mut account = Account::new(at(0));
    assert!(!account.knows_day());
    account.begin_day(70, at(0));
    account.begin_day(90, at(0));
    call(&mut account, &limits, at(0), 20, 30).unwrap();
    let refused = call(&mut account, &limits, at(400), 1, 1);
    assert_eq!(told(refused), (Kind::TokensPerDay, 100, 1, secs(6_000)));
    assert!(!account.is_idle(at(400)) && account.is_idle(at(6_400)));
    call(&mut account, &limits, at(6_400), 100, 100).unwrap();
}

/// What is given back after midnight was not taken from the new day.
#[test]
fn a_call_over_midnight_takes_nothing_from_the_next_day() {
    let limits = KeyLimits {
        tokens_per_day: NonZeroU64::new(100),
        ..NO_LIMITS
    };
    let mut account = Account::new(at(0));
    account.begin_day(0, at(0));
    let mut long = account.admit(&limits, at(0)).unwrap();
    account.admit_prompt(&mut long, 50, &limits, at(0)).unwrap();
    call(&mut account, &limits, at(6_400), 90, 90).unwrap();
    account.end(&mut long, 0);
    assert_eq!(account.tokens(&limits, at(6_400)).unwrap().remaining, 10);
}

#[test]
fn calls_under_way_are_counted_until_they_end() {
    let limits = KeyLimits {
        max_concurrent_requests: NonZeroU64::new(1),
        ..NO_LIMITS
    };
    let mut account = Account::new(at(0));
    let mut running = account.admit(&limits, at(0)).unwrap();
    let refused = account.admit(&limits, at(500)).map(drop);
    assert_eq!(told(refused), (Kind::ConcurrentRequests, 1, 1, secs(1)));
    assert!(!account.is_idle(at(500)));
    account.end(&mut running, 0);
    account.end(&mut running, 0);
    let _second = account.admit(&limits, at(500)).unwrap();
    assert!(account.admit(&limits, at(500)).is_err(), "it ended once");
}

#[test]
fn the_longest_wait_is_told() {
    let limits = KeyLimits {
        requests_per_minute: NonZeroU64::new(1),
        tokens_per_day: NonZeroU64::new(10),
        max_concurrent_requests: NonZeroU64::new(1),
        ..NO_LIMITS
    };
    let mut account = Account::new(at(0));
    account.begin_day(9, at(0));
    let mut running = account.admit(&limits, at(0)).unwrap();
    let kind = |refused: Result<Taken, Refusal>| refused.map(drop).map_err(|r| r.kind);
    let again = account.admit(&limits, at(1));
    assert_eq!(kind(again), Err(Kind::RequestsPerMinute));
    account.note_tokens(&mut running, 20, &limits, at(1));
    let again = account.admit(&limits, at(1));
    assert_eq!(kind(again), Err(Kind::TokensPerDay));
}

#[test]
fn a_call_that_was_not_taken_up_does_not_count() {
    let limits = KeyLimits {
        requests_per_minute: NonZeroU64::new(1),
        tokens_per_minute: NonZeroU64::new(10),
        ..NO_LIMITS
    };
    let mut account = Account::new(at(0));
    assert!(call(&mut account, &limits, at(0), 11, 11).is_err());
    let mut taken = account.admit(&limits, at(0)).unwrap();
    account
        .admit_prompt(&mut taken, 10, &limits, at(0))
        .unwrap();
    account.forgo(&mut taken);
    call(&mut account, &limits, at(0), 10, 10).unwrap();
    assert!(account.is_idle(at(61)));
}

proptest! {
    /// The law of the limiter: no minute, wherever it begins, has more requests or more tokens
    /// of prompts in it than the limits say; and whatever answers cost, whoever is admitted has
    /// had no more in all than the limit allows for that time.
    #[test]
    fn no_minute_holds_more_than_the_limits(
        requests_max in 1u64..6,
        tokens_max in 1u64..200,
        calls in prop::collection::vec((0u64..40_000, 1u64..80, 0u64..120), 1..60),
    ) {
        let limits = KeyLimits {
            requests_per_minute: NonZeroU64::new(requests_max),
            tokens_per_minute: NonZeroU64::new(tokens_max),
            ..NO_LIMITS
        };
        let mut account = Account::new(at(0));
        let (mut now_ms, mut total) = (0, 0);
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        for (wait_ms, prompt, completion) in calls {
            now_ms += wait_ms;
            let done = call(&mut account, &limits, at_ms(now_ms), prompt, prompt + completion);
            match done {
                Ok(()) => {
                    let minutes = now_ms as f64 / 60_000.0 + 1.0;
                    prop_assert!(total as f64 + prompt as f64 <= tokens_max as f64 * minutes);
                    total += prompt + completion;
                    admitted.push((now_ms, prompt));
                }
                // It says the truth: a moment before the call is refused still.
                Err(Refusal { wait: Wait::For(wait), .. }) => {
                    now_ms += wait.as_millis() as u64 - 1;
                    let early = call(&mut account, &limits, at_ms(now_ms), prompt, prompt);
                    prop_assert!(early.is_err());
                    now_ms += 1;
                }
                Err(_) => prop_assert!(prompt > tokens_max),
            }
        }
        for (begin, _) in &admitted {
            let minute = admitted.iter().filter(|(at, _)| (*begin..begin + 60_000).contains(at));
            let (requests, tokens) = minute.fold((0, 0), |(n, sum), (_, prompt)| (n + 1, sum + prompt));
            prop_assert!(requests <= requests_max);
            prop_assert!(tokens <= tokens_max);
        }
    }
}
