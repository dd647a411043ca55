//! What the gate is asked, and what it answers.

use std::{fmt, sync::Arc};

use portcullis_types::Sample;

use crate::Admitted;

/// One more token of a completion.
#[derive(Clone, Debug)]
pub struct Checkpoint<'a> {
    /// The token that was drawn.
    pub sample: Sample,
    /// The text it added: whole characters, so that it may be empty (half a character).
    pub text: &'a str,
    /// Set when nothing follows: what is held must be let go or refused now.
    pub end: Option<End>,
}

/// How a completion comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The model ended it.
    Natural,
    /// It was cut off, for no token is left. What could have become a match is not released then,
    /// or a caller could read it by choosing the place of the cut.
    Cut,
}

/// What becomes of the completion.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Go on; this much more may be released (perhaps nothing yet).
    Continue(Admitted),
    /// A stop string was met: the completion ends here, and this is the last of it.
    Stopped(Admitted),
    /// What is not released is refused: keep the first tokens of the completion and draw again.
    Resample {
        /// How many tokens of the completion stay: exactly those released so far.
        keep_tokens: usize,
    },
    /// The completion ends here; nothing more is released.
    Reject(Refusal),
}

/// Why a completion was ended by the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Name of the rule set that refused.
    pub ruleset: Arc<str>,
    /// Its version.
    pub version: u32,
    /// Id of the rule; `None` where the gate itself could not come to a verdict.
    pub rule: Option<Arc<str>>,
    /// Why the rule exists, in the words of its author; empty without a rule.
    pub why: Arc<str>,
    /// Whether part of the completion had been released before.
    pub after_release: bool,
    /// What led to it.
    pub cause: Cause,
}

/// What led to a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A rule with `action: reject` matched.
    Matched,
    /// A rule on the prompt matched.
    Input {
        /// Which text of the prompt, from 0.
        index: usize,
    },
    /// A rule with `action: resample` matched on every attempt, and its `then` is `reject`.
    AttemptsUsedUp {
        /// How many attempts were made at this place.
        attempts: u32,
    },
    /// A rule with `action: resample` matched, the call may roll back no further, and the rule's
    /// `then` is `reject`.
    QuotaUsedUp,
    /// A match reaches back into text that was released before a roll-back, where it was
    /// harmless, and no attempt found another continuation.
    ReachesBack,
    /// More tokens were held back than `max_hold_tokens` allows, and a rule could still match.
    HeldTooLong {
        /// Tokens held back.
        held: usize,
        /// `max_hold_tokens` of the rule set.
        max: usize,
    },
    /// An automaton gave up. A bug: compiled rule sets have no such state.
    Automaton,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule set `{}` version {}", self.ruleset, self.version)?;
        if let Some(rule) = &self.rule {
            write!(f, ", rule `{rule}`")?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matched => write!(f, "the text is not admissible"),
            Self::Input { index } => {
                write!(f, "text {} of the prompt is not admissible", index + 1)
            }
            Self::AttemptsUsedUp { attempts } => {
                write!(f, "no admissible continuation in {attempts} attempts")
            }
            Self::QuotaUsedUp => write!(f, "no admissible continuation within the quota of a call"),
            Self::ReachesBack => write!(
                f,
                "every continuation would complete a match in text that is already released"
            ),
            Self::HeldTooLong { held, max } => write!(
                f,
                "{held} tokens were held back and a rule could still match; max_hold_tokens is \
                 {max}"
            ),
            Self::Automaton => write!(f, "the gate could not evaluate its rules"),
        }
    }
}
