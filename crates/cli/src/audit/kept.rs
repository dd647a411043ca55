//! Checkpoints that a witness keeps: the newest in a file, and each one, dated, in the history beside
//! it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use portcullis_ledger::{CHECKPOINT_BYTES_MAX, Timestamp, read_text_bounded};
use serde::Serialize;

/// Where checkpoints are kept.
pub(super) struct Kept<'p>(pub(super) &'p Path);

/// A line of the history.
#[derive(Serialize)]
struct Line<'n> {
    at: Timestamp,
    checkpoint: &'n str,
}

impl Kept<'_> {
    /// The newest; `None` if nothing is kept yet.
    pub(super) fn newest(&self) -> Result<Option<String>> {
        match read_text_bounded(self.0, CHECKPOINT_BYTES_MAX) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("{} cannot be read", self.0.display()))
            }
        }
    }

    /// Keeps a checkpoint that was accepted now. The history comes first: what is in the file is
    /// always dated.
    pub(super) fn keep(&self, note: &str, unix_now: i64) -> Result<()> {
        let history = self.history();
        append(&history, note, unix_now)
            .with_context(|| format!("{} cannot be written", history.display()))?;
        self.replace(note, unix_now)
            .with_context(|| format!("{} cannot be written", self.0.display()))?;
        sync_folder(self.0).with_context(|| format!("the folder of {}", self.0.display()))
    }

    fn history(&self) -> PathBuf {
        let mut path = OsString::from(self.0);
        path.push(".history");
        path.into()
    }

    /// Whole or not at all: what was kept before is not lost.
    fn replace(&self, note: &str, unix_now: i64) -> io::Result<()> {
        let mut name = OsString::from(".");
        name.push(self.0.file_name().unwrap_or_default());
        name.push(format!(".{}-{unix_now}.unfinished", std::process::id()));
        let unfinished = self.0.with_file_name(name);
        // A file of this name is somebody else's.
        let mut file = File::create_new(&unfinished)?;
        let written = file
            .write_all(note.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&unfinished, self.0));
        written.inspect_err(|_| {
            // The error in hand says more than a second one could.
            let _ = fs::remove_file(&unfinished);
        })
    }
}

/// A line that a crash cut off stays as it is, and the new one begins on its own.
fn append(history: &Path, note: &str, unix_now: i64) -> io::Result<()> {
    let line = Line {
        at: Timestamp::from_unix_ms(unix_now.saturating_mul(1000)),
        checkpoint: note,
    };
    let mut line = serde_json::to_string(&line)? + "\n";
    if !ends_a_line(history)? {
        line.insert(0, '\n');
    }
    let mut file = OpenOptions::new().append(true).create(true).open(history)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

fn ends_a_line(path: &Path) -> io::Result<bool> {
    use io::{Read, Seek, SeekFrom};
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        opened => opened?,
    };
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// A name is durable when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    match cfg!(unix) {
        true => File::open(folder)?.sync_all(),
        // Elsewhere folders cannot be opened as files.
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_kept_and_each_is_dated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        let kept = Kept(&path);
        assert_eq!(kept.newest().unwrap(), None);
        kept.keep("one\n", 1_700_000_000).unwrap();
        kept.keep("two\n", 1_700_086_400).unwrap();
        assert_eq!(kept.newest().unwrap().as_deref(), Some("two\n"));
        let history = fs::read_to_string(dir.path().join("w.history")).unwrap();
        assert_eq!(
            history,
            concat!(
                r#"{"at":"2023-11-14T22:13:20.000Z","checkpoint":"one\n"}"#,
                "\n",
                r#"{"at":"2023-11-15T22:13:20.000Z","checkpoint":"two\n"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_stands_beside_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let neighbour = dir.path().join("w.new");
        fs::write(&neighbour, "dear").unwrap();
        Kept(&dir.path().join("w")).keep("one\n", 0).unwrap();
        Kept(&dir.path().join("w.txt")).keep("one\n", 0).unwrap();
        assert_eq!(fs::read_to_string(&neighbour).unwrap(), "dear");
        let names = fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> = names.map(|it| it.unwrap().file_name()).collect();
        names.sort();
        let wanted = ["w", "w.history", "w.new", "w.txt", "w.txt.history"];
        assert_eq!(names, wanted);
    }

    #[test]
    fn a_line_that_was_cut_off_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let history = dir.path().join("w.history");
        fs::write(&history, "{\"at\":\"20").unwrap();
        Kept(&dir.path().join("w")).keep("one\n", 0).unwrap();
        let history = fs::read_to_string(&history).unwrap();
        let lines: Vec<_> = history.lines().collect();
        assert_eq!(lines.len(), 2, "{history}");
        assert!(lines[1].contains("1970-01-01T00:00:00.000Z"), "{history}");
    }

    #[test]
    fn a_checkpoint_that_cannot_take_its_place_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        fs::create_dir_all(path.join("full")).unwrap();
        let error = Kept(&path).keep("one\n", 0).unwrap_err().to_string();
        assert!(error.contains("w cannot be written"), "{error}");
        let mut names = fs::read_dir(dir.path()).unwrap();
        assert!(names.all(|it| !it.unwrap().file_name().to_string_lossy().starts_with('.')));
    }
}
