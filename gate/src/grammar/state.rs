//! One sequence under one grammar.

use std::{fmt, sync::Arc};

use llguidance::Matcher;
use portcullis_types::{TokenBitSet, TokenId};

use super::{compiled::CompiledGrammar, error::shorten};

/// Follows the tokens that are drawn, not those that are judged: each question names the whole
/// completion, and the state goes back to what it shares with the one before.
pub struct GrammarState {
    grammar: Arc<CompiledGrammar>,
    matcher: Matcher,
    /// Tokens that the matcher has seen, or the last of which it failed on.
    consumed: Vec<TokenId>,
    fault: Option<GrammarFault>,
}

/// Why nothing more can be drawn under a grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarFault {
    /// A token was drawn that the mask did not allow. A bug of the caller.
    #[error("token {token} was drawn where the grammar does not allow it")]
    NotAllowed {
        /// The token.
        token: TokenId,
    },
    /// The grammar is too complex at this place, or no token goes on from here.
    #[error("the grammar cannot be continued here: {0}")]
    Stuck(String),
}

/// The tokens that every one of `states` allows after `completion`; `None` without states.
///
/// Two grammars that each go on may have no token in common: the set is then empty.
pub fn allowed_by_all(
    states: &mut [GrammarState],
    completion: &[TokenId],
) -> Option<Arc<TokenBitSet>> {
    let sets = states
        .iter_mut()
        .map(|state| state.allowed_after(completion));
    let all = sets.reduce(|mut all, set| {
        all.intersect(&set);
        all
    });
    all.map(Arc::new)
}

impl GrammarState {
    pub(super) fn new(grammar: Arc<CompiledGrammar>) -> Self {
        Self {
            matcher: grammar.matcher(),
            grammar,
            consumed: Vec::new(),
            fault: None,
        }
    }

    /// The tokens that may follow `completion`, the tokens drawn so far: end tokens exactly where
    /// the grammar accepts, and they alone once one has been drawn. Empty on a fault.
    pub fn allowed_after(&mut self, completion: &[TokenId]) -> TokenBitSet {
        let vocabulary = Arc::clone(self.grammar.vocabulary());
        let text = self.before_end(completion);
        if text.len() < completion.len() {
            return vocabulary.end_set();
        }
        let mask = match self.follow(text) {
            Ok(()) => self.matcher.compute_mask_or_eos(),
            Err(_) => return TokenBitSet::new(vocabulary.len()),
        };
        match mask {
            Ok(mask) => vocabulary.tokens(&mask, text.len()),
            Err(error) => {
                self.fault = Some(GrammarFault::Stuck(shorten(&error.to_string())));
                TokenBitSet::new(vocabulary.len())
            }
        }
    }

    /// Whether `completion` is a whole text of the grammar; an end token may follow it.
    pub fn is_accepting_after(&mut self, completion: &[TokenId]) -> bool {
        let text = self.before_end(completion);
        self.follow(text).is_ok() && self.matcher.is_accepting().unwrap_or(false)
    }

    /// Why nothing is allowed, if the last completion asked about cannot go on.
    pub fn fault(&self) -> Option<&GrammarFault> {
        self.fault.as_ref()
    }

    /// What the last mask has cost.
    #[cfg(test)]
    pub(super) fn last_cost(&self) -> Result<&llguidance::earley::ParserStats, String> {
        let stats = self.matcher.last_step_stats();
        stats.map_err(|error| error.to_string())
    }

    /// The tokens of `completion` before its first end token.
    fn before_end<'a>(&self, completion: &'a [TokenId]) -> &'a [TokenId] {
        let vocabulary = self.grammar.vocabulary();
        let end = completion
            .iter()
            .position(|&token| vocabulary.is_end(token));
        &completion[..end.unwrap_or(completion.len())]
    }

    /// Goes to the place after `text`.
    fn follow(&mut self, text: &[TokenId]) -> Result<(), GrammarFault> {
        let pairs = self.consumed.iter().zip(text);
        let common = pairs.take_while(|(a, b)| a == b).count();
        if let Some(fault) = &self.fault
            && common == self.consumed.len()
        {
            return Err(fault.clone());
        }
        self.truncate(common);
        let known = self.consumed.len();
        for (position, &token) in text.iter().enumerate().skip(known) {
            if let Err(fault) = self.consume(token, position) {
                self.fault = Some(fault.clone());
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Goes back to the first `keep` tokens, or to the start: a matcher that has failed is of no
    /// more use.
    fn truncate(&mut self, keep: usize) {
        let dropped = self.consumed.len() - keep;
        if dropped == 0 {
            return;
        }
        self.consumed.truncate(keep);
        if self.fault.is_some() || self.matcher.rollback(dropped).is_err() {
            self.matcher = self.grammar.matcher();
            self.consumed.clear();
            self.fault = None;
        }
    }

    fn consume(&mut self, token: TokenId, position: usize) -> Result<(), GrammarFault> {
        self.consumed.push(token);
        let vocabulary = self.grammar.vocabulary();
        let Some(name) = vocabulary.name(token, position) else {
            return Err(GrammarFault::NotAllowed { token });
        };
        match self.matcher.try_consume_tokens(&[name]) {
            Ok(1) => Ok(()),
            Ok(_) => Err(GrammarFault::NotAllowed { token }),
            Err(error) => Err(GrammarFault::Stuck(shorten(&error.to_string()))),
        }
    }
}

impl fmt::Debug for GrammarState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarState")
            .field("consumed", &self.consumed.len())
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
