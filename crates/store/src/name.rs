//! Names from outside, as types that cannot be wrong.

use thiserror::Error;

/// Why a text is not the name it was meant to be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{given:?} is not {what}: {rule}")]
pub struct NameError {
    /// What the name was for, with its article, e.g. `a rule-set name`.
    pub what: &'static str,
    /// What a right one looks like.
    pub rule: &'static str,
    /// The beginning of what was given.
    pub given: String,
}

impl NameError {
    pub(crate) fn new(what: &'static str, rule: &'static str, given: &str) -> Self {
        let given = given.chars().take(LABEL_CHARS_MAX).collect();
        Self { what, rule, given }
    }
}

pub(crate) const LABEL_CHARS_MAX: usize = 128;
pub(crate) const LABEL_RULE: &str =
    "use 1 to 128 printable characters, without a space at either end";

/// Whether a person can read `text` as it stands, on one line.
pub(crate) fn is_label(text: &str) -> bool {
    (1..=LABEL_CHARS_MAX).contains(&text.chars().count())
        && text.trim() == text
        && !text.chars().any(is_unprintable)
}

/// Control characters, and those that break a line or reorder the text around them
/// (Unicode UAX #9): a name must not be able to disguise itself in a terminal or a table.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}'
        )
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A string newtype whose only door is `FromStr`, for JSON too.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:expr, $rule:expr, $accepts:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let accepts: fn(&str) -> bool = $accepts;
                match accepts(text) {
                    true => Ok(Self(text.to_owned())),
                    false => Err($crate::NameError::new($what, $rule, text)),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::NameError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}
pub(crate) use name_type;
