//! The Jinja that Hugging Face's chat templates are written for.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Object, Value, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State};

use super::{TEMPLATE_FUEL, python_json, strftime};

/// An environment without templates.
pub(super) fn new() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .unwrap_or_default(),
    );
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(TEMPLATE_FUEL));
    // Its reports would repeat what users wrote.
    environment.set_debug(false);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", python_json::tojson);
    environment.add_function("raise_exception", raise_exception);
    environment
}

/// A template without Hugging Face's `{% generation %}`, which marks answers for training. For
/// rendering it is a block that is always taken.
pub(super) fn without_generation(source: &str) -> String {
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        let inner = tag.trim_start_matches(['-', '+']).trim_start();
        plain.push_str(before);
        rest = tag;
        if let Some((condition, after)) = generation_tag(inner) {
            plain.push_str(&tag[..tag.len() - inner.len()]);
            plain.push_str(condition);
            rest = after;
        }
    }
    plain + rest
}

fn generation_tag(inner: &str) -> Option<(&'static str, &str)> {
    let tags = [("generation", "if true"), ("endgeneration", "endif")];
    tags.into_iter().find_map(|(tag, condition)| {
        let after = inner.strip_prefix(tag)?;
        let end = after.trim_start();
        let ends = ["%}", "-%}", "+%}"]
            .iter()
            .any(|close| end.starts_with(close));
        ends.then_some((condition, after))
    })
}

/// What a template passed to `raise_exception`.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl Raised {
    /// The exception at the root of an error, if that is what it is.
    pub(super) fn behind(error: &Error) -> Option<&Self> {
        let mut source = error.source();
        while let Some(error) = source {
            if let Some(raised) = error.downcast_ref() {
                return Some(raised);
            }
            source = error.source();
        }
        None
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(
        Error::new(ErrorKind::InvalidOperation, "raised by the template")
            .with_source(Raised(message)),
    )
}

/// The function `strftime_now`, with the time that the caller says it is.
#[derive(Debug)]
pub(super) struct StrftimeNow {
    pub(super) now_unix_s: i64,
}

impl Object for StrftimeNow {
    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let (format,): (&str,) = from_args(args)?;
        strftime::format(format, self.now_unix_s)
            .map(Value::from)
            .map_err(|reason| Error::new(ErrorKind::InvalidOperation, reason))
    }
}
