//! Which report, and which line it belongs to, as people type it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// `REPORT.json` or `SERIES=REPORT.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Runs of one series are joined by a line.
    pub series: Option<String>,
    /// The report.
    pub path: PathBuf,
}

impl FromStr for Source {
    type Err = Infallible;

    /// A file whose name has an equals sign is that file.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let named = text.split_once('=').filter(|_| !Path::new(text).exists());
        Ok(match named {
            Some((series, path)) => Self {
                series: Some(series.to_owned()),
                path: path.into(),
            },
            None => Self {
                series: None,
                path: text.into(),
            },
        })
    }
}
