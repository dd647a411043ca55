//! How families of models spell a call.

use std::fmt;

/// How a model calls tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolFormat {
    /// Qwen, Hermes and many others: `<tool_call>\n{"name": …, "arguments": {…}}\n</tool_call>`,
    /// several one after another, text before and behind.
    Hermes,
    /// Llama 3.1 and later: the whole answer is `{"name": …, "parameters": {…}}`, several with `;`
    /// between them.
    Llama3,
    /// Mistral and Mixtral: `[TOOL_CALLS]`, a control token, then a list
    /// `[{"name": …, "arguments": {…}}]`; newer ones write `[TOOL_CALLS]name[ARGS]{…}` for each.
    Mistral,
}

impl ToolFormat {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hermes, Self::Llama3, Self::Mistral];

    /// The name in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hermes => "hermes",
            Self::Llama3 => "llama3",
            Self::Mistral => "mistral",
        }
    }

    /// What the source of a chat template shows of the format; `None` if it knows no tools.
    pub fn of_template(source: &str) -> Option<Self> {
        let has = |word: &str| source.contains(word);
        match () {
            () if !has("tools") => None,
            () if has("[TOOL_CALLS]") => Some(Self::Mistral),
            () if has("<tool_call>") => Some(Self::Hermes),
            () if has("\"parameters\": ") || has("<|python_tag|>") => Some(Self::Llama3),
            () => None,
        }
    }

    /// What begins the calls of an answer: put at the end of the prompt where calls are required,
    /// so that the model goes on with the first.
    pub fn opening(self) -> &'static str {
        match self {
            Self::Hermes => "<tool_call>\n",
            Self::Llama3 => "",
            Self::Mistral => "[TOOL_CALLS]",
        }
    }

    /// Control tokens that are part of how a call is spelled, and must be seen as text.
    pub fn control_tokens(self) -> &'static [&'static str] {
        match self {
            Self::Hermes => &["<tool_call>", "</tool_call>"],
            Self::Llama3 => &[],
            Self::Mistral => &["[TOOL_CALLS]", "[ARGS]"],
        }
    }

    /// What announces calls in the middle of a text.
    pub(super) fn marker(self) -> Option<&'static str> {
        match self {
            Self::Hermes => Some("<tool_call>"),
            Self::Llama3 => None,
            Self::Mistral => Some("[TOOL_CALLS]"),
        }
    }

    /// The key of the arguments, as the model learnt it.
    pub(super) fn arguments_key(self) -> &'static str {
        match self {
            Self::Llama3 => "parameters",
            Self::Hermes | Self::Mistral => "arguments",
        }
    }
}

impl fmt::Display for ToolFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
