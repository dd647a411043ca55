//! Where a model folder keeps its chat template.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{DEFAULT, TOOL_USE};
use crate::TextError;
use crate::tokenizer::{read_json, read_text};

/// The templates of a folder.
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// (name, source): "default", and "tool_use" if there is one.
    pub(super) templates: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Holder {
    chat_template: Option<Templates>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

pub(super) fn find(dir: &Path) -> Result<Option<Found>, TextError> {
    let path = dir.join("chat_template.jinja");
    if let Some(source) = read_text(&path)? {
        return Ok(Some(Found {
            path,
            templates: vec![(DEFAULT.to_owned(), source)],
        }));
    }
    for file in ["tokenizer_config.json", "chat_template.json"] {
        let path = dir.join(file);
        let holder: Option<Holder> = read_json(&path)?;
        if let Some(templates) = holder.and_then(|holder| holder.chat_template) {
            return found(path, templates).map(Some);
        }
    }
    Ok(None)
}

fn found(path: PathBuf, templates: Templates) -> Result<Found, TextError> {
    let named = match templates {
        Templates::One(source) => vec![(DEFAULT.to_owned(), source)],
        Templates::Named(named) => named.into_iter().map(|t| (t.name, t.template)).collect(),
    };
    if !named.iter().any(|(name, _)| name == DEFAULT) {
        let names = named.into_iter().map(|(name, _)| name).collect();
        return Err(TextError::NoDefaultTemplate { path, names });
    }
    let used = |(name, _): &(String, String)| name == DEFAULT || name == TOOL_USE;
    Ok(Found {
        path,
        templates: named.into_iter().filter(used).collect(),
    })
}
