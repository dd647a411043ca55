//! Reads files of strangers, who may have put anything there.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Opens a file, and nothing else: a pipe would let its reader wait for ever.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it is no regular file, and those of the operating system.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    match fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is not a regular file",
        )),
    }
}

/// Reads a regular file of at most so many bytes.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it is no regular file, [`ErrorKind::FileTooLarge`], and those of
/// the operating system.
pub(super) fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open_regular(path)?;
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() > bytes_max {
        true => Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it is longer than the {bytes_max} bytes that such a file may have"),
        )),
        false => Ok(bytes),
    }
}

/// The same for text.
///
/// # Errors
/// Those of [`read_bounded`], and [`ErrorKind::InvalidData`] if it is no UTF-8.
pub fn read_text_bounded(path: &Path, bytes_max: usize) -> io::Result<String> {
    let bytes = read_bounded(path, bytes_max)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}
