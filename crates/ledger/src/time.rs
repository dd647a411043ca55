//! Moments, as records write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment in milliseconds since 1970, written as RFC 3339 in UTC: `2026-11-21T07:39:00.123Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// So many milliseconds after the beginning of 1970; a moment before that is taken for it.
    #[must_use]
    pub fn from_unix_ms(milliseconds: i64) -> Self {
        Self(u64::try_from(milliseconds).unwrap_or(0).min(LATEST_MS))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(self) -> i64 {
        self.0.cast_signed()
    }
}

/// The last moment of the year 9999, beyond which RFC 3339 has no words.
const LATEST_MS: u64 = 253_402_300_799_999;

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = UNIX_EPOCH + Duration::from_millis(self.0);
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = humantime::parse_rfc3339(&text).map_err(de::Error::custom)?;
        Ok(Self::from(time))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_unix_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_for_people_and_read_back() {
        let at = Timestamp::from_unix_ms(1_798_761_599_123);
        let json = serde_json::to_string(&at).unwrap();
        assert_eq!(json, r#""2026-12-31T23:59:59.123Z""#);
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), at);
        assert!(serde_json::from_str::<Timestamp>(r#""yesterday""#).is_err());
        let latest = Timestamp::from_unix_ms(i64::MAX);
        assert_eq!(latest.to_string(), "9999-12-31T23:59:59.999Z");
    }
}
