//! The command line of API keys, as people type it.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::UNIX_EPOCH;

use clap::{Args, Subcommand};
use portcullis_store::KeyChange;

use super::{OutputArgs, ServerArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key; it is printed this once
    Create(KeysCreateArgs),
    /// List keys, never their secrets
    List(KeysListArgs),
    /// Change until when a key works and how much it may ask for
    Update(KeysUpdateArgs),
    /// Revoke a key
    Revoke(KeysRevokeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KeysCreateArgs {
    /// What it may do: inference, author, approver, auditor or admin
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: String,
    /// Who or what it is for
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) terms: KeyTermsArgs,
    #[command(flatten)]
    pub(crate) place: KeysPlaceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KeysListArgs {
    #[command(flatten)]
    pub(crate) place: KeysPlaceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KeysUpdateArgs {
    /// Id of the key
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) terms: KeyTermsArgs,
    #[command(flatten)]
    pub(crate) place: KeysPlaceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KeysRevokeArgs {
    /// Id of the key
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Do not ask, also when nobody can administer afterwards
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) place: KeysPlaceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Where keys are: behind a server, or in a data directory that one may read.
#[derive(Debug, Args)]
pub(crate) struct KeysPlaceArgs {
    /// Work on this data directory instead of asking a server
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "api_key"])]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Until when a key works, and how much it may ask for.
#[derive(Debug, Default, Args)]
pub(crate) struct KeyTermsArgs {
    /// Time from now (90d, 12h), a day (2027-01-01, from its first second in UTC on), a moment
    /// (2027-01-01T08:00:00Z), or never
    #[arg(long, value_name = "WHEN")]
    expires: Option<Expiry>,
    /// Calls of models in any minute, or none for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    requests_per_minute: Option<Limit>,
    /// Tokens of prompts and answers in any minute, or none for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    tokens_per_minute: Option<Limit>,
    /// Tokens of prompts and answers in a day of UTC, or none for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    tokens_per_day: Option<Limit>,
    /// Calls of models under way at a time, or none for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_concurrent_requests: Option<Limit>,
}

impl KeyTermsArgs {
    /// What they make of a key, at this time in Unix seconds.
    pub(crate) fn change(&self, now: i64) -> KeyChange {
        let limit = |given: Option<Limit>| given.map(|Limit(limit)| limit);
        KeyChange {
            expires_at: self.expires.map(|expiry| expiry.at(now)),
            requests_per_minute: limit(self.requests_per_minute),
            tokens_per_minute: limit(self.tokens_per_minute),
            tokens_per_day: limit(self.tokens_per_day),
            max_concurrent_requests: limit(self.max_concurrent_requests),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    Never,
    /// Seconds from now.
    After(i64),
    /// Unix seconds.
    At(i64),
}

impl Expiry {
    fn at(self, now: i64) -> Option<i64> {
        match self {
            Self::Never => None,
            Self::After(seconds) => Some(now.saturating_add(seconds)),
            Self::At(at) => Some(at),
        }
    }
}

impl FromStr for Expiry {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ALLOWED: &str = "write a time from now (90d, 12h), a day (2027-01-01), a moment \
                               (2027-01-01T08:00:00Z) or never";
        if text == "never" {
            return Ok(Self::Never);
        }
        let moment = match text.len() {
            10 => humantime::parse_rfc3339(&format!("{text}T00:00:00Z")),
            _ => humantime::parse_rfc3339(text),
        };
        if let Ok(since) = moment.map(|moment| moment.duration_since(UNIX_EPOCH)) {
            let since = since.map_err(|_| ALLOWED)?;
            return i64::try_from(since.as_secs())
                .map(Self::At)
                .map_err(|_| ALLOWED);
        }
        let after = humantime::parse_duration(text).map_err(|_| ALLOWED)?;
        i64::try_from(after.as_secs())
            .map(Self::After)
            .map_err(|_| ALLOWED)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit(Option<NonZeroU64>);

impl FromStr for Limit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self(None)),
            number => number
                .parse()
                .map(|limit| Self(Some(limit)))
                .map_err(|_| "write a whole number of at least 1, or none for no limit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_time_from_now_or_a_date() {
        let check = |text: &str, expect| {
            let read: Result<Expiry, _> = text.parse();
            assert_eq!(read.ok().map(|expiry| expiry.at(1_000)), expect, "{text}");
        };
        check("90d", Some(Some(1_000 + 90 * 86_400)));
        check("12h", Some(Some(1_000 + 12 * 3_600)));
        check("1d 6h", Some(Some(1_000 + 30 * 3_600)));
        // `date -u -d 2027-01-01 +%s`
        check("2027-01-01", Some(Some(1_798_761_600)));
        check("2027-01-01T08:00:00Z", Some(Some(1_798_790_400)));
        check("2027-01-01T08:00:00.5Z", Some(Some(1_798_790_400)));
        check("never", Some(None));
        for wrong in [
            "",
            "90",
            "d",
            "-1d",
            "2027-13-01",
            "tomorrow",
            "1 January 2027",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_limit_is_at_least_one_or_none() {
        let check = |text: &str, expect| {
            let read: Result<Limit, _> = text.parse();
            assert_eq!(read.ok().map(|Limit(limit)| limit), expect, "{text}");
        };
        check("60", Some(NonZeroU64::new(60)));
        check("none", Some(None));
        for wrong in ["0", "-1", "1.5", "", "many", "18446744073709551616"] {
            check(wrong, None);
        }
    }
}
