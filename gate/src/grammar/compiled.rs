//! A grammar compiled for one vocabulary.

use std::{fmt, sync::Arc};

use llguidance::Matcher;

use super::{GrammarError, GrammarState, Vocabulary, source::Source};
use crate::limits::GRAMMAR_STACK_BYTES;

/// A grammar compiled for one vocabulary: what every sequence under it begins with.
pub struct CompiledGrammar {
    vocabulary: Arc<Vocabulary>,
    /// At the start, its first mask computed: cloned for each sequence, and otherwise untouched.
    prototype: Matcher,
}

impl CompiledGrammar {
    pub(super) fn new(source: &Source, vocabulary: &Arc<Vocabulary>) -> Result<Self, GrammarError> {
        on_a_large_stack(|| Self::compile(source, vocabulary))
    }

    fn compile(source: &Source, vocabulary: &Arc<Vocabulary>) -> Result<Self, GrammarError> {
        let parser = vocabulary
            .factory()
            .create_parser_from_init_default(source.parse()?)
            .map_err(GrammarError::from_library)?;
        let mut prototype = Matcher::new(Ok(parser));
        prototype
            .compute_mask_or_eos()
            .map_err(GrammarError::from_library)?;
        Ok(Self {
            vocabulary: Arc::clone(vocabulary),
            prototype,
        })
    }

    /// Begins a sequence.
    pub fn begin(self: &Arc<Self>) -> GrammarState {
        GrammarState::new(Arc::clone(self))
    }

    pub(super) fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    /// A matcher at the start. Its caches are its own, so that they go with the sequence, and one
    /// that fails does not take others along.
    pub(super) fn matcher(&self) -> Matcher {
        self.prototype.deep_clone()
    }
}

/// The library calls itself for each rule that a rule refers to. How deep that goes is bounded
/// when the source is read; the stack of whoever calls may be too small even so.
fn on_a_large_stack<T: Send>(
    compile: impl FnOnce() -> Result<T, GrammarError> + Send,
) -> Result<T, GrammarError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("grammar".into())
            .stack_size(GRAMMAR_STACK_BYTES)
            .spawn_scoped(scope, compile)
            .map_err(GrammarError::from_library)?;
        // The library's own panics are caught there and are errors.
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl fmt::Debug for CompiledGrammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledGrammar")
            .field("vocabulary", &self.vocabulary)
            .finish_non_exhaustive()
    }
}
