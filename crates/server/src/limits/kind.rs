//! The limits that a key can have, and what is said when one is reached.

use std::time::Duration;

use portcullis_store::{KeyId, KeyLimits};

/// A limit of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    RequestsPerMinute,
    TokensPerMinute,
    TokensPerDay,
    ConcurrentRequests,
}

/// Why a call is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) kind: Kind,
    pub(super) limit: u64,
    pub(super) used: u64,
    pub(super) requested: u64,
    /// Until there is room for it; it may never fit.
    pub(super) wait: Wait,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    For(Duration),
    /// More is asked for than the limit ever allows.
    InVain,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [
        Self::RequestsPerMinute,
        Self::TokensPerMinute,
        Self::TokensPerDay,
        Self::ConcurrentRequests,
    ];

    /// What it is set to, if it is.
    pub(super) fn of(self, limits: &KeyLimits) -> Option<u64> {
        let limit = match self {
            Self::RequestsPerMinute => limits.requests_per_minute,
            Self::TokensPerMinute => limits.tokens_per_minute,
            Self::TokensPerDay => limits.tokens_per_day,
            Self::ConcurrentRequests => limits.max_concurrent_requests,
        };
        limit.map(Into::into)
    }

    /// Its name in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests_per_minute",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::TokensPerDay => "tokens_per_day",
            Self::ConcurrentRequests => "max_concurrent_requests",
        }
    }

    /// The `type` of the error, as OpenAI's API has it.
    pub(super) fn error_type(self) -> &'static str {
        match self {
            Self::RequestsPerMinute | Self::ConcurrentRequests => "requests",
            Self::TokensPerMinute | Self::TokensPerDay => "tokens",
        }
    }

    /// In the words of OpenAI's API, which some clients look for.
    fn words(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests per min (RPM)",
            Self::TokensPerMinute => "tokens per min (TPM)",
            Self::TokensPerDay => "tokens per day (TPD)",
            Self::ConcurrentRequests => "concurrent requests",
        }
    }
}

impl Refusal {
    pub(super) fn message(&self, key: &KeyId) -> String {
        let Self {
            kind,
            limit,
            used,
            requested,
            wait,
        } = self;
        let words = kind.words();
        match wait {
            Wait::For(wait) => format!(
                "Rate limit reached for {key} on {words}: Limit {limit}, Used {used}, Requested \
                 {requested}. Please try again in {}.",
                in_words(*wait)
            ),
            Wait::InVain => format!(
                "Request too large for {key} on {words}: Limit {limit}, Requested {requested}. \
                 Send a shorter prompt, or ask your administrator for a higher limit."
            ),
        }
    }

    /// Whole seconds for `Retry-After`.
    pub(super) fn retry_after_s(&self) -> u64 {
        match self.wait {
            Wait::For(wait) => (wait.as_millis().div_ceil(1000) as u64).max(1),
            // Clients that do not know `x-should-retry` should at least not hurry.
            Wait::InVain => 60,
        }
    }
}

/// As OpenAI's API and Go write times: `20ms`, `1.5s`, `6m0s`, `23h59m59s`.
pub(super) fn in_words(time: Duration) -> String {
    let (ms, s) = (time.subsec_millis(), time.as_secs());
    if s == 0 && ms > 0 {
        return format!("{ms}ms");
    }
    let fraction = match ms {
        0 => String::new(),
        ms => format!(".{ms:03}").trim_end_matches('0').to_owned(),
    };
    let seconds = format!("{}{fraction}s", s % 60);
    match (s / 3600, s / 60 % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_clients_read_them() {
        let check = |ms, expect: &str| assert_eq!(in_words(Duration::from_millis(ms)), expect);
        check(0, "0s");
        check(20, "20ms");
        check(999, "999ms");
        check(1_000, "1s");
        check(1_500, "1.5s");
        check(8_640, "8.64s");
        check(60_005, "1m0.005s");
        check(360_000, "6m0s");
        check(86_399_000, "23h59m59s");
    }

    #[test]
    fn a_refusal_says_what_and_how_long() {
        let refusal = |used, requested, wait| Refusal {
            kind: Kind::TokensPerMinute,
            limit: 100,
            used,
            requested,
            wait,
        };
        let key = "key_0123456789abcdef".parse().unwrap();
        let soon = refusal(90, 20, Wait::For(Duration::from_millis(1)));
        assert_eq!(
            soon.message(&key),
            "Rate limit reached for key_0123456789abcdef on tokens per min (TPM): Limit 100, Used \
             90, Requested 20. Please try again in 1ms."
        );
        assert_eq!(soon.retry_after_s(), 1);
        let later = refusal(90, 20, Wait::For(Duration::from_millis(20_001)));
        assert_eq!(later.retry_after_s(), 21);
        let never = refusal(0, 101, Wait::InVain);
        assert!(never.message(&key).starts_with("Request too large"));
        assert!(
            Wait::InVain > later.wait,
            "the longest wait is the one to tell"
        );
    }
}
