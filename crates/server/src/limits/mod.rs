//! What a key may ask for: requests and tokens in a minute, tokens in a day, calls at a time.
//!
//! A call takes its [`Place`] before its body is read, so that a refusal costs next to nothing. Its
//! prompt counts as soon as its length is known, its answer as it comes out: how long that gets
//! nobody knows before, and to set the largest possible aside would refuse calls that fit. What
//! turns out to be too much is paid back: the key waits until its average is what its limit says.

mod account;
mod kind;
mod window;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use portcullis_engine::GenerateRequest;
use portcullis_ledger::Timestamp;
use portcullis_store::{KeyId, KeyLimits, UsageFilter};
use portcullis_types::Usage;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::state::App;
use account::{Account, Now, Standing, Taken};
use kind::{Refusal, Wait, in_words};

/// What keys with limits have used.
#[derive(Default)]
pub(crate) struct Limiter(Mutex<Accounts>);

#[derive(Default)]
struct Accounts {
    of_keys: HashMap<KeyId, Account>,
    /// How many there may be before those that are idle are looked for.
    sweep_at: usize,
}

/// The fewest accounts that are worth a sweep.
const SWEEP_MIN: usize = 1024;

/// The place of a call among those that its key may make. Dropping it is the end of the call.
pub(crate) struct Place(Option<Held>);

struct Held {
    meter: Meter,
    taken: Taken,
    /// Tokens that the call has used, as `/v1/usage` will count them.
    used: u64,
}

/// Tells how a key stands with its limits.
pub(crate) struct Meter {
    app: App,
    key: KeyId,
    limits: KeyLimits,
}

/// Takes a place for a call.
///
/// # Errors
/// 429: a limit of the key is reached. Such a call is none, and on no record.
pub(crate) async fn admit(app: &App, caller: &Caller) -> Result<Place, ApiError> {
    let Some((key, limits)) = caller.limits() else {
        return Ok(Place(None));
    };
    if limits == KeyLimits::default() {
        // Its calls run uncounted from now on: its day has to be read again, should it get limits.
        app.limiter.with_open(key, Account::forget_day);
        return Ok(Place(None));
    }
    let meter = Meter {
        app: Arc::clone(app),
        key: key.clone(),
        limits,
    };
    meter.read_day().await?;
    let taken = meter.ask(|account, now| account.admit(&limits, now))?;
    let used = 0;
    Ok(Place(Some(Held { meter, taken, used })))
}

impl Place {
    /// Counts the prompts of the call.
    ///
    /// # Errors
    /// 429: the key has not that many tokens left.
    pub(crate) fn admit_prompts(&mut self, requests: &[GenerateRequest]) -> Result<(), ApiError> {
        self.admit_tokens(requests.iter().map(|it| it.prompt_len() as u64).sum())
    }

    /// Counts so many tokens of prompts.
    ///
    /// # Errors
    /// As [`Self::admit_prompts`].
    pub(crate) fn admit_tokens(&mut self, tokens: u64) -> Result<(), ApiError> {
        let Some(Held { meter, taken, .. }) = &mut self.0 else {
            return Ok(());
        };
        meter.ask(|account, now| account.admit_prompt(taken, tokens, &meter.limits, now))
    }

    /// Counts what the call has come to so far.
    pub(crate) fn note_usage(&mut self, usage: &Usage) {
        if let Some(Held { meter, taken, used }) = &mut self.0 {
            *used = usage.prompt_tokens + usage.completion_tokens + usage.discarded_tokens;
            meter.with(|account, now| account.note_tokens(taken, *used, &meter.limits, now));
        }
    }

    /// The server could not take the call up, so that it does not count.
    pub(crate) fn forgo(&mut self) {
        if let Some(Held { meter, taken, .. }) = &mut self.0 {
            meter.with_open(|account| account.forgo(taken));
        }
    }

    /// The call is over: another may begin.
    pub(crate) fn end(&mut self) {
        if let Some(Held { meter, taken, used }) = &mut self.0 {
            meter.with_open(|account| account.end(taken, *used));
        }
    }

    /// What tells of the key's limits once the call has its answer.
    pub(crate) fn meter(&self) -> Option<Meter> {
        self.0.as_ref().map(|held| held.meter.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end();
    }
}

impl Meter {
    /// The answer, and how the key now stands, in the headers of OpenAI's API.
    pub(crate) fn note_on(&self, mut response: Response) -> Response {
        response.headers_mut().extend(self.headers());
        response
    }

    fn headers(&self) -> HeaderMap {
        let (requests, tokens) = self.with(|account, now| {
            let tokens = account.tokens(&self.limits, now);
            (account.requests(&self.limits, now), tokens)
        });
        let mut headers = HeaderMap::new();
        put_standing(&mut headers, &REQUESTS, requests);
        put_standing(&mut headers, &TOKENS, tokens);
        headers
    }

    /// Finds out what the key used today before this server looked at it: what is on record.
    async fn read_day(&self) -> Result<(), ApiError> {
        if self.limits.tokens_per_day.is_none() {
            self.with_open(Account::forget_day);
            return Ok(());
        }
        if self.with(|account, _| account.knows_day()) {
            return Ok(());
        }
        let tokens = self.recorded_today().await?;
        self.with(|account, now| account.begin_day(tokens, now));
        Ok(())
    }

    async fn recorded_today(&self) -> Result<u64, ApiError> {
        let Some(ledger) = &self.app.ledger else {
            return Ok(0);
        };
        let filter = UsageFilter {
            key: Some(self.key.clone()),
            since: Some(Timestamp::from_unix_ms((self.app.wall)() * 1000)),
            ..UsageFilter::default()
        };
        let rows = ledger.records.usage(&filter).await?;
        let tokens = rows.iter().map(|row| row.usage.tokens);
        Ok(tokens
            .map(|it| it.prompt + it.released + it.discarded)
            .sum())
    }

    fn ask<T>(
        &self,
        work: impl FnOnce(&mut Account, Now) -> Result<T, Refusal>,
    ) -> Result<T, ApiError> {
        self.with(work).map_err(|refusal| self.refused(&refusal))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Account, Now) -> T) -> T {
        let now = Now {
            clock: self.app.clock.now(),
            wall: (self.app.wall)(),
        };
        self.app
            .limiter
            .with(&self.key, now, |account| work(account, now))
    }

    fn with_open(&self, work: impl FnOnce(&mut Account)) {
        self.app.limiter.with_open(&self.key, work);
    }

    fn refused(&self, refusal: &Refusal) -> ApiError {
        self.app.metrics.count_limit_refusal(refusal.kind.as_str());
        let mut headers = self.headers();
        headers.insert(RETRY_AFTER, refusal.retry_after_s().into());
        if refusal.wait == Wait::InVain {
            headers.insert(&X_SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        let kind = refusal.kind.error_type();
        ApiError::rate_limited(kind, refusal.message(&self.key), headers)
    }
}

impl Clone for Meter {
    fn clone(&self) -> Self {
        Self {
            app: Arc::clone(&self.app),
            key: self.key.clone(),
            limits: self.limits,
        }
    }
}

impl Limiter {
    fn with<T>(&self, key: &KeyId, now: Now, work: impl FnOnce(&mut Account) -> T) -> T {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !accounts.of_keys.contains_key(key) {
            accounts.make_room(now);
        }
        let account = accounts.of_keys.entry(key.clone());
        work(account.or_insert_with(|| Account::new(now)))
    }

    /// Works on the account if there is one, as there is while a call of the key is under way.
    fn with_open(&self, key: &KeyId, work: impl FnOnce(&mut Account)) {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.of_keys.get_mut(key) {
            work(account);
        }
    }
}

impl Accounts {
    /// Forgets the idle whenever there are twice as many as after the last time: there are never
    /// many more than keys that were at work in the last minute, or have a limit for the day.
    fn make_room(&mut self, now: Now) {
        if self.of_keys.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.of_keys.retain(|_, account| !account.is_idle(now));
            self.sweep_at = 2 * self.of_keys.len();
        }
    }
}

/// Names of the headers: limit, remaining, reset.
type StandingHeaders = [HeaderName; 3];

static REQUESTS: StandingHeaders = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
static TOKENS: StandingHeaders = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];
/// Those that tell how a key stands.
pub(crate) fn headers() -> impl Iterator<Item = HeaderName> {
    REQUESTS.iter().chain(&TOKENS).cloned()
}

/// OpenAI's clients obey it.
static X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

fn put_standing(headers: &mut HeaderMap, names: &StandingHeaders, standing: Option<Standing>) {
    let Some(standing) = standing else {
        return;
    };
    let [limit, remaining, reset] = names;
    headers.insert(limit, standing.limit.into());
    headers.insert(remaining, standing.remaining.into());
    if let Ok(time) = HeaderValue::from_str(&in_words(standing.reset)) {
        headers.insert(reset, time);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use super::*;

    fn key(number: u64) -> KeyId {
        format!("key_{number:016x}").parse().unwrap()
    }

    /// Keys come and go: what is remembered of them must not grow with those that were.
    #[test]
    fn keys_at_rest_are_forgotten_and_none_at_work() {
        let limits = KeyLimits {
            requests_per_minute: NonZeroU64::new(1),
            ..KeyLimits::default()
        };
        let limiter = Limiter::default();
        let ask = |number, seconds| {
            let clock = Duration::from_secs(seconds);
            let now = Now { clock, wall: 0 };
            limiter.with(&key(number), now, |account| account.admit(&limits, now))
        };
        let running = ask(0, 0);
        for number in 1..20_000 {
            let mut taken = ask(number, number / 10).unwrap();
            limiter.with_open(&key(number), |account| account.end(&mut taken, 0));
        }
        let remembered = limiter.0.lock().unwrap().of_keys.len();
        // 610 were at work in the last minute.
        assert!(remembered <= 2 * 611 + SWEEP_MIN, "{remembered}");
        assert!(ask(19_999, 2_000).is_err(), "it was just at work");
        limiter.with_open(&key(0), |account| account.end(&mut running.unwrap(), 0));
        assert!(limiter.0.lock().unwrap().of_keys.contains_key(&key(0)));
    }
}
