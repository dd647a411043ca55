//! Mistakes in a rule-set file: where, what, and how to mend it.

use std::fmt;

use crate::limits::DIAGNOSTICS_MAX;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub mend: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            message,
            mend,
        } = self;
        write!(f, "{line}:{column}: {message}; {mend}")
    }
}

/// Every mistake of a file, in its order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(.0))]
pub struct RuleSetErrors(pub Vec<Diagnostic>);

fn list(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Place {
    pub(crate) const START: Place = Place { line: 1, column: 1 };
}

/// Mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    found: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(crate) fn push(&mut self, at: Place, message: impl Into<String>, mend: impl Into<String>) {
        self.found.push(Diagnostic {
            line: at.line,
            column: at.column,
            message: message.into(),
            mend: mend.into(),
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_errors(mut self) -> RuleSetErrors {
        self.found
            .sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        let more = self.found.len().saturating_sub(DIAGNOSTICS_MAX);
        self.found.truncate(DIAGNOSTICS_MAX);
        if let (true, Some(last)) = (more > 0, self.found.last()) {
            let (line, column) = (last.line, last.column);
            let message = format!("and {more} more mistakes");
            let mend = "mend these first".to_owned();
            self.found.push(Diagnostic {
                line,
                column,
                message,
                mend,
            });
        }
        RuleSetErrors(self.found)
    }
}
