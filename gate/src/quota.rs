//! What resampling may cost.

/// How much resampling one sequence may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Roll-backs.
    pub attempts_max: u32,
    /// Tokens generated and thrown away.
    pub discarded_tokens_max: u32,
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
