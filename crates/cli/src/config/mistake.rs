//! What is wrong with a configuration: all of it at once, each part with where it stands.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// On the command line.
    Flag(String),
    /// In the environment.
    Variable(String),
    /// In the file.
    File {
        path: PathBuf,
        line: usize,
        key: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, line, key } => write!(f, "{}:{line}: {key}", path.display()),
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Mistake {
    /// A value that is not allowed.
    #[error("{at} {text:?}: {allowed}")]
    Value {
        at: Source,
        text: String,
        allowed: String,
    },
    /// The same for a value that must not be printed.
    #[error("{at}: {allowed}")]
    Secret { at: Source, allowed: String },
    /// A key that means nothing.
    #[error("{at}: unknown setting{hint}")]
    UnknownKey { at: Source, hint: Hint },
    /// A file that cannot be read, or is no TOML.
    #[error("{place}: {message}")]
    File { place: String, message: String },
    /// A setting without a value that has no default here.
    #[error("--{flag}: {message}")]
    Missing { flag: String, message: &'static str },
}

/// What the user may have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hint(pub(crate) Option<&'static str>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .map_or(Ok(()), |name| write!(f, "; did you mean {name}?"))
    }
}

/// At least one mistake.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) struct Mistakes(pub(crate) Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "the configuration has a mistake\n  {only}"),
            all => {
                write!(f, "the configuration has {} mistakes", all.len())?;
                all.iter()
                    .try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}
