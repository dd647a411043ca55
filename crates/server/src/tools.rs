//! The tools of a call: what is offered to the model, and what is made of what it calls.

use std::sync::Arc;

use portcullis_text::{Piece, ToolFormat, ToolParser};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::ids::{new_call_id, new_id};
use crate::state::App;
use crate::wire::tools::{ToolChoiceField, ToolField};

/// Tools of a call, at most.
const TOOLS_MAX: usize = 128;
/// Bytes of a tool's name, at most; the bound of OpenAI's API.
const NAME_BYTES_MAX: usize = 64;

/// A function that the model may ask the caller to call.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// A JSON schema.
    pub(crate) parameters: Option<Value>,
    /// Whether its arguments are to be valid under the schema in any case.
    pub(crate) strict: bool,
    /// Where the schema stands on the wire.
    pub(crate) param: String,
}

/// Whether the model is to call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    None,
    #[default]
    Auto,
    Required,
    Named(String),
}

/// What a call says about tools.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToolsAsked {
    pub(crate) tools: Vec<Tool>,
    pub(crate) choice: Option<ToolChoice>,
    /// Whether one answer may hold several calls.
    pub(crate) parallel: Option<bool>,
}

/// The tools that the model sees, and how it calls them.
#[derive(Clone, Debug)]
pub(crate) struct ToolUse {
    pub(crate) format: ToolFormat,
    /// Those that may be called.
    pub(crate) tools: Vec<Tool>,
    pub(crate) choice: ToolChoice,
    pub(crate) parallel: bool,
}

impl ToolsAsked {
    /// The tools and the choice of a chat call.
    ///
    /// # Errors
    /// Another type than `function`, or a choice that is none.
    pub(crate) fn of_chat(
        tools: Option<Vec<ToolField>>,
        choice: Option<ToolChoiceField>,
        parallel: Option<bool>,
    ) -> Result<Self, ApiError> {
        let tools = tools.unwrap_or_default().into_iter().enumerate();
        Ok(Self {
            tools: tools
                .map(|(index, tool)| chat_tool(index, tool))
                .collect::<Result<_, _>>()?,
            choice: choice.map(chat_choice).transpose()?,
            parallel,
        })
    }

    /// What the model is to see of it; `None` where it has no tools to call.
    ///
    /// # Errors
    /// A name that is none or given twice, a choice of a tool that is not there, or a model whose
    /// template knows no tools.
    pub(crate) fn for_model(self, app: &App) -> Result<Option<ToolUse>, ApiError> {
        let choice = self.choice.unwrap_or_default();
        if self.tools.is_empty() {
            return match choice {
                ToolChoice::None | ToolChoice::Auto => Ok(None),
                ToolChoice::Required | ToolChoice::Named(_) => Err(ApiError::invalid(
                    "tool_choice",
                    "asks for a call, but there are no tools",
                )),
            };
        }
        check_names(&self.tools)?;
        let tools = match &choice {
            ToolChoice::None => return Ok(None),
            ToolChoice::Auto | ToolChoice::Required => self.tools,
            ToolChoice::Named(name) => vec![named(self.tools, name)?],
        };
        let format = app.tool_format.ok_or_else(|| {
            ApiError::not_built(
                "tools",
                "the chat template of this model knows no tools; serve a model that was trained to \
                 call them, or set --tool-format",
            )
        })?;
        Ok(Some(ToolUse {
            format,
            tools,
            parallel: self.parallel.unwrap_or(true) && !matches!(choice, ToolChoice::Named(_)),
            choice,
        }))
    }
}

fn chat_tool(index: usize, tool: ToolField) -> Result<Tool, ApiError> {
    let param = format!("tools.[{index}]");
    match (tool.kind.as_str(), tool.function) {
        ("function", Some(function)) => Ok(Tool {
            name: function.name,
            description: function.description,
            parameters: function.parameters,
            strict: function.strict.unwrap_or(false),
            param: format!("{param}.function.parameters"),
        }),
        ("function", None) => Err(ApiError::invalid(param + ".function", "is required")),
        _ => Err(ApiError::not_built(
            &(param + ".type"),
            "only \"function\" is supported",
        )),
    }
}

fn chat_choice(choice: ToolChoiceField) -> Result<ToolChoice, ApiError> {
    match choice {
        ToolChoiceField::Named { function } => Ok(ToolChoice::Named(function.name)),
        ToolChoiceField::Mode(mode) => mode_choice(&mode),
    }
}

/// A choice that names no tool.
pub(crate) fn mode_choice(mode: &str) -> Result<ToolChoice, ApiError> {
    match mode {
        "none" => Ok(ToolChoice::None),
        "auto" => Ok(ToolChoice::Auto),
        "required" => Ok(ToolChoice::Required),
        _ => Err(ApiError::invalid(
            "tool_choice",
            "must be \"none\", \"auto\", \"required\" or the name of a tool",
        )),
    }
}

fn check_names(tools: &[Tool]) -> Result<(), ApiError> {
    if tools.len() > TOOLS_MAX {
        let bound = format!("holds {} tools; {TOOLS_MAX} are the most", tools.len());
        return Err(ApiError::invalid("tools", bound));
    }
    for (index, tool) in tools.iter().enumerate() {
        let param = format!("tools.[{index}].name");
        if !is_name(&tool.name) {
            let bound = "must have 1 to 64 letters, digits, underscores, dashes or dots";
            return Err(ApiError::invalid(param, bound));
        }
        if tools[..index].iter().any(|other| other.name == tool.name) {
            return Err(ApiError::invalid(param, "is the name of an earlier tool"));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_word)
}

fn named(tools: Vec<Tool>, name: &str) -> Result<Tool, ApiError> {
    let mut tools = tools.into_iter();
    tools
        .find(|tool| tool.name == name)
        .ok_or_else(|| ApiError::invalid("tool_choice", "names a tool that is not among the tools"))
}

impl Tool {
    /// As chat templates expect it.
    pub(crate) fn for_template(&self) -> Value {
        let mut function = json!({"name": self.name});
        if let Some(description) = &self.description {
            function["description"] = json!(description);
        }
        if let Some(parameters) = &self.parameters {
            function["parameters"] = parameters.clone();
        }
        json!({"type": "function", "function": function})
    }

    /// What its arguments must be.
    pub(crate) fn schema(&self) -> Value {
        let nothing = || json!({"type": "object", "properties": {}, "additionalProperties": false});
        self.parameters.clone().unwrap_or_else(nothing)
    }
}

impl ToolUse {
    /// Whether the answer is to be a call.
    pub(crate) fn is_forced(&self) -> bool {
        matches!(self.choice, ToolChoice::Required | ToolChoice::Named(_))
    }

    pub(crate) fn has_strict(&self) -> bool {
        self.tools.iter().any(|tool| tool.strict)
    }

    /// What reads an answer.
    pub(crate) fn reader(&self) -> AnswerReader {
        let names: Arc<[String]> = self.tools.iter().map(|tool| tool.name.clone()).collect();
        let parser = ToolParser::new(self.format, names);
        AnswerReader {
            parser: Some(match self.is_forced() {
                true => parser.opened(),
                false => parser,
            }),
            has_short_ids: self.format == ToolFormat::Mistral,
        }
    }
}

/// A part of an answer as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    /// A call begins.
    Call {
        index: usize,
        id: String,
        name: String,
    },
    /// More of its arguments.
    Arguments {
        index: usize,
        json: String,
    },
}

/// Cuts one answer into parts.
#[derive(Clone, Default)]
pub(crate) struct AnswerReader {
    /// `None` where nothing can be called.
    parser: Option<ToolParser>,
    has_short_ids: bool,
}

impl AnswerReader {
    pub(crate) fn push(&mut self, text: &str) -> Vec<Part> {
        match &mut self.parser {
            None if text.is_empty() => Vec::new(),
            None => vec![Part::Text(text.to_owned())],
            Some(parser) => {
                let pieces = parser.push(text);
                self.parts(pieces)
            }
        }
    }

    /// The answer is over: what was held back.
    pub(crate) fn finish(&mut self) -> Vec<Part> {
        let pieces = self.parser.as_mut().map(ToolParser::finish);
        self.parts(pieces.unwrap_or_default())
    }

    /// Whether its caller is to call something.
    pub(crate) fn has_calls(&self) -> bool {
        self.parser
            .as_ref()
            .is_some_and(|parser| parser.num_calls() > 0)
    }

    fn parts(&self, pieces: Vec<Piece>) -> Vec<Part> {
        let part = |piece| match piece {
            Piece::Text(text) => Part::Text(text),
            Piece::Arguments { index, json } => Part::Arguments { index, json },
            Piece::Call { index, name } => Part::Call {
                index,
                name,
                id: match self.has_short_ids {
                    true => new_call_id(),
                    false => new_id("call_"),
                },
            },
        };
        pieces.into_iter().map(part).collect()
    }
}
