//! The words of the format as types.

use std::{fmt, sync::Arc};

use crate::kind::Kind;

/// Whether a set acts or only watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Evaluates and records, and changes no byte and no moment of what is released.
    Observe,
    /// Holds.
    Enforce,
}

/// What a rule does where it matches. The order is that of strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Recorded.
    Observe,
    /// Released, recorded, and shown to the caller.
    Flag,
    /// Replaced.
    Redact,
    /// Rolled back and drawn again.
    Resample,
    /// Refused.
    Reject,
}

impl Action {
    /// Whether text must wait until it is clear that the rule does not match.
    pub fn holds(self) -> bool {
        self >= Action::Redact
    }

    /// The word of the format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Flag => "flag",
            Self::Redact => "redact",
            Self::Resample => "resample",
            Self::Reject => "reject",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Mode {
    /// The word of the format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a rule with `action: resample` does when no attempt is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Released and shown to the caller.
    Flag,
    /// Replaced.
    Redact,
    /// Refused.
    Reject,
}

impl Then {
    /// The action that this amounts to.
    pub fn action(self) -> Action {
        match self {
            Self::Flag => Action::Flag,
            Self::Redact => Action::Redact,
            Self::Reject => Action::Reject,
        }
    }
}

/// How far a roll-back goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To the end of what is released.
    Segment,
    /// To the start of the completion; nothing is released before its end.
    Completion,
}

impl Scope {
    /// The word of the format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Completion => "completion",
        }
    }
}

/// What happens when a set cannot be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGateError {
    /// The completion ends: fail closed.
    Reject,
    /// The text is released and the error recorded.
    Flag,
}

/// How a text is folded before a rule looks at it. See `view` for what each does and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Normalise {
    /// As the model wrote it.
    None,
    /// Compatibility forms, case, marks, invisible characters and white space folded.
    Basic,
    /// And characters that look alike (UTS-39).
    Strict,
}

impl Normalise {
    /// The word of the format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "basic",
            Self::Strict => "strict",
        }
    }
}

/// When a set is evaluated, and how much it may hold back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointConfig {
    /// After every so many tokens; `None` waits for another checkpoint.
    pub every_tokens: Option<usize>,
    /// After a token that ends a sentence or a line.
    pub sentence: bool,
    /// More tokens than this are not held back: at so many the set is evaluated in any case, and
    /// if a rule could still match then, that is a gate error. Not with [`Scope::Completion`].
    pub max_hold_tokens: usize,
}

/// How often a place is drawn again, how far back, and what then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResampleConfig {
    /// Draws of one place after the first.
    pub max_attempts: u32,
    /// How far a roll-back goes.
    pub scope: Scope,
    /// What happens when no attempt is left.
    pub then: Then,
}

/// Which text a rule looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// Each text of the prompt, before the model sees it.
    Input,
    /// What the model writes.
    #[default]
    Output,
}

impl Side {
    /// The word of the format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique in its set.
    pub id: Arc<str>,
    /// Why it exists: the law, the policy, the incident.
    pub why: Arc<str>,
    /// Which text it looks at.
    pub on: Side,
    /// What it looks for.
    pub kind: Kind,
    /// How the text is folded before it looks.
    pub normalise: Normalise,
    /// What it does where it matches.
    pub action: Action,
    /// What a redaction puts in place of a match.
    pub with: Arc<str>,
}

/// What a file says, before its patterns are compiled.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: Arc<str>,
    pub(crate) version: u32,
    pub(crate) mode: Mode,
    pub(crate) on_gate_error: OnGateError,
    pub(crate) checkpoint: CheckpointConfig,
    pub(crate) resample: ResampleConfig,
    pub(crate) rules: Vec<Rule>,
}

impl Definition {
    /// What rule `index` does in this set.
    pub(crate) fn action(&self, index: usize) -> Action {
        match self.mode {
            Mode::Observe => Action::Observe,
            Mode::Enforce => self.rules[index].action,
        }
    }
}
