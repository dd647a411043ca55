//! What an answer must be because its caller asks for it: JSON, or a call of a tool. Both are masks
//! on what is drawn, so that an answer is never drawn twice for its form.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_gate::{AnswerForm, CompiledGrammar, Grammar, GrammarError};
use portcullis_text::{ToolForm, ToolFormat, WhetherToCall};
use portcullis_types::TokenId;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;
use crate::state::App;
use crate::tools::ToolUse;
use crate::vocabulary;
use crate::wire::tools::ResponseFormatField;

/// Compiled grammars that are kept, most recently used last: applications send the same few with
/// each call.
const COMPILED_MAX: usize = 64;

/// What is said where nothing is called.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum AnswerText {
    #[default]
    Free,
    /// JSON that is valid under a schema, which stands in this field.
    Json { schema: Value, param: &'static str },
}

impl AnswerText {
    /// What `response_format` asks for.
    ///
    /// # Errors
    /// A type that is none, or no schema.
    pub(crate) fn of_chat(format: Option<ResponseFormatField>) -> Result<Self, ApiError> {
        let Some(format) = format else {
            return Ok(Self::Free);
        };
        let schema = format.json_schema.and_then(|json| json.schema);
        Self::of_type(&format.kind, "response_format", schema, CHAT_SCHEMA)
    }

    /// The same for any endpoint.
    ///
    /// # Errors
    /// A type that is none, or no schema.
    pub(crate) fn of_type(
        kind: &str,
        param: &str,
        schema: Option<Value>,
        schema_param: &'static str,
    ) -> Result<Self, ApiError> {
        match (kind, schema) {
            ("text", _) => Ok(Self::Free),
            ("json_object", _) => Ok(Self::Json {
                schema: json!({"type": "object"}),
                param: schema_param,
            }),
            ("json_schema", Some(schema)) => Ok(Self::Json {
                schema,
                param: schema_param,
            }),
            ("json_schema", None) => Err(ApiError::invalid(schema_param, "is required")),
            _ => Err(ApiError::invalid(
                format!("{param}.type"),
                "must be \"text\", \"json_object\" or \"json_schema\"",
            )),
        }
    }
}

const CHAT_SCHEMA: &str = "response_format.json_schema.schema";

/// Calls whose forms are made at a time; one compiles, and the others have their prompts encoded.
const FORMS_AT_ONCE: usize = 4;

/// Compiled forms, by what they were made from.
pub(crate) struct FormCache {
    compiled: Mutex<VecDeque<(Grammars, Arc<CompiledGrammar>)>>,
    turns: Arc<Semaphore>,
}

impl Default for FormCache {
    fn default() -> Self {
        Self {
            compiled: Mutex::default(),
            turns: Arc::new(Semaphore::new(FORMS_AT_ONCE)),
        }
    }
}

impl FormCache {
    /// Waits until a form may be made, if one has to be. Schemas can take long: were they waited for
    /// on workers, no worker would be left for calls that have none. The turn goes to the worker, which
    /// keeps it to its end even if the caller hangs up.
    pub(crate) async fn turn(
        &self,
        tools: Option<&ToolUse>,
        text: &AnswerText,
    ) -> Option<OwnedSemaphorePermit> {
        let is_free = *text == AnswerText::Free
            && tools.is_none_or(|tools| !tools.is_forced() && !tools.has_strict());
        match is_free {
            true => None,
            // It is never closed.
            false => Arc::clone(&self.turns).acquire_owned().await.ok(),
        }
    }
}

/// The text of a grammar and the schemas in it.
#[derive(Clone, Debug, PartialEq)]
struct Grammars {
    lark: String,
    schemas: Vec<Value>,
}

/// The form of an answer; `None` where anything may be said. Takes a core for a moment: not for a
/// thread that answers others.
///
/// # Errors
/// A schema that cannot be enforced, by the field that it stands in.
pub(crate) fn answer_form(
    app: &App,
    tools: Option<&ToolUse>,
    text: &AnswerText,
) -> Result<Option<AnswerForm>, ApiError> {
    let (form, schemas) = match (tools, text) {
        (None, AnswerText::Free) => return Ok(None),
        (None, AnswerText::Json { schema, param }) => {
            (of_json(), vec![checked(schema.clone(), param)?])
        }
        (Some(tools), text) => match form_of_tools(tools, text)? {
            Some(form) => form,
            None => return Ok(None),
        },
    };
    let after = form
        .after
        .map(|name| control_token(app, name))
        .transpose()?;
    let grammar = compiled(app, form.lark, schemas)?;
    let form = AnswerForm::new(grammar);
    Ok(Some(match (after, tools) {
        (Some(token), _) => form.after(token),
        (None, None) => form.of_json(),
        (None, Some(_)) => form,
    }))
}

fn of_json() -> ToolForm {
    ToolForm {
        lark: "start: json_0\n".to_owned(),
        after: None,
    }
}

/// The grammar and its schemas; `None` where neither the call nor its arguments are constrained.
fn form_of_tools(
    tools: &ToolUse,
    text: &AnswerText,
) -> Result<Option<(ToolForm, Vec<Value>)>, ApiError> {
    let whether = match (tools.is_forced(), text) {
        (true, _) => WhetherToCall::Must,
        (false, AnswerText::Json { .. }) => WhetherToCall::MayOrAnswer,
        (false, AnswerText::Free) if tools.has_strict() => WhetherToCall::May,
        (false, AnswerText::Free) => return Ok(None),
    };
    if whether == WhetherToCall::MayOrAnswer && tools.format == ToolFormat::Mistral {
        return Err(ApiError::not_built(
            "response_format",
            "cannot be combined with tools that this model may call or not; set tool_choice to \
             \"none\" or \"required\"",
        ));
    }
    let names: Vec<&str> = tools.tools.iter().map(|tool| tool.name.as_str()).collect();
    let mut form = tools.format.form(&names, tools.parallel, whether);
    let mut schemas = Vec::new();
    for tool in &tools.tools {
        let is_held = tool.strict || tools.is_forced();
        schemas.push(match is_held {
            true => checked(tool.schema(), &tool.param)?,
            false => json!({"type": "object"}),
        });
    }
    if let (WhetherToCall::MayOrAnswer, AnswerText::Json { schema, param }) = (whether, text) {
        form.lark
            .push_str(&format!("answer: json_{}\n", schemas.len()));
        schemas.push(checked(schema.clone(), param)?);
    }
    Ok(Some((form, schemas)))
}

/// A schema as masks are to hold it.
fn checked(mut schema: Value, param: &str) -> Result<Value, ApiError> {
    if let Value::Object(fields) = &mut schema {
        // Clients name whichever draft their library writes; what masks enforce means the same in all.
        fields.remove("$schema");
    }
    Grammar::check_schema(&schema).map_err(|error| refused(param, &error))?;
    close(&mut schema);
    Ok(schema)
}

/// An object whose properties are named has no others, unless its schema says something of them: a
/// model that may add some may never come to an end, and nobody asked for them.
fn close(schema: &mut Value) {
    const OPEN: [&str; 6] = [
        "additionalProperties",
        "patternProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "$ref",
    ];
    match schema {
        Value::Array(list) => list.iter_mut().for_each(close),
        Value::Object(fields) => {
            let is_named = fields.get("properties").is_some_and(Value::is_object);
            if is_named && !OPEN.iter().any(|word| fields.contains_key(*word)) {
                fields.insert("additionalProperties".to_owned(), false.into());
            }
            // What stands below these is data.
            let is_data = |name: &str| matches!(name, "const" | "enum" | "default" | "examples");
            let schemas = fields.iter_mut().filter(|(name, _)| !is_data(name));
            schemas.for_each(|(_, schema)| close(schema));
        }
        _ => {}
    }
}

fn refused(param: &str, error: &GrammarError) -> ApiError {
    ApiError::invalid(param, format!("{error}; {}", error.mend())).with_code("invalid_schema")
}

fn control_token(app: &App, name: &str) -> Result<TokenId, ApiError> {
    app.tokenizer.token_id(name).ok_or_else(|| {
        let said = format!("this model has no token {name}, with which its format announces calls");
        ApiError::not_built("tools", &said)
    })
}

/// One grammar is compiled at a time: that takes a core and, for a moment, much memory.
fn compiled(
    app: &App,
    lark: String,
    schemas: Vec<Value>,
) -> Result<Arc<CompiledGrammar>, ApiError> {
    let made_from = Grammars { lark, schemas };
    let mut kept = app
        .forms
        .compiled
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(at) = kept.iter().position(|(known, _)| *known == made_from)
        && let Some(known) = kept.remove(at)
    {
        let grammar = Arc::clone(&known.1);
        kept.push_back(known);
        return Ok(grammar);
    }
    let vocabulary = vocabulary::of_model(app)?;
    let grammar = Grammar::form(&made_from.lark, &made_from.schemas)
        .and_then(|grammar| grammar.compile(&vocabulary))
        .map_err(|error| refused("tools or response_format", &error))?;
    if kept.len() == COMPILED_MAX {
        kept.pop_front();
    }
    kept.push_back((made_from, Arc::clone(&grammar)));
    Ok(grammar)
}

#[cfg(test)]
mod tests;
