//! Conversations to prompts, by the Jinja template that a model comes with.

mod environment;
mod files;
mod python_json;
mod quotes;
mod strftime;

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use minijinja::value::Value;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value as Json};

use crate::tokenizer::UnusedChars;
use crate::{Message, RenderedPrompt, TextError, Tokenizer, ToolCall, ToolFormat};
use environment::{Raised, StrftimeNow};
use quotes::Quotes;

/// A template that needs more steps than this is taken to be endless. About fifty are used a
/// message.
pub const TEMPLATE_FUEL: u64 = 10_000_000;

/// The longest prompt that a template may write.
pub const MAX_RENDERED_BYTES: usize = 16 << 20;

const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// A model's chat template, compiled. Cheap to clone.
///
/// Behaves as in Hugging Face transformers: `trim_blocks`, `lstrip_blocks`, loop controls, Python's
/// string methods, `tojson` without HTML escapes, `raise_exception`, `strftime_now`.
///
/// The template is the operator's and is trusted; what it renders is not. A control token that a
/// message, a tool or a variable spells is plain text in the prompt, and where the template would
/// make it one by cutting, joining or changing texts, the conversation is refused.
#[derive(Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    tokenizer: Tokenizer,
    /// Characters that the templates themselves do not have.
    unused: UnusedChars,
    tool_format: Option<ToolFormat>,
}

/// What a template is rendered with besides the messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct RenderOptions<'a> {
    /// Whether the prompt ends with the head of an answer, for the model to go on.
    pub add_generation_prompt: bool,
    /// The tools that the model may call, in OpenAI's form: `{"type": "function", "function": …}`.
    pub tools: &'a [Json],
    /// Seconds since 1970 in UTC, for templates that name the date. Without it `strftime_now` is
    /// not defined, and such templates fall back to a date of their own.
    pub now_unix_s: Option<i64>,
    /// Further variables, such as `enable_thinking`. Those of the template's contract win.
    pub variables: Option<&'a Map<String, Json>>,
}

impl ChatTemplate {
    /// Finds and compiles the template of a model folder: `chat_template.jinja`, else
    /// `chat_template` in `tokenizer_config.json`, else `chat_template.json`. `None` if there is
    /// none.
    ///
    /// Of several named templates, "default" is used, and "tool_use" when there are tools.
    ///
    /// # Errors
    /// Names file, template and line.
    pub fn load(dir: &Path, tokenizer: &Tokenizer) -> Result<Option<Self>, TextError> {
        let Some(found) = files::find(dir)? else {
            return Ok(None);
        };
        let mut environment = environment::new();
        let mut unused = UnusedChars::default();
        let mut sources = found.templates.iter().map(|(_, source)| source);
        let tool_format = sources.find_map(|source| ToolFormat::of_template(source));
        for (name, source) in found.templates {
            unused.exclude(&source);
            let source = environment::without_generation(&source);
            environment
                .add_template_owned(name.clone(), source)
                .map_err(|error| TextError::TemplateSyntax {
                    path: found.path.clone(),
                    template: name,
                    line: error.line().unwrap_or(0),
                    reason: reason(&error),
                })?;
        }
        Ok(Some(Self {
            environment: Arc::new(environment),
            tokenizer: tokenizer.clone(),
            unused,
            tool_format,
        }))
    }

    /// How the model calls tools, as far as its template shows; `None` if the template knows none.
    pub fn tool_format(&self) -> Option<ToolFormat> {
        self.tool_format
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// [`TextError::TemplateRefused`] with the template's own words when the model does not take
    /// such a conversation; otherwise what went wrong, with the template's name and line.
    pub fn render(
        &self,
        messages: &[Message],
        options: RenderOptions<'_>,
    ) -> Result<RenderedPrompt, TextError> {
        let name = self.template_for(&options);
        let conversation = Conversation {
            messages,
            options,
            tokenizer: &self.tokenizer,
        };
        let mut quotes = Quotes::new(&self.tokenizer, self.unused.clone());
        conversation.context(&mut |text| {
            quotes.survey(text);
            String::new()
        });
        let rendered = self.run(name, conversation.context(&mut |text| quotes.quote(text)))?;
        if quotes.could_spell() {
            // The same conversation with every character altered that a control token could begin
            // or end with: what control tokens are still there, the template wrote.
            let probe = conversation.context(&mut |text| quotes.mask(text));
            let probe = self
                .run(name, probe)
                .map_err(|_| TextError::ControlTokenSpelled)?;
            quotes.compare(&rendered, &probe)?;
        }
        quotes.segments(name, rendered)
    }

    fn template_for(&self, options: &RenderOptions<'_>) -> &'static str {
        let has_tool_use = || self.environment.get_template(TOOL_USE).is_ok();
        if !options.tools.is_empty() && has_tool_use() {
            TOOL_USE
        } else {
            DEFAULT
        }
    }

    fn run(&self, name: &'static str, context: Value) -> Result<String, TextError> {
        let mut output = CappedWriter::default();
        let template = self.environment.get_template(name);
        let result = template
            .and_then(|template| template.render_captured_to(context, &mut output).map(drop));
        match result {
            Ok(()) => String::from_utf8(output.written).map_err(TextError::encode),
            Err(_) if output.full => Err(TextError::PromptTooLong {
                template: name.to_owned(),
                limit_bytes: MAX_RENDERED_BYTES,
            }),
            Err(error) => Err(render_error(name, &error)),
        }
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate").finish_non_exhaustive()
    }
}

/// Everything that a template sees.
struct Conversation<'a> {
    messages: &'a [Message],
    options: RenderOptions<'a>,
    tokenizer: &'a Tokenizer,
}

/// What becomes of each text that a user controls.
type MapText<'a> = &'a mut dyn FnMut(&str) -> String;

impl Conversation<'_> {
    /// The template's variables, with every text that a user controls passed through `text`.
    fn context(&self, text: MapText<'_>) -> Value {
        let options = &self.options;
        let mut variables: Vec<(String, Value)> = Vec::new();
        for (name, value) in options.variables.into_iter().flatten() {
            variables.push((name.clone(), json_value(value, text)));
        }
        let mut set = |name: &str, value: Value| variables.push((name.to_owned(), value));
        let messages = self
            .messages
            .iter()
            .map(|message| message_value(message, text));
        set("messages", messages.collect());
        let tools = options.tools.iter().map(|tool| json_value(tool, text));
        set(
            "tools",
            if options.tools.is_empty() {
                Value::from(())
            } else {
                tools.collect()
            },
        );
        set("documents", Value::from(()));
        set(
            "add_generation_prompt",
            options.add_generation_prompt.into(),
        );
        for (name, token) in self.tokenizer.named_tokens() {
            set(name, token.into());
        }
        if let Some(now_unix_s) = options.now_unix_s {
            set(
                "strftime_now",
                Value::from_object(StrftimeNow { now_unix_s }),
            );
        }
        Value::from_pairs(variables)
    }
}

fn message_value(message: &Message, text: MapText<'_>) -> Value {
    let mut fields = vec![
        ("role", Value::from(message.role.as_str())),
        ("content", text(&message.content).into()),
    ];
    if let Some(name) = &message.name {
        fields.push(("name", text(name).into()));
    }
    if !message.tool_calls.is_empty() {
        let calls = message
            .tool_calls
            .iter()
            .map(|call| tool_call_value(call, text));
        fields.push(("tool_calls", calls.collect()));
    }
    if let Some(id) = &message.tool_call_id {
        fields.push(("tool_call_id", text(id).into()));
    }
    Value::from_pairs(fields)
}

fn tool_call_value(call: &ToolCall, text: MapText<'_>) -> Value {
    let function = Value::from_pairs([
        ("name", Value::from(text(&call.function.name))),
        ("arguments", json_value(&call.function.arguments, text)),
    ]);
    Value::from_pairs([
        ("id", Value::from(text(&call.id))),
        ("type", "function".into()),
        ("function", function),
    ])
}

fn json_value(json: &Json, text: MapText<'_>) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => number_value(number),
        Json::String(value) => text(value).into(),
        Json::Array(values) => values.iter().map(|value| json_value(value, text)).collect(),
        Json::Object(fields) => {
            let mut pairs = Vec::with_capacity(fields.len());
            for (name, value) in fields {
                pairs.push((text(name), json_value(value, text)));
            }
            Value::from_pairs(pairs)
        }
    }
}

fn number_value(number: &serde_json::Number) -> Value {
    let unsigned = number.as_u64().map(Value::from);
    let signed = || number.as_i64().map(Value::from);
    let float = || number.as_f64().map(Value::from);
    unsigned.or_else(signed).or_else(float).unwrap_or_default()
}

fn render_error(name: &'static str, error: &minijinja::Error) -> TextError {
    let template = name.to_owned();
    if let Some(raised) = Raised::behind(error) {
        return TextError::TemplateRefused {
            message: raised.0.clone(),
        };
    }
    match error.kind() {
        ErrorKind::OutOfFuel => TextError::TemplateEndless {
            template,
            fuel: TEMPLATE_FUEL,
        },
        _ => TextError::TemplateFailed {
            template,
            line: error.line().unwrap_or(0),
            reason: reason(error),
        },
    }
}

fn reason(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// Takes up to [`MAX_RENDERED_BYTES`].
#[derive(Default)]
struct CappedWriter {
    written: Vec<u8>,
    full: bool,
}

impl Write for CappedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.len() + bytes.len() > MAX_RENDERED_BYTES {
            self.full = true;
            return Err(io::Error::other("the prompt is too long"));
        }
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
