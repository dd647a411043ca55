//! A JSON schema is refused where the library would read less into it than its author did.
//!
//! Keywords that a draft does not know are annotations to a validator. Here they are refused: a
//! misspelt `required` would otherwise be a rule that holds nothing.

use serde_json::Value;

use super::GrammarError;
use crate::limits::{GRAMMAR_MULTIPLE_MAX, GRAMMAR_PARTS_MAX};

/// What stands below a keyword.
enum Below {
    /// Nothing that is a schema.
    Data,
    /// One schema.
    Schema,
    /// A list of schemas.
    List,
    /// Schemas by name.
    Named,
}

/// Refuses keywords that would not be enforced.
pub(super) fn check(schema: &Value) -> Result<(), GrammarError> {
    check_root(schema)?;
    let mut left = vec![(schema, String::new())];
    let mut parts = 0;
    while let Some((schema, pointer)) = left.pop() {
        parts += 1;
        if parts > GRAMMAR_PARTS_MAX {
            return Err(GrammarError::TooManyParts);
        }
        let Value::Object(keywords) = schema else {
            continue;
        };
        check_multiple(keywords.get("multipleOf"), &pointer)?;
        for (keyword, value) in keywords {
            let Some(below) = below(keyword).filter(|_| is_known_here(keyword, &pointer)) else {
                return Err(refused(keyword, &pointer));
            };
            let at = format!("{pointer}/{keyword}");
            let Some(schemas) = schemas(below, value) else {
                return Err(misread(keyword, &pointer, value));
            };
            left.extend(schemas.into_iter().map(|(name, schema)| match name {
                Some(name) => (schema, format!("{at}/{name}")),
                None => (schema, at.clone()),
            }));
        }
    }
    Ok(())
}

/// Only the draft that is read is accepted by name: under an older one the library would skip
/// keywords of this one.
fn check_root(schema: &Value) -> Result<(), GrammarError> {
    const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
    match schema.get("$schema") {
        None => Ok(()),
        Some(Value::String(draft)) if draft.trim_end_matches('#') == DRAFT => Ok(()),
        Some(other) => Err(misread("$schema", "", other)),
    }
}

/// Where a remainder is beyond its integers, the library would count wrongly.
fn check_multiple(multiple: Option<&Value>, pointer: &str) -> Result<(), GrammarError> {
    const SMALLEST: f64 = 1.0 / GRAMMAR_MULTIPLE_MAX;
    match multiple {
        Some(value)
            if !value
                .as_f64()
                .is_some_and(|m| (SMALLEST..=GRAMMAR_MULTIPLE_MAX).contains(&m)) =>
        {
            Err(misread("multipleOf", pointer, value))
        }
        _ => Ok(()),
    }
}

/// `$schema` and `$id` change what is below them, which the library does not follow.
fn is_known_here(keyword: &str, pointer: &str) -> bool {
    !matches!(keyword, "$schema" | "$id") || pointer.is_empty()
}

fn below(keyword: &str) -> Option<Below> {
    match keyword {
        "type" | "enum" | "const" | "$ref" | "required" | "minItems" | "maxItems"
        | "minProperties" | "maxProperties" | "minLength" | "maxLength" | "pattern" | "format"
        | "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
            Some(Below::Data)
        }
        // They hold nothing, and nobody expects them to.
        "$schema" | "$id" | "$comment" | "title" | "description" | "default" | "examples"
        | "readOnly" | "writeOnly" | "deprecated" => Some(Below::Data),
        "items" | "additionalProperties" => Some(Below::Schema),
        "anyOf" | "oneOf" | "allOf" | "prefixItems" => Some(Below::List),
        "properties" | "patternProperties" | "$defs" | "definitions" => Some(Below::Named),
        _ => None,
    }
}

/// The schemas of a keyword's value, with their names or places; `None` if it holds none, as
/// `items` with an array, which meant something else in older drafts.
fn schemas(below: Below, value: &Value) -> Option<Vec<(Option<String>, &Value)>> {
    match (below, value) {
        (Below::Data, _) => Some(Vec::new()),
        (Below::Schema, Value::Object(_) | Value::Bool(_)) => Some(vec![(None, value)]),
        (Below::List, Value::Array(list)) => {
            let places = list.iter().enumerate();
            Some(
                places
                    .map(|(place, s)| (Some(place.to_string()), s))
                    .collect(),
            )
        }
        (Below::Named, Value::Object(map)) => Some(
            map.iter()
                .map(|(name, s)| (Some(name.clone()), s))
                .collect(),
        ),
        _ => None,
    }
}

fn misread(keyword: &str, pointer: &str, value: &Value) -> GrammarError {
    GrammarError::Value {
        keyword: keyword.to_owned(),
        pointer: shown(pointer),
        value: value.to_string().chars().take(100).collect(),
    }
}

fn shown(pointer: &str) -> String {
    if pointer.is_empty() { "/" } else { pointer }.to_owned()
}

fn refused(keyword: &str, pointer: &str) -> GrammarError {
    GrammarError::Keyword {
        keyword: keyword.to_owned(),
        pointer: shown(pointer),
    }
}
