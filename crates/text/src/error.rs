//! What can go wrong with text, and who is to blame.

use std::io;
use std::path::PathBuf;

/// An error of this crate.
///
/// Those of loading are the operator's to mend; of the others, [`TextError::blames_request`] tells.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file of the model folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the model folder is not the JSON that it should be.
    #[error("{} is not valid: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// `tokenizer.json` does not describe a tokenizer.
    #[error("{} does not hold a tokenizer: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What the tokenizer library said.
        reason: String,
    },
    /// Configuration and vocabulary contradict each other.
    #[error(
        "the {field} {token:?} of {} is not in the vocabulary of its tokenizer.json; \
         the two files belong to different models",
        dir.display()
    )]
    UnknownSpecialToken {
        /// The model folder.
        dir: PathBuf,
        /// `bos_token` or `eos_token`.
        field: &'static str,
        /// The token that is not there.
        token: String,
    },
    /// The decoder of `tokenizer.json` is none that can be streamed.
    #[error(
        "{} has a decoder that is not supported: {decoder}; \
         ByteLevel, Metaspace and sequences of Replace, ByteFallback, Fuse and Strip are",
        path.display()
    )]
    UnsupportedDecoder {
        /// The file.
        path: PathBuf,
        /// The decoder, as the file has it.
        decoder: String,
    },
    /// A folder with named chat templates, none of which is the one to use.
    #[error(
        "{} has the chat templates {names:?} but none named \"default\"; add one",
        path.display()
    )]
    NoDefaultTemplate {
        /// The file.
        path: PathBuf,
        /// The names that are there.
        names: Vec<String>,
    },
    /// The chat template does not parse.
    #[error("chat template \"{template}\" of {} does not parse, line {line}: {reason}", path.display())]
    TemplateSyntax {
        /// The file.
        path: PathBuf,
        /// The template's name.
        template: String,
        /// Line in the template, from 1; 0 when not known.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The chat template failed on these messages.
    #[error("chat template \"{template}\" failed in line {line}: {reason}")]
    TemplateFailed {
        /// The template's name.
        template: String,
        /// Line in the template, from 1; 0 when not known.
        line: usize,
        /// What went wrong there.
        reason: String,
    },
    /// The chat template ran longer than a template may.
    #[error(
        "chat template \"{template}\" did not end within {fuel} steps; send a shorter conversation"
    )]
    TemplateEndless {
        /// The template's name.
        template: String,
        /// The steps it had.
        fuel: u64,
    },
    /// The chat template wrote more than a prompt may have.
    #[error(
        "chat template \"{template}\" wrote more than {limit_bytes} bytes; send a shorter conversation"
    )]
    PromptTooLong {
        /// The template's name.
        template: String,
        /// The bytes it may write.
        limit_bytes: usize,
    },
    /// The template called `raise_exception`: the model does not take such a conversation.
    #[error("{message}")]
    TemplateRefused {
        /// What the template says is wrong with it.
        message: String,
    },
    /// A message spells a control token only once the template has rewritten it.
    #[error(
        "a message spells a control token of the model together with what the chat template puts \
         around it or takes out of it; change the text near its angle or square brackets"
    )]
    ControlTokenSpelled,
    /// A template turned text into something that cannot be told from its own.
    #[error(
        "chat template \"{template}\" rewrote a control token that a message quotes; remove it"
    )]
    ControlTokenRewritten {
        /// The template's name.
        template: String,
    },
    /// The vocabulary itself turns plain text into a control token.
    #[error(
        "the tokenizer reads {token:?} in plain text as a control token; remove it from the text"
    )]
    ControlTokenInText {
        /// The token.
        token: String,
    },
    /// The text cannot be encoded.
    #[error("the text cannot be encoded: {reason}")]
    Encode {
        /// What the tokenizer library said.
        reason: String,
    },
}

impl TextError {
    /// Whether another request could succeed where this one failed: its messages are at fault, not
    /// the server nor the model folder.
    pub fn blames_request(&self) -> bool {
        matches!(
            self,
            Self::TemplateEndless { .. }
                | Self::PromptTooLong { .. }
                | Self::TemplateRefused { .. }
                | Self::ControlTokenSpelled
                | Self::ControlTokenRewritten { .. }
                | Self::ControlTokenInText { .. }
                | Self::Encode { .. }
        )
    }

    pub(crate) fn encode(error: impl ToString) -> Self {
        Self::Encode {
            reason: error.to_string(),
        }
    }
}
