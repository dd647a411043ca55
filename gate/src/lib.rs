//! The admissibility gate: rule sets, and the only door to a stream.
//!
//! A [`RuleSet`] is read from a file that a compliance officer can read too. A [`Gate`] is the
//! sets that hold for one call; [`Gate::begin`] gives the [`GateState`] of one sequence, which sees
//! each token with its text and answers with a [`Verdict`]. Text reaches a stream only inside
//! [`Admitted`], which only this crate can make.
//!
//! Pure: no clock, no randomness, no I/O. The same tokens get the same verdicts.
//!
//! Where to read on: `state` is one sequence, `scan` finds matches as text arrives, `judge` has the
//! rules that are no patterns, `view` folds text so that a match cannot be hidden, `input` looks at
//! the prompt, `whole` at a text that is there at once, `kind` is what a rule can look for, `ruleset` reads files.

mod admitted;
mod diagnostic;
mod explain;
mod gate;
mod grammar;
mod input;
mod json;
mod judge;
mod kind;
pub mod limits;
mod model;
mod quota;
mod redact;
mod report;
mod retry;
mod ruleset;
mod scan;
mod state;
mod stop;
mod tail;
mod verdict;
mod view;
mod whole;

pub use admitted::Admitted;
pub use explain::{
    AutomatonExplanation, Explanation, Holds, NothingHeld, PatternExplanation, RuleExplanation,
};
pub use gate::{BoundSet, Gate};
pub use grammar::{
    CompiledGrammar, Grammar, GrammarError, GrammarFault, GrammarState, Vocabulary,
    VocabularyError, allowed_by_all,
};
pub use input::{AdmittedInput, InputText, RefusedInput};
pub use kind::{
    Checksum, GrammarSource, InjectionList, Kind, Languages, LengthLimits, LogitLimits, MassLimit,
    PersonalData, ToldByText,
};
pub use model::AnswerForm;
pub use quota::Quota;
pub use report::{Finding, GateReport, RuleReport, RuleStatus};
pub use ruleset::{
    Action, CheckpointConfig, Diagnostic, Mode, Normalise, OnGateError, ResampleConfig, Rule,
    RuleSet, RuleSetErrors, Scope, Side, Then,
};
pub use state::GateState;
pub use verdict::{Cause, Checkpoint, End, Refusal, Verdict};
pub use whole::NotEvaluated;
