//! Verifies an export.

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use portcullis_sign::PublicKey;

use super::rulesets::RuleSets;
use super::stranger::{open_regular, read_text_bounded};
use super::tiler::{TileFile, Tiler};
use super::{
    CHECKPOINT, CHECKPOINT_BYTES_MAX, ENTRIES, ExportError, ExportWriter, KEY_BYTES_MAX, KEYS,
    key_file,
};
use crate::verify::Faults;
use crate::{Audit, ENTRY_MAX_BYTES, Fault, KeyKind, LogReport, SignedCheckpoint, TrustedKeys};

/// A folder with a log and all that it takes to verify it.
#[derive(Debug)]
pub struct Export {
    dir: PathBuf,
    checkpoint: String,
    keys: TrustedKeys,
}

impl Export {
    /// Begins to write a new one: the log of this checkpoint, with these keys.
    ///
    /// # Errors
    /// [`ExportError::NotEmpty`], [`ExportError::Io`].
    pub fn create(
        dir: &Path,
        checkpoint: SignedCheckpoint,
        keys: &TrustedKeys,
    ) -> Result<ExportWriter, ExportError> {
        ExportWriter::create(dir, checkpoint, keys)
    }

    /// Looks into a folder.
    ///
    /// # Errors
    /// [`ExportError::NotAnExport`], [`ExportError::Key`], [`ExportError::Io`].
    pub fn open(dir: &Path) -> Result<Self, ExportError> {
        let path = dir.join(CHECKPOINT);
        let checkpoint = read_text_bounded(&path, CHECKPOINT_BYTES_MAX);
        let checkpoint = checkpoint.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                ExportError::NotAnExport(dir.to_owned())
            }
            _ => ExportError::io(&path)(error),
        })?;
        let keys = dir.join(KEYS);
        let keys = TrustedKeys::unpinned(
            read_keys(&keys, KeyKind::Record)?,
            read_keys(&keys, KeyKind::Log)?,
        );
        Ok(Self {
            dir: dir.to_owned(),
            checkpoint,
            keys,
        })
    }

    /// The keys that came with it, which are worth what their ids are when they are compared.
    #[must_use]
    pub fn keys(&self) -> &TrustedKeys {
        &self.keys
    }

    /// Verifies the log; that its entries, bundles and tiles agree; and that the rule sets are those
    /// that records name, signed by those whom records name.
    ///
    /// Where no key of a kind is pinned, those of the folder are taken, and the report says so.
    /// `witnessed` are older checkpoints of the same log, kept elsewhere.
    #[must_use]
    pub fn verify(&self, pinned: &TrustedKeys, witnessed: &[String]) -> LogReport {
        let keys = pinned.or(&self.keys);
        let mut audit = Audit::new(&self.checkpoint, &keys);
        for older in witnessed {
            audit.witnessed(older);
        }
        self.read_entries(&mut audit);
        let mut report = audit.finish();
        let mut found = RuleSets::of(&self.dir);
        for used in &report.rulesets {
            found.check(used);
        }
        report.remarks.extend(found.remarks);
        report.add_faults(found.faults);
        report
    }

    fn read_entries(&self, audit: &mut Audit<'_>) {
        let mut tiler = Tiler::default();
        let opened = open_regular(&self.dir.join(ENTRIES));
        let lines = opened.map(|file| Lines(BufReader::new(file)));
        let lines = match lines {
            Ok(lines) => lines,
            Err(error) => return audit.faults.add(unreadable(ENTRIES, &error)),
        };
        for line in lines {
            match line {
                Ok(entry) => {
                    let hashes = audit.entry(&entry);
                    self.compare(&tiler.push(&entry, &hashes), &mut audit.faults);
                }
                Err(error) => {
                    let what = format!("entry {}", audit.size());
                    return audit.faults.add(unreadable(&what, &error));
                }
            }
        }
        // With entries missing the last tiles would have other names than these.
        if audit.signed_size().is_none_or(|size| size == audit.size()) {
            self.compare(&tiler.finish(), &mut audit.faults);
        }
    }

    /// Whether the tiles of the folder are those that its entries make.
    fn compare(&self, tiles: &[TileFile], faults: &mut Faults) {
        for (path, wanted) in tiles {
            let name = path.to_string();
            let there = match read_at_most(&self.dir.join(&name), wanted.len() + 1) {
                Ok(there) => there,
                Err(error) => {
                    faults.add(unreadable(&name, &error));
                    continue;
                }
            };
            if there == *wanted {
                continue;
            }
            let pairs = there.iter().zip(wanted);
            let agreed = pairs.take_while(|(one, other)| one == other).count();
            faults.add(Fault::TileDiffers {
                entry: path.entry_at(wanted, agreed),
                path: name,
            });
        }
    }
}

/// Entries, one to a line, none longer than an entry may be.
struct Lines<R>(R);

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        let mut bounded = self.0.by_ref().take(ENTRY_MAX_BYTES as u64 + 1);
        if let Err(error) = bounded.read_until(b'\n', &mut line) {
            return Some(Err(error));
        }
        match line.pop()? {
            b'\n' => Some(Ok(line)),
            _ => Some(Err(io::Error::new(
                ErrorKind::InvalidData,
                "its line does not end, or is longer than an entry may be",
            ))),
        }
    }
}

fn read_at_most(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open_regular(path)?;
    file.take(bytes_max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn unreadable(what: &str, error: &io::Error) -> Fault {
    Fault::Unreadable {
        what: what.to_owned(),
        reason: error.to_string(),
    }
}

fn read_keys(dir: &Path, kind: KeyKind) -> Result<Vec<PublicKey>, ExportError> {
    let listed = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(ExportError::io(dir))?,
    };
    let mut names = Vec::new();
    for file in listed {
        let name = file.map_err(ExportError::io(dir))?.file_name();
        names.extend(name.into_string());
    }
    let is_of_kind = |name: &&String| {
        let rest = name.strip_prefix(kind.as_str());
        rest.is_some_and(|rest| rest.starts_with('-') && rest.ends_with(".pem"))
    };
    names.sort();
    let names = names.iter().filter(is_of_kind);
    names
        .map(|name| read_key(dir.join(name), kind, name))
        .collect()
}

fn read_key(path: PathBuf, kind: KeyKind, name: &str) -> Result<PublicKey, ExportError> {
    let pem = read_text_bounded(&path, KEY_BYTES_MAX).map_err(ExportError::io(&path))?;
    let wrong = |path, reason| ExportError::Key { path, reason };
    match PublicKey::from_pem(&pem) {
        Ok(key) if key_file(kind.as_str(), key.id().as_str()) == name => Ok(key),
        Ok(_) => Err(wrong(
            path,
            "holds another key than its name says".to_owned(),
        )),
        Err(error) => Err(wrong(path, error.to_string())),
    }
}
