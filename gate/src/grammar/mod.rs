//! Grammars: masks before sampling, so that nothing need be refused.
//!
//! A [`Grammar`] is a JSON schema, a Lark grammar or a regular expression that the *whole*
//! completion must match. Compiled for the [`Vocabulary`] of a model, it tells after each token
//! which tokens may follow. The work is done by the crate llguidance; what is here bounds it,
//! refuses by name what it would ignore, and gives it the semantics of the engine: a state follows
//! the tokens that are drawn, and goes back when they are refused.
//!
//! Source: llguidance, <https://github.com/guidance-ai/llguidance>; Earley, CACM 13(2), 1970.

mod compiled;
mod error;
#[cfg(test)]
mod hostile;
mod schema;
mod source;
mod state;
mod vocabulary;

use std::sync::{Arc, OnceLock};

use llguidance::api::ParserLimits;
use portcullis_types::TokenId;
use serde_json::Value;

pub use compiled::CompiledGrammar;
pub use error::GrammarError;
pub use state::{GrammarFault, GrammarState, allowed_by_all};
pub use vocabulary::{Vocabulary, VocabularyError};

use crate::limits::{
    GRAMMAR_COMPILE_FUEL, GRAMMAR_LEXER_STATES_MAX, GRAMMAR_ROW_ITEMS_MAX, GRAMMAR_STEP_FUEL,
    GRAMMAR_STEP_ITEMS_MAX, GRAMMAR_SYMBOLS_MAX,
};
use source::Source;

/// What a whole completion must be. Checked when it is made; compiled for the first vocabulary
/// that it is asked for.
#[derive(Debug)]
pub struct Grammar {
    source: Source,
    compiled: OnceLock<Arc<CompiledGrammar>>,
}

impl Grammar {
    /// A JSON text that is valid under the JSON schema `text` (draft 2020-12).
    ///
    /// # Errors
    /// No JSON, a keyword or format that is not enforced, a schema that nothing meets, or one
    /// beyond the limits.
    pub fn json_schema(text: &str) -> Result<Self, GrammarError> {
        Self::checked(Source::json_schema(text)?)
    }

    /// A text of the Lark grammar `text`, in the dialect of llguidance.
    ///
    /// # Errors
    /// A mistake in the grammar, a construct that is about tokens or sampling instead of text, or
    /// a grammar beyond the limits.
    pub fn lark(text: &str) -> Result<Self, GrammarError> {
        Self::checked(Source::lark(text)?)
    }

    /// A text that matches the regular expression `pattern` from its first byte to its last.
    ///
    /// # Errors
    /// A mistake in the pattern, an anchor or word boundary, or a pattern beyond the limits.
    pub fn regex(pattern: &str) -> Result<Self, GrammarError> {
        Self::checked(Source::regex(pattern)?)
    }

    /// A text of the Lark grammar `text`, in which the rules `json_0`, `json_1` and so on are JSON
    /// texts that are valid under `schemas`, in their order. The text is the program's own and is
    /// trusted; the schemas are a caller's, and are checked as [`Grammar::json_schema`] does.
    ///
    /// Not tried on single bytes: the first [`Grammar::compile`] tells what is wrong with it.
    ///
    /// # Errors
    /// A schema that would not be enforced, or more text than is looked at.
    pub fn form(text: &str, schemas: &[Value]) -> Result<Self, GrammarError> {
        Ok(Self {
            source: Source::form(text, schemas)?,
            compiled: OnceLock::new(),
        })
    }

    /// Whether a schema can be enforced.
    ///
    /// # Errors
    /// A keyword or format that is not enforced, or more than is looked at.
    pub fn check_schema(schema: &Value) -> Result<(), GrammarError> {
        source::check_schema(schema)
    }

    /// The grammar for the tokens of a model. Kept for the first vocabulary, since a process
    /// serves one model; for any other it is compiled at each call.
    ///
    /// # Errors
    /// Beyond the limits with this vocabulary.
    pub fn compile(
        &self,
        vocabulary: &Arc<Vocabulary>,
    ) -> Result<Arc<CompiledGrammar>, GrammarError> {
        if let Some(known) = self.compiled.get()
            && Arc::ptr_eq(known.vocabulary(), vocabulary)
        {
            return Ok(Arc::clone(known));
        }
        let compiled = Arc::new(CompiledGrammar::new(&self.source, vocabulary)?);
        Ok(match self.compiled.set(Arc::clone(&compiled)) {
            Ok(()) | Err(_) => compiled,
        })
    }

    /// Whether `text` is a whole text of the grammar.
    ///
    /// # Errors
    /// The grammar is too complex for this text.
    pub(crate) fn accepts(&self, text: &str) -> Result<bool, GrammarError> {
        let bytes: Vec<TokenId> = text.bytes().map(TokenId::from).collect();
        let compiled = Arc::new(on_bytes(&self.source)?);
        Ok(compiled.begin().is_accepting_after(&bytes))
    }

    /// Tries the grammar on single bytes, which are in every text.
    fn checked(source: Source) -> Result<Self, GrammarError> {
        on_bytes(&source)?;
        Ok(Self {
            source,
            compiled: OnceLock::new(),
        })
    }
}

fn on_bytes(source: &Source) -> Result<CompiledGrammar, GrammarError> {
    CompiledGrammar::new(source, &Vocabulary::of_bytes())
}

/// What the library may spend.
fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: GRAMMAR_ROW_ITEMS_MAX,
        initial_lexer_fuel: GRAMMAR_COMPILE_FUEL,
        step_lexer_fuel: GRAMMAR_STEP_FUEL,
        step_max_items: GRAMMAR_STEP_ITEMS_MAX,
        max_lexer_states: GRAMMAR_LEXER_STATES_MAX,
        max_grammar_size: GRAMMAR_SYMBOLS_MAX,
        // Walks the whole vocabulary for each large lexeme, while a call waits.
        precompute_large_lexemes: false,
        // The text of a completion has no place in an error.
        verbose_errors: false,
    }
}
