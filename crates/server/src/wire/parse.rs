//! Bytes to a wire type; a mistake names the field.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::error::ApiError;

/// Reads one JSON object and nothing after it.
///
/// # Errors
/// 400 naming the field at fault: a number that is none or too large (`1e400`), a wrong type, a
/// field given twice, nesting deeper than 128, bytes that are not UTF-8, or no JSON at all.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // Serde would take an array for the fields in their order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiError::bad_request(
            "the body must be a JSON object, not an array",
        ));
    }
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

/// As OpenAI's errors have it: `messages.[0].content`. None where the mistake is not in a field.
fn param_name(path: &serde_path_to_error::Path) -> Option<String> {
    // Nothing of ours lies deeper: a caller who nests further gets no answer that grows with it.
    const DEPTH_MAX: usize = 4;
    let known = path
        .iter()
        .all(|segment| !matches!(segment, Segment::Unknown));
    let names: Vec<String> = path
        .iter()
        .take(DEPTH_MAX)
        .map(ToString::to_string)
        .collect();
    (known && !names.is_empty()).then(|| names.join("."))
}

/// Serde speaks of Rust's types; callers do not know them.
fn plain_words(said: &str) -> String {
    const WORDS: [(&str, &str); 7] = [
        (
            "expected u32",
            "expected a whole number from 0 to 4294967295",
        ),
        ("expected u8", "expected a whole number from 0 to 255"),
        ("expected usize", "expected a whole number of at least 0"),
        (
            "expected a nonzero u64",
            "expected a whole number of at least 1",
        ),
        ("expected i64", "expected a whole number of 64 bits"),
        ("expected f32", "expected a number"),
        ("expected a boolean", "expected true or false"),
    ];
    WORDS.iter().fold(said.to_owned(), |said, (rust, plain)| {
        said.replace(rust, plain)
    })
}
