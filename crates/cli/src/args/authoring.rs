//! What people type after `portcullis rules test` and `portcullis rules explain`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::OutputArgs;

/// Past text comes as JSON lines or as plain lines.
///
/// JSON lines (`.jsonl`, `.ndjson`): each line is a chat (`{"messages": [...]}` or the list alone),
/// a call and its answer (`{"prompt": ..., "completion": ...}`, `{"choices": [...]}`), or a text in
/// quotes. Rules on input look at prompts and at messages of everybody but the assistant; rules on
/// output at completions, and at what the assistant says, thinks and calls tools with.
///
/// Plain lines (any other file): each line is one text; `--side` says whose.
#[derive(Debug, Args)]
pub(crate) struct RulesTestArgs {
    /// Rule file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Past text, `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) transcript: PathBuf,
    /// How the transcript is written [default: by the name of the file]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// What a text without a role is: a prompt (input), or what a model wrote (output)
    #[arg(long, value_name = "SIDE", default_value = "output")]
    pub(crate) side: SideArg,
    /// Matches of each rule that are shown
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub(crate) examples: usize,
    /// Exit with 1 if some rule matches
    #[arg(long)]
    pub(crate) fail_on_match: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How a transcript is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON value a line
    Jsonl,
    /// One text a line
    Lines,
}

/// Who wrote a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SideArg {
    /// A person, a program, a tool: the prompt
    Input,
    /// The model
    Output,
}

#[derive(Debug, Args)]
pub(crate) struct RulesExplainArgs {
    /// Rule file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Id of a rule [default: all of them]
    #[arg(value_name = "RULE")]
    pub(crate) rule: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
