//! Bytes to a wire type; a mistake names the field.

use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Reads one JSON value and nothing after it.
///
/// # Errors
/// 400 naming the field at fault: a number that is none or too large (`1e400`), a wrong type, a
/// field given twice, nesting deeper than 128, bytes that are not UTF-8, or no JSON at all.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let mut track = serde_path_to_error::Track::new();
    let value = T::deserialize(serde_path_to_error::Deserializer::new(
        &mut reader,
        &mut track,
    ))
    .map_err(|error| mistake(Some(track.path()), &error))?;
    reader.end().map_err(|error| mistake(None, &error))?;
    Ok(value)
}

fn mistake(path: Option<serde_path_to_error::Path>, error: &serde_json::Error) -> ApiError {
    let param = path.and_then(|path| param_name(&path));
    let said = plain_words(&error.to_string());
    match param {
        Some(param) => ApiError::invalid(param, said),
        None => ApiError::bad_request(format!("the body cannot be read as JSON: {said}")),
    }
}

/// `messages[0].content` is `messages.[0].content` in OpenAI's errors.
fn param_name(path: &serde_path_to_error::Path) -> Option<String> {
    path.iter().next()?;
    let name = path.to_string().replace('[', ".[");
    (name != ".").then_some(name)
}

/// Serde speaks of Rust's types; callers do not know them.
fn plain_words(said: &str) -> String {
    const WORDS: [(&str, &str); 6] = [
        (
            "expected u32",
            "expected a whole number from 0 to 4294967295",
        ),
        ("expected u8", "expected a whole number from 0 to 255"),
        ("expected usize", "expected a whole number of at least 0"),
        ("expected i64", "expected a whole number of 64 bits"),
        ("expected f32", "expected a number"),
        ("expected a boolean", "expected true or false"),
    ];
    WORDS.iter().fold(said.to_owned(), |said, (rust, plain)| {
        said.replace(rust, plain)
    })
}
