//! A prompt between template and tokenizer.

/// What a chat template made of a conversation, with what it may not be taken for marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderedPrompt {
    /// In order; joined, their texts are the prompt.
    pub segments: Vec<Segment>,
}

/// A stretch of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The stretch.
    pub text: String,
    /// A control token's name that a message quotes: plain text, whatever it looks like.
    pub plain: bool,
}

impl RenderedPrompt {
    /// The prompt as text, for people to read: it no longer tells who wrote a control token.
    pub fn text(&self) -> String {
        self.segments
            .iter()
            .map(|segment| segment.text.as_str())
            .collect()
    }

    /// The prompt with `hole` in the place of every plain segment.
    pub(crate) fn with_holes(&self, hole: char) -> String {
        let mut text = String::new();
        for segment in &self.segments {
            match segment.plain {
                true => text.push(hole),
                false => text.push_str(&segment.text),
            }
        }
        text
    }
}
