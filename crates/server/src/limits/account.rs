//! What one key has used of its limits. No clock, no lock: whoever calls says what time it is.

use std::time::Duration;

use portcullis_store::KeyLimits;

use super::kind::{Kind, Refusal, Wait};
use super::window::Window;

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    /// By the clock that never goes back.
    pub(super) clock: Duration,
    /// Unix seconds.
    pub(super) wall: i64,
}

/// What a key has used.
#[derive(Debug)]
pub(super) struct Account {
    requests: Window,
    tokens: Window,
    /// `None` until somebody says what was used before.
    day: Option<Day>,
    /// Calls under way.
    running: u64,
}

/// The tokens of one day of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Day {
    number: i64,
    tokens: u64,
}

/// What a call under way has taken.
#[derive(Debug)]
pub(super) struct Taken {
    /// The second in which the request was counted.
    request_at: u64,
    /// The second in which the prompt was counted, and the day.
    prompt_at: (u64, i64),
    /// Tokens counted so far.
    tokens: u64,
    is_over: bool,
}

/// How a key stands with one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) limit: u64,
    pub(super) remaining: u64,
    /// Until all of it is there again.
    pub(super) reset: Duration,
}

impl Account {
    pub(super) fn new(now: Now) -> Self {
        Self {
            requests: Window::new(now.second()),
            tokens: Window::new(now.second()),
            day: None,
            running: 0,
        }
    }

    /// Whether it is known what was used today.
    pub(super) fn knows_day(&self) -> bool {
        self.day.is_some()
    }

    /// Says what was used today before this account was opened.
    pub(super) fn begin_day(&mut self, tokens: u64, now: Now) {
        let number = now.day();
        self.day.get_or_insert(Day { number, tokens });
    }

    /// Calls may run that are not counted here.
    pub(super) fn forget_day(&mut self) {
        self.day = None;
    }

    /// Counts a call, if every limit has room for one more request and one more token.
    pub(super) fn admit(&mut self, limits: &KeyLimits, now: Now) -> Result<Taken, Refusal> {
        self.advance(limits, now);
        self.check(&Kind::ALL, 1, limits, now)?;
        self.running += 1;
        let request_at = match Kind::RequestsPerMinute.of(limits) {
            Some(limit) => self.requests.spend(1, limit),
            None => now.second(),
        };
        Ok(Taken {
            request_at,
            prompt_at: (now.second(), now.day()),
            tokens: 0,
            is_over: false,
        })
    }

    /// Counts the tokens of the prompt, if they fit: they are certain to be used, and calls that
    /// begin together must not all count on the same ones. If they do not, the call was none.
    pub(super) fn admit_prompt(
        &mut self,
        taken: &mut Taken,
        tokens: u64,
        limits: &KeyLimits,
        now: Now,
    ) -> Result<(), Refusal> {
        self.advance(limits, now);
        let kinds = [Kind::TokensPerMinute, Kind::TokensPerDay];
        self.check(&kinds, tokens, limits, now)
            .inspect_err(|_| self.forgo(taken))?;
        taken.prompt_at = (now.second(), now.day());
        self.note_tokens(taken, tokens, limits, now);
        Ok(())
    }

    /// Counts what a call has used so far, prompt and all.
    pub(super) fn note_tokens(
        &mut self,
        taken: &mut Taken,
        total: u64,
        limits: &KeyLimits,
        now: Now,
    ) {
        self.advance(limits, now);
        let more = total.saturating_sub(taken.tokens);
        taken.tokens += more;
        if let Some(limit) = Kind::TokensPerMinute.of(limits) {
            self.tokens.spend(more, limit);
        }
        if let Some(day) = &mut self.day {
            day.tokens = day.tokens.saturating_add(more);
        }
    }

    /// The call was not taken up: its request does not count.
    pub(super) fn forgo(&mut self, taken: &mut Taken) {
        self.requests.give_back(1, taken.request_at);
        self.end(taken, 0);
    }

    /// The call is over, and came to so many tokens. Only the first time counts.
    pub(super) fn end(&mut self, taken: &mut Taken, total: u64) {
        if std::mem::replace(&mut taken.is_over, true) {
            return;
        }
        self.running = self.running.saturating_sub(1);
        // A prompt that was never computed.
        let unused = taken.tokens.saturating_sub(total);
        let (second, number) = taken.prompt_at;
        self.tokens.give_back(unused, second);
        if let Some(day) = &mut self.day
            && day.number == number
        {
            day.tokens = day.tokens.saturating_sub(unused);
        }
    }

    /// How it stands with requests.
    pub(super) fn requests(&mut self, limits: &KeyLimits, now: Now) -> Option<Standing> {
        self.advance(limits, now);
        self.standing(Kind::RequestsPerMinute, limits, now)
    }

    /// How it stands with tokens: of minute and day whichever leaves less.
    pub(super) fn tokens(&mut self, limits: &KeyLimits, now: Now) -> Option<Standing> {
        self.advance(limits, now);
        [Kind::TokensPerMinute, Kind::TokensPerDay]
            .into_iter()
            .filter_map(|kind| self.standing(kind, limits, now))
            .min_by_key(|standing| standing.remaining)
    }

    /// Whether nothing would be forgotten with it.
    pub(super) fn is_idle(&self, now: Now) -> bool {
        self.running == 0
            && self.requests.is_over(now.second())
            && self.tokens.is_over(now.second())
            && self
                .day
                .is_none_or(|day| day.tokens == 0 || day.number < now.day())
    }

    fn advance(&mut self, limits: &KeyLimits, now: Now) {
        if let Some(limit) = Kind::RequestsPerMinute.of(limits) {
            self.requests.advance(now.second(), limit);
        }
        if let Some(limit) = Kind::TokensPerMinute.of(limits) {
            self.tokens.advance(now.second(), limit);
        }
        if let Some(day) = &mut self.day
            && day.number < now.day()
        {
            *day = Day {
                number: now.day(),
                tokens: 0,
            };
        }
    }

    /// Of several limits that are reached, the one that keeps the caller waiting longest counts.
    fn check(
        &self,
        kinds: &[Kind],
        requested: u64,
        limits: &KeyLimits,
        now: Now,
    ) -> Result<(), Refusal> {
        let refusals = kinds
            .iter()
            .filter_map(|kind| self.refusal(*kind, requested, limits, now));
        refusals
            .max_by_key(|refusal| refusal.wait)
            .map_or(Ok(()), Err)
    }

    fn refusal(&self, kind: Kind, requested: u64, limits: &KeyLimits, now: Now) -> Option<Refusal> {
        let (limit, used) = (kind.of(limits)?, self.used(kind));
        if used.saturating_add(requested) <= limit {
            return None;
        }
        let wait = match requested > limit {
            true => Wait::InVain,
            false => Wait::For(self.wait(kind, requested, limit, now)),
        };
        Some(Refusal {
            kind,
            limit,
            used,
            requested,
            wait,
        })
    }

    fn standing(&self, kind: Kind, limits: &KeyLimits, now: Now) -> Option<Standing> {
        let (limit, used) = (kind.of(limits)?, self.used(kind));
        let reset = match used {
            0 => Duration::ZERO,
            _ => self.wait(kind, limit, limit, now),
        };
        Some(Standing {
            limit,
            remaining: limit.saturating_sub(used),
            reset,
        })
    }

    fn used(&self, kind: Kind) -> u64 {
        match kind {
            Kind::RequestsPerMinute => self.requests.used(),
            Kind::TokensPerMinute => self.tokens.used(),
            Kind::TokensPerDay => self.day.map_or(0, |day| day.tokens),
            Kind::ConcurrentRequests => self.running,
        }
    }

    /// Until there is room for so much.
    fn wait(&self, kind: Kind, wanted: u64, limit: u64, now: Now) -> Duration {
        match kind {
            Kind::RequestsPerMinute => now.until(self.requests.second_with_room(wanted, limit)),
            Kind::TokensPerMinute => now.until(self.tokens.second_with_room(wanted, limit)),
            Kind::TokensPerDay => now.until_midnight(),
            // Nobody knows when a call ends.
            Kind::ConcurrentRequests => Duration::from_secs(1),
        }
    }
}

const DAY_S: i64 = 86_400;

impl Now {
    fn second(self) -> u64 {
        self.clock.as_secs()
    }

    fn day(self) -> i64 {
        self.wall.div_euclid(DAY_S)
    }

    fn until(self, second: u64) -> Duration {
        Duration::from_secs(second).saturating_sub(self.clock)
    }

    fn until_midnight(self) -> Duration {
        Duration::from_secs((DAY_S - self.wall.rem_euclid(DAY_S)) as u64)
    }
}

#[cfg(test)]
mod tests {
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
}
