//! The only thing that may reach a stream.

use portcullis_types::Sample;

use crate::report::Finding;

/// Text that the gate has let through, with the tokens it came from.
///
/// There is no public way to make one, so that a function that takes `Admitted` cannot be handed
/// anything the gate has not seen:
///
/// ```compile_fail,E0451
/// let forged = portcullis_gate::Admitted {
///     text: "guaranteed return".to_owned(),
///     samples: Vec::new(),
///     flagged: Vec::new(),
///     tokens: 2,
/// };
/// ```
///
/// Nor is there an empty one to write into:
///
/// ```compile_fail,E0599
/// let forged = portcullis_gate::Admitted::default();
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    text: String,
    samples: Vec<Sample>,
    flagged: Vec<Finding>,
    tokens: usize,
}

impl Admitted {
    pub(crate) fn new(
        text: String,
        samples: Vec<Sample>,
        flagged: Vec<Finding>,
        tokens: usize,
    ) -> Self {
        Self {
            text,
            samples,
            flagged,
            tokens,
        }
    }

    /// The text, redactions already replaced. Empty while the gate holds everything back.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Gives the text away.
    pub fn into_text(self) -> String {
        self.text
    }

    /// The tokens of the text, without those that touch a redaction: their log-probabilities would
    /// tell what was redacted.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// How many tokens of the completion this releases, redacted ones included.
    pub fn num_tokens(&self) -> usize {
        self.tokens
    }

    /// What `flag` rules found in text that is released with this (or, where a flagged match spans
    /// several releases, ends in this).
    pub fn flagged(&self) -> &[Finding] {
        &self.flagged
    }

    /// Whether this releases nothing: no text and no token.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0 && self.text.is_empty() && self.flagged.is_empty()
    }

    /// Puts what was admitted right after this behind it.
    pub fn append(&mut self, next: Admitted) {
        self.text.push_str(&next.text);
        self.samples.extend(next.samples);
        self.flagged.extend(next.flagged);
        self.tokens += next.tokens;
    }
}
