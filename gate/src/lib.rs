//! The admissibility gate: rule sets, and the only door to a stream.
//!
//! A [`RuleSet`] is read from a file that a compliance officer can read too. A [`Gate`] is the
//! sets that hold for one call; [`Gate::begin`] gives the [`GateState`] of one sequence, which sees
//! each token with its text and answers with a [`Verdict`]. Text reaches a stream only inside
//! [`Admitted`], which only this crate can make.
//!
//! Pure: no clock, no randomness, no I/O. The same tokens get the same verdicts.
//!
//! Where to read on: `state` is one sequence, `scan` finds matches as text arrives, `view` folds
//! text so that a match cannot be hidden, `ruleset` reads files.

mod admitted;
mod diagnostic;
mod gate;
pub mod limits;
mod redact;
mod report;
mod retry;
mod ruleset;
mod scan;
mod state;
mod tail;
mod verdict;
mod view;

pub use admitted::Admitted;
pub use gate::{Gate, Quota};
pub use report::{Finding, GateReport};
pub use ruleset::{
    Action, CheckpointConfig, Diagnostic, Kind, Mode, Normalise, OnGateError, ResampleConfig, Rule,
    RuleSet, RuleSetErrors, Scope, Then,
};
pub use state::GateState;
pub use verdict::{Cause, Checkpoint, Refusal, Verdict};
