//! Why a measurement could not be made, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::page::PlotError;

/// What stops the harness. Requests that fail during a run do not: they are counted.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Nobody answers at the URL.
    #[error("cannot reach {url}: {why}; is the server running, and is --url right?")]
    Unreachable {
        /// What was tried.
        url: String,
        /// What the connection said.
        why: String,
    },
    /// The server wants another key.
    #[error("{url} refuses the key ({status}); give --api-key, or PORTCULLIS_API_KEY")]
    Unauthorised {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The server does not have the model.
    #[error("there is no model {model:?} at the server; it has {available}; choose with --model")]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// What there is, with commas between.
        available: String,
    },
    /// The server does not tell its models.
    #[error("{url} lists no model ({why}); name one with --model")]
    NoModels {
        /// What was asked.
        url: String,
        /// What was wrong with the answer.
        why: String,
    },
    /// The first request, before the measurement, failed.
    #[error("the first request failed: {0}")]
    FirstRequest(String),
    /// A flag, or several together, make no sense.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {why}", path = path.display())]
    Content {
        /// Which one.
        path: PathBuf,
        /// What was expected.
        why: String,
    },
    /// No request was answered.
    #[error("no request was answered; the errors above say why")]
    NothingAnswered,
    /// Ctrl-C before the first request.
    #[error("stopped before anything was measured")]
    Stopped,
    /// There is no page.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The machine gives no threads or connections, or takes no output.
    #[error("cannot start: {0}")]
    Setup(#[from] io::Error),
}

impl BenchError {
    /// Whether the command line is what must change.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_))
    }
}
