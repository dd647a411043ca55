//! What one key has used of its limits. No clock, no lock: whoever calls says what time it is.

#[cfg(test)]
mod tests;

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
