//! What holds for one call.

use std::sync::Arc;

use crate::{GateState, RuleSet};

/// The rule sets that hold for one call, all together.
#[derive(Clone, Debug)]
pub struct Gate {
    sets: Arc<[Arc<RuleSet>]>,
    quota: Quota,
}

/// How much resampling one sequence may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Roll-backs.
    pub attempts_max: u32,
    /// Tokens generated and thrown away.
    pub discarded_tokens_max: u32,
}

impl Gate {
    /// No rules: the plain server. Text passes straight through.
    pub fn open() -> Gate {
        Gate::new(Vec::new(), Quota::NONE)
    }

    /// All of `sets` hold; where several act at one place, the strongest action does.
    pub fn new(sets: Vec<Arc<RuleSet>>, quota: Quota) -> Gate {
        Gate {
            sets: sets.into(),
            quota,
        }
    }

    /// The rule sets.
    pub fn sets(&self) -> &[Arc<RuleSet>] {
        &self.sets
    }

    /// What one sequence may cost in resampling.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Begins a sequence. `greedy`: draws repeat themselves, so that a retry must exclude what was
    /// refused (see [`GateState::mask`]).
    pub fn begin(&self, greedy: bool) -> GateState {
        GateState::new(self.clone(), greedy)
    }
}

impl Quota {
    /// No resampling: every `resample` rule goes to its `then` at once.
    pub const NONE: Quota = Quota {
        attempts_max: 0,
        discarded_tokens_max: 0,
    };
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            attempts_max: 32,
            discarded_tokens_max: 1_024,
        }
    }
}
