//! All mistakes of a JSON file at once, each by the name of its field.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::ModelError;

/// Collects mistakes while the rest is still looked at.
#[derive(Default)]
pub(crate) struct Mistakes(Vec<String>);

impl Mistakes {
    /// What was made of a file, if nothing was wrong with it.
    pub(crate) fn none_or<T>(self, value: T, path: &Path) -> Result<T, ModelError> {
        match self.0.is_empty() {
            true => Ok(value),
            false => Err(ModelError::Config {
                path: path.into(),
                mistakes: self.0,
            }),
        }
    }

    /// A field of the object; absent and null are the same.
    pub(crate) fn field<T: DeserializeOwned>(
        &mut self,
        object: &mut Map<String, Value>,
        name: &str,
    ) -> Option<T> {
        let value = object.remove(name).filter(|value| !value.is_null())?;
        serde_json::from_value(value)
            .inspect_err(|error| self.say(format!("{name}: {error}")))
            .ok()
    }

    /// A count that must be there and above 0; 1 stands in for it.
    pub(crate) fn require(&mut self, name: &str, value: Option<usize>) -> usize {
        match value {
            Some(0) => self.say(format!("{name} is 0")),
            Some(value) => return value,
            None => self.say(format!("{name} is missing")),
        }
        1
    }

    pub(crate) fn say(&mut self, mistake: impl Into<String>) {
        self.0.push(mistake.into());
    }
}

/// A JSON file of named fields.
///
/// # Errors
/// It is none.
pub(crate) fn read_object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>, ModelError> {
    serde_json::from_slice(bytes).map_err(|error| ModelError::Config {
        path: path.into(),
        mistakes: vec![error.to_string()],
    })
}
