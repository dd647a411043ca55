//! Grammars as masks: what may be drawn always ends in a text of the grammar, in any vocabulary.

mod refusals;
mod state;
mod vocabularies;
mod walks;
