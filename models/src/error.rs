//! What can be wrong with a model, each said so that it can be mended.

use std::path::PathBuf;

use thiserror::Error;

/// Why a model cannot be loaded or run.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The folder or one of its files cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A folder without what a model needs.
    #[error("{} holds no {what}; a model folder has config.json, tokenizer.json and *.safetensors", path.display())]
    NotAModel {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// config.json or another JSON file is not what it should be. All mistakes at once.
    #[error("{}: {}", path.display(), mistakes.join("; "))]
    Config {
        /// The file.
        path: PathBuf,
        /// Each a sentence.
        mistakes: Vec<String>,
    },
    /// Weights in a form that is not loaded, such as pickle.
    #[error("{}: {reason}", path.display())]
    UnsupportedWeights {
        /// The file.
        path: PathBuf,
        /// Why, and what to use.
        reason: String,
    },
    /// A safetensors file that does not hold together.
    #[error("{}: not a sound safetensors file: {reason}", path.display())]
    BrokenWeights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that the architecture needs.
    #[error("tensor {tensor} is missing in {}; expected shape {expected:?}", path.display())]
    MissingTensor {
        /// The folder, or the file that the index names.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// Its shape.
        expected: Vec<usize>,
    },
    /// A tensor that does not fit the configuration.
    #[error("{}: tensor {tensor} has shape {found:?}; config.json asks for {expected:?}", path.display())]
    MisshapenTensor {
        /// The file.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// By the configuration.
        expected: Vec<usize>,
        /// In the file.
        found: Vec<usize>,
    },
    /// The hub could not give a file.
    #[error("{name}: {message}")]
    Hub {
        /// The model's name.
        name: String,
        /// What happened, and what to do.
        message: String,
    },
    /// A tensor operation failed: a bug, or memory that ran out.
    #[error("the model could not be computed: {0}")]
    Compute(#[from] candle_core::Error),
}
