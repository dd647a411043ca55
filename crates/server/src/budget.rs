//! What the gate may spend on a call: the quota of the call, and what is left of its key's budget.
//!
//! A key has so many attempts and discarded tokens a minute. A call reserves its quota when it
//! begins and gives back at its end what it did not use; in between its quota is fixed, so that
//! what other calls do changes nothing in it. When nothing is left, a call runs all the same: its
//! `resample` rules go to their `then` at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_gate::{BoundSet, Gate, Quota};
use portcullis_store::KeyId;

/// Keys with a budget that is not full, at most. More than that many who resample in one minute
/// find nothing left.
const KEYS_MAX: usize = 1 << 16;

/// The time in which an empty budget fills, in milliseconds.
const PERIOD_MS: u64 = 60_000;

/// What resampling may cost one key in a minute, over all its calls. `None` is without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyQuota {
    /// Roll-backs.
    pub attempts_per_minute: Option<u32>,
    /// Tokens generated and thrown away.
    pub discarded_tokens_per_minute: Option<u32>,
}

impl Default for KeyQuota {
    fn default() -> Self {
        Self {
            attempts_per_minute: Some(4_096),
            discarded_tokens_per_minute: Some(131_072),
        }
    }
}

/// The budgets of all keys. Callers without a key share one.
pub(crate) struct Budgets {
    quota: KeyQuota,
    buckets: Mutex<HashMap<Option<KeyId>, Bucket>>,
}

impl Budgets {
    pub(crate) fn new(quota: KeyQuota) -> Self {
        Self {
            quota,
            buckets: Mutex::default(),
        }
    }

    /// Takes what a call with so many choices may cost, `wanted` at most.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        key: Option<&KeyId>,
        wanted: Quota,
        choices: usize,
        now: Duration,
    ) -> Reservation {
        let reserved = self.with_bucket(key, now, |bucket| bucket.take(wanted));
        Reservation {
            budgets: Arc::clone(self),
            key: key.cloned(),
            reserved: reserved.unwrap_or(Quota::NONE),
            choices,
            running: 0,
            used: Cost::default(),
        }
    }

    fn give_back(&self, key: Option<&KeyId>, cost: Cost) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has filled meanwhile is gone, and needs nothing.
        if let Some(bucket) = buckets.get_mut(&key.cloned()) {
            bucket.attempts.add(cost.attempts);
            bucket.tokens.add(cost.tokens);
        }
    }

    /// `None` if there are too many keys.
    fn with_bucket<T>(
        &self,
        key: Option<&KeyId>,
        now: Duration,
        work: impl FnOnce(&mut Bucket) -> T,
    ) -> Option<T> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key.cloned();
        if buckets.len() >= KEYS_MAX && !buckets.contains_key(&key) {
            // A full bucket is as good as none.
            buckets.retain(|_, bucket| !bucket.fill(now));
            if buckets.len() >= KEYS_MAX {
                return None;
            }
        }
        let bucket = buckets
            .entry(key)
            .or_insert_with(|| Bucket::full(self.quota, now));
        bucket.fill(now);
        Some(work(bucket))
    }
}

/// Whether a gate may ask for another attempt: only then is there anything to reserve.
pub(crate) fn may_resample(gate: &Gate) -> bool {
    gate.sets().iter().any(BoundSet::can_resample)
}

/// What one call has taken from the budget of its key. Dropping it gives back what was not used.
pub(crate) struct Reservation {
    budgets: Arc<Budgets>,
    key: Option<KeyId>,
    reserved: Quota,
    choices: usize,
    /// Choices that have begun and not told what they cost.
    running: usize,
    used: Cost,
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    attempts: u64,
    tokens: u64,
}

impl Reservation {
    /// What each choice may cost: an even share of the call, and at least one of each while there
    /// is any.
    pub(crate) fn per_choice(&self) -> Quota {
        let share = |total: u32| match total {
            0 => 0,
            total => (total as usize / self.choices.max(1)).max(1) as u32,
        };
        match self.reserved {
            Quota {
                attempts_max: 0, ..
            }
            | Quota {
                discarded_tokens_max: 0,
                ..
            } => Quota::NONE,
            some => Quota {
                attempts_max: share(some.attempts_max),
                discarded_tokens_max: share(some.discarded_tokens_max),
            },
        }
    }

    /// The call begins.
    pub(crate) fn begin(&mut self) {
        self.running = self.choices;
    }

    /// A choice has ended and tells what it cost.
    pub(crate) fn settle(&mut self, attempts: u32, discarded_tokens: u64) {
        self.running = self.running.saturating_sub(1);
        self.used.attempts += u64::from(attempts);
        self.used.tokens += discarded_tokens;
    }
}

impl Drop for Reservation {
    /// A choice that was cut off cannot tell what it cost, so it counts as if it had cost its whole
    /// share: else who always leaves early would resample for nothing.
    fn drop(&mut self) {
        let (share, running) = (self.per_choice(), self.running as u64);
        let left = |reserved: u32, used: u64, share: u32| {
            u64::from(reserved).saturating_sub(used + running * u64::from(share))
        };
        let reserved = self.reserved;
        let cost = Cost {
            attempts: left(
                reserved.attempts_max,
                self.used.attempts,
                share.attempts_max,
            ),
            tokens: left(
                reserved.discarded_tokens_max,
                self.used.tokens,
                share.discarded_tokens_max,
            ),
        };
        self.budgets.give_back(self.key.as_ref(), cost);
    }
}

/// What is left of one key's budget.
#[derive(Debug)]
struct Bucket {
    attempts: Level,
    tokens: Level,
    filled_at_ms: u64,
}

impl Bucket {
    fn full(quota: KeyQuota, now: Duration) -> Self {
        Self {
            attempts: Level::full(quota.attempts_per_minute),
            tokens: Level::full(quota.discarded_tokens_per_minute),
            filled_at_ms: millis(now),
        }
    }

    /// Adds what has come since; says whether it is full.
    fn fill(&mut self, now: Duration) -> bool {
        let elapsed_ms = millis(now).saturating_sub(self.filled_at_ms);
        self.filled_at_ms += elapsed_ms;
        self.attempts.fill(elapsed_ms);
        self.tokens.fill(elapsed_ms);
        self.attempts.is_full() && self.tokens.is_full()
    }

    fn take(&mut self, wanted: Quota) -> Quota {
        Quota {
            attempts_max: self.attempts.take(wanted.attempts_max),
            discarded_tokens_max: self.tokens.take(wanted.discarded_tokens_max),
        }
    }
}

/// One amount that fills evenly. In units a millisecond times the period, so that whole numbers
/// lose nothing.
#[derive(Debug)]
struct Level {
    /// `None`: without limit.
    per_period: Option<u64>,
    scaled: u64,
}

impl Level {
    fn full(per_period: Option<u32>) -> Self {
        let per_period = per_period.map(u64::from);
        Self {
            per_period,
            scaled: per_period.unwrap_or(0) * PERIOD_MS,
        }
    }

    fn max(&self) -> u64 {
        self.per_period.unwrap_or(0) * PERIOD_MS
    }

    fn is_full(&self) -> bool {
        self.scaled == self.max()
    }

    fn fill(&mut self, elapsed_ms: u64) {
        let gained = elapsed_ms.saturating_mul(self.per_period.unwrap_or(0));
        self.scaled = self.scaled.saturating_add(gained).min(self.max());
    }

    fn add(&mut self, units: u64) {
        let gained = units.saturating_mul(PERIOD_MS);
        self.scaled = self.scaled.saturating_add(gained).min(self.max());
    }

    fn take(&mut self, wanted: u32) -> u32 {
        if self.per_period.is_none() {
            return wanted;
        }
        let left = u32::try_from(self.scaled / PERIOD_MS).unwrap_or(u32::MAX);
        let taken = wanted.min(left);
        self.scaled -= u64::from(taken) * PERIOD_MS;
        taken
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Quota = Quota {
        attempts_max: 8,
        discarded_tokens_max: 100,
    };

    fn budgets(attempts: Option<u32>, tokens: Option<u32>) -> Arc<Budgets> {
        Arc::new(Budgets::new(KeyQuota {
            attempts_per_minute: attempts,
            discarded_tokens_per_minute: tokens,
        }))
    }

    fn key(number: u64) -> KeyId {
        format!("key_{number:016x}").parse().unwrap()
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn quota(attempts_max: u32, discarded_tokens_max: u32) -> Quota {
        Quota {
            attempts_max,
            discarded_tokens_max,
        }
    }

    /// A call of one choice that costs this much; returns what it was allowed.
    fn call(budgets: &Arc<Budgets>, now: Duration, attempts: u32, tokens: u64) -> Quota {
        let mut reservation = budgets.reserve(Some(&key(1)), WANTED, 1, now);
        reservation.begin();
        reservation.settle(attempts, tokens);
        reservation.per_choice()
    }

    #[test]
    fn choices_share_the_quota_of_their_call() {
        let check = |choices, expect| {
            let budgets = budgets(None, None);
            let reservation = budgets.reserve(None, WANTED, choices, secs(0));
            assert_eq!(reservation.per_choice(), expect, "{choices}");
        };
        check(1, WANTED);
        check(3, quota(2, 33));
        check(8, quota(1, 12));
        // At least one attempt each while any are left.
        check(64, quota(1, 1));
    }

    #[test]
    fn what_is_not_used_is_given_back() {
        let budgets = budgets(Some(10), Some(1000));
        for _ in 0..5 {
            assert_eq!(call(&budgets, secs(0), 0, 0), WANTED);
        }
        assert_eq!(call(&budgets, secs(0), 6, 50), WANTED);
        assert_eq!(call(&budgets, secs(0), 1, 0), quota(4, 100));
        assert_eq!(call(&budgets, secs(0), 3, 0), quota(3, 100));
        assert_eq!(call(&budgets, secs(0), 0, 0), Quota::NONE);
    }

    #[test]
    fn either_amount_alone_can_run_out() {
        let budgets = budgets(None, Some(150));
        assert_eq!(call(&budgets, secs(0), 1, 100), WANTED);
        assert_eq!(call(&budgets, secs(0), 1, 50), quota(8, 50));
        assert_eq!(call(&budgets, secs(0), 0, 0), Quota::NONE);
    }

    #[test]
    fn a_budget_fills_evenly_in_a_minute() {
        let budgets = budgets(Some(60), None);
        for _ in 0..7 {
            call(&budgets, secs(0), 8, 0);
        }
        assert_eq!(call(&budgets, secs(0), 8, 0).attempts_max, 4);
        // Many short steps are worth as much as one long one.
        for ms in (1..=2500).step_by(7) {
            call(&budgets, Duration::from_millis(ms), 0, 0);
        }
        assert_eq!(
            call(&budgets, Duration::from_millis(2500), 8, 0).attempts_max,
            2
        );
        assert_eq!(call(&budgets, secs(600), 0, 0), WANTED);
    }

    #[test]
    fn calls_at_the_same_time_share_what_is_there() {
        let budgets = budgets(Some(10), None);
        let (one, other) = (key(1), key(2));
        let first = budgets.reserve(Some(&one), WANTED, 1, secs(0));
        let second = budgets.reserve(Some(&one), WANTED, 1, secs(0));
        assert_eq!(second.per_choice().attempts_max, 2);
        let elsewhere = budgets.reserve(Some(&other), WANTED, 1, secs(0));
        assert_eq!(elsewhere.per_choice(), WANTED, "another key has its own");
        assert_eq!(first.per_choice(), WANTED, "fixed when the call began");
        drop(first);
        let third = budgets.reserve(Some(&one), WANTED, 1, secs(0));
        assert_eq!(third.per_choice(), WANTED, "it never began");
    }

    #[test]
    fn a_choice_that_is_cut_off_costs_its_share() {
        let budgets = budgets(Some(16), None);
        let mut reservation = budgets.reserve(Some(&key(1)), WANTED, 2, secs(0));
        reservation.begin();
        reservation.settle(1, 0);
        drop(reservation);
        // 16 - 1 - 4
        let wanted = quota(16, 1);
        let left = budgets.reserve(Some(&key(1)), wanted, 1, secs(0));
        assert_eq!(left.per_choice().attempts_max, 11);
    }

    #[test]
    fn the_number_of_keys_is_bounded_and_full_budgets_make_room() {
        let budgets = budgets(Some(8), None);
        for number in 0..KEYS_MAX as u64 {
            budgets
                .reserve(Some(&key(number)), WANTED, 1, secs(0))
                .begin();
        }
        let late = key(u64::MAX);
        let reserve = |now| budgets.reserve(Some(&late), WANTED, 1, now).per_choice();
        assert_eq!(reserve(secs(0)), Quota::NONE);
        assert_eq!(reserve(secs(60)), WANTED);
        assert_eq!(budgets.buckets.lock().unwrap().len(), 1);
    }
}
