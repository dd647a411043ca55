//! Grammars as their authors write them, and what of it is refused.

use llguidance::{
    api::{GrammarInit, TopLevelGrammar},
    earley::lexerspec::LexerSpec,
    regex_to_lark,
};
use regex_syntax::hir::Look;
use serde_json::Value;

use super::{GrammarError, limits, schema};
use crate::limits::{GRAMMAR_BYTES_MAX, GRAMMAR_NESTING_MAX, GRAMMAR_PARTS_MAX};

/// White space between two tokens of JSON: a space, or a new line with its indentation. Any number
/// of them would be JSON as well, and some models would never stop.
const WHITE_SPACE: &str = r"\x20|\x0A[\x20\x09]{0,32}";

/// The text of a grammar, checked for what the library would ignore.
#[derive(Clone, Debug)]
pub(super) enum Source {
    JsonSchema(Value),
    Lark(String),
    Regex(String),
    /// Lark of our own, around JSON schemas that were checked.
    Form(String),
}

impl Source {
    pub(super) fn json_schema(text: &str) -> Result<Self, GrammarError> {
        check_length(text)?;
        check_nesting(text)?;
        let value =
            serde_json::from_str(text).map_err(|error| GrammarError::NoJson(error.to_string()))?;
        schema::check(&value)?;
        Ok(Self::JsonSchema(value))
    }

    pub(super) fn lark(text: &str) -> Result<Self, GrammarError> {
        check_length(text)?;
        check_nesting(text)?;
        if text.matches(['(', '[', '{', ':']).count() > GRAMMAR_PARTS_MAX {
            return Err(GrammarError::TooManyParts);
        }
        if text.split("temperature").skip(1).any(is_assigned) {
            return Err(GrammarError::Construct {
                construct: "`temperature`",
                mend: "leave it out: the call chooses it",
            });
        }
        match REFUSED_IN_LARK
            .iter()
            .find(|(word, ..)| text.contains(word))
        {
            Some(&(_, construct, mend)) => Err(GrammarError::Construct { construct, mend }),
            None => Ok(Self::Lark(text.to_owned())),
        }
    }

    pub(super) fn form(text: &str, schemas: &[Value]) -> Result<Self, GrammarError> {
        use std::fmt::Write as _;
        let mut whole = text.to_owned();
        for (place, schema) in schemas.iter().enumerate() {
            check_schema(schema)?;
            let rule = write!(whole, "\njson_{place}: %json {}\n", bounded(schema));
            rule.expect("a string takes all that is written to it");
        }
        check_length(&whole)?;
        Ok(Self::Form(whole))
    }

    pub(super) fn regex(pattern: &str) -> Result<Self, GrammarError> {
        check_length(pattern)?;
        let hir = regex_syntax::parse(pattern).map_err(GrammarError::from_library)?;
        if hir.properties().look_set().iter().any(|_: Look| true) {
            return Err(GrammarError::Construct {
                construct: "an anchor or a word boundary",
                mend: "leave it out: the expression matches the whole completion",
            });
        }
        // The library quotes the pattern for Lark; a space in verbose mode does not survive that.
        if regex_syntax::parse(&regex_to_lark(pattern, "")).ok() != Some(hir) {
            return Err(GrammarError::Construct {
                construct: "this use of spaces or comments",
                mend: "write the expression without verbose mode, `(?x)`",
            });
        }
        Ok(Self::Regex(pattern.to_owned()))
    }

    /// The grammar in the library's form.
    pub(super) fn parse(&self) -> Result<GrammarInit, GrammarError> {
        let grammar = match self {
            Self::JsonSchema(value) => TopLevelGrammar::from_json_schema(bounded(value)),
            Self::Lark(text) | Self::Form(text) => TopLevelGrammar::from_lark(text.clone()),
            Self::Regex(pattern) => TopLevelGrammar::from_regex(pattern),
        };
        let (grammar, lexer) = GrammarInit::Serialized(grammar)
            .to_internal(None, limits())
            .map_err(GrammarError::from_library)?;
        refuse_ignored(&lexer)?;
        Ok(GrammarInit::Internal(grammar, lexer))
    }
}

/// Told by their text, for the library has no place at which they could be told later. That they
/// could stand in a string of the grammar is no loss.
const REFUSED_IN_LARK: [(&str, &str, &str); 2] = [
    (
        "%json",
        "`%json`",
        "use a rule with json_schema, or spell the JSON out",
    ),
    (
        "allow_invalid_utf8",
        "`allow_invalid_utf8`",
        "leave it out: a completion is text",
    ),
];

/// What the library would take, but means nothing to a mask over text.
fn refuse_ignored(lexer: &LexerSpec) -> Result<(), GrammarError> {
    let refused = [
        (
            lexer.special_token_rx.is_some(),
            "a token, as in `<|end|>` or `<[7]>`,",
            "name text instead: a grammar is about text",
        ),
        (
            lexer.has_stop,
            "`stop`",
            "use `suffix`: what stops would not be part of the text",
        ),
        (
            lexer.has_max_tokens,
            "`max_tokens`",
            "use a rule with length",
        ),
    ];
    if let Some(&(_, construct, mend)) = refused.iter().find(|(found, ..)| *found) {
        return Err(GrammarError::Construct { construct, mend });
    }
    match lexer.grammar_warnings.first() {
        Some((warning, _)) => Err(GrammarError::from_library(warning)),
        None => Ok(()),
    }
}

fn is_assigned(after: &str) -> bool {
    after.trim_start().starts_with('=')
}

/// Refuses a schema that would not be enforced as its author means it.
pub(super) fn check_schema(schema: &Value) -> Result<(), GrammarError> {
    let text = schema.to_string();
    check_length(&text)?;
    check_nesting(&text)?;
    schema::check(schema)
}

fn check_length(text: &str) -> Result<(), GrammarError> {
    let bytes = text.len();
    if bytes > GRAMMAR_BYTES_MAX {
        return Err(GrammarError::TooLong { bytes });
    }
    Ok(())
}

/// The library's parsers call themselves for each bracket. Brackets in strings count too: a bound
/// need not be exact.
fn check_nesting(text: &str) -> Result<(), GrammarError> {
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > GRAMMAR_NESTING_MAX {
            return Err(GrammarError::NestedTooDeep);
        }
    }
    Ok(())
}

/// The schema with what the library is told beside it.
fn bounded(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(fields) = &mut schema {
        let options = serde_json::json!({"whitespace_pattern": WHITE_SPACE});
        fields.insert("x-guidance".to_owned(), options);
    }
    schema
}
