//! Grammars as masks: what may be drawn always ends in a text of the grammar, in any vocabulary.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

mod refusals;
mod state;
mod vocabularies;
mod walks;
