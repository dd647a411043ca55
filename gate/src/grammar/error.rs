//! What is wrong with a grammar, and how to mend it.

use crate::limits::{
    GRAMMAR_BYTES_MAX, GRAMMAR_MESSAGE_BYTES_MAX, GRAMMAR_NESTING_MAX, GRAMMAR_PARTS_MAX,
};

/// A grammar that cannot be enforced as it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// More text than is looked at.
    #[error("the grammar has {bytes} bytes; at most {GRAMMAR_BYTES_MAX} are allowed")]
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// Brackets within brackets.
    #[error("brackets are nested deeper than {GRAMMAR_NESTING_MAX}")]
    NestedTooDeep,
    /// More schemas, or rules and brackets of Lark, than are looked at.
    #[error("the grammar has more than {GRAMMAR_PARTS_MAX} parts")]
    TooManyParts,
    /// The schema is no JSON.
    #[error("the schema is no JSON: {0}")]
    NoJson(String),
    /// A keyword that the schema's place does not allow, or that would not be enforced.
    #[error("`{keyword}` at `{pointer}` is not enforced")]
    Keyword {
        /// The keyword.
        keyword: String,
        /// JSON pointer of the schema it stands in; `/` is the whole.
        pointer: String,
    },
    /// A keyword whose value would be read in another way than it is meant.
    #[error("`{keyword}` at `{pointer}` cannot be {value}")]
    Value {
        /// The keyword.
        keyword: String,
        /// JSON pointer of the schema it stands in; `/` is the whole.
        pointer: String,
        /// What it is.
        value: String,
    },
    /// A construct of Lark or of a regular expression that says nothing about the text.
    #[error("{construct} is not supported here")]
    Construct {
        /// The construct.
        construct: &'static str,
        /// What to write instead.
        mend: &'static str,
    },
    /// What llguidance says, shortened.
    #[error("{0}")]
    Library(String),
}

impl GrammarError {
    pub(super) fn from_library(error: impl ToString) -> Self {
        Self::Library(shorten(&error.to_string()))
    }

    /// What the author can do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::TooLong { .. } | Self::NestedTooDeep | Self::TooManyParts => {
                "ask for less, or split the rule in two"
            }
            Self::NoJson(_) => "write a JSON object",
            Self::Keyword { .. } => {
                "leave it out, or say the same with `type`, `enum`, `pattern`, `properties`, \
                 `required`, `items` and the like"
            }
            Self::Value { .. } => "see draft 2020-12 of JSON Schema, and keep numbers small",
            Self::Construct { mend, .. } => mend,
            Self::Library(_) => "mend the grammar, or make it smaller",
        }
    }
}

/// The first lines of a message of the library, without its markers and backtraces.
pub(super) fn shorten(message: &str) -> String {
    let lines = message.lines().take_while(|line| !line.starts_with('<'));
    let mut short = lines.collect::<Vec<_>>().join("; ");
    if short.len() > GRAMMAR_MESSAGE_BYTES_MAX {
        short.truncate(short.floor_char_boundary(GRAMMAR_MESSAGE_BYTES_MAX));
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_at_a_character_and_lose_their_markers() {
        assert_eq!(
            shorten("panic: no\n<backtrace>\nmuch\n</backtrace>"),
            "panic: no"
        );
        let short = shorten(&"é".repeat(GRAMMAR_MESSAGE_BYTES_MAX));
        assert!(short.ends_with("é…") && short.len() <= GRAMMAR_MESSAGE_BYTES_MAX + 3);
    }
}
