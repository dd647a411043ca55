//! Writes an export.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use portcullis_sign::{Envelope, PublicKey};

use super::tiler::{TileFile, Tiler};
use super::{CHECKPOINT, ENTRIES, ExportError, KEYS, RULESETS, SIGNER, is_file_name, key_file};
use crate::{ENTRY_MAX_BYTES, KeyKind, LogVerifier, SignedCheckpoint, Tree, TrustedKeys};

const README: &str = include_str!("readme.txt");

/// Writes an export entry by entry. It counts as one when [`Self::finish`] has written its
/// checkpoint.
pub struct ExportWriter {
    dir: PathBuf,
    checkpoint: SignedCheckpoint,
    entries: BufWriter<File>,
    tree: Tree,
    tiler: Tiler,
}

impl ExportWriter {
    pub(super) fn create(
        dir: &Path,
        checkpoint: SignedCheckpoint,
        keys: &TrustedKeys,
    ) -> Result<Self, ExportError> {
        let make = |dir: &Path| fs::create_dir_all(dir).map_err(ExportError::io(dir));
        make(dir)?;
        let mut there = fs::read_dir(dir).map_err(ExportError::io(dir))?;
        if there.next().is_some() {
            return Err(ExportError::NotEmpty(dir.to_owned()));
        }
        make(&dir.join(KEYS))?;
        make(&dir.join(RULESETS))?;
        write(&dir.join("README.txt"), README.as_bytes())?;
        write_keys(&dir.join(KEYS), &checkpoint.origin, keys)?;
        let entries = dir.join(ENTRIES);
        let entries = File::create_new(&entries).map_err(ExportError::io(&entries))?;
        Ok(Self {
            dir: dir.to_owned(),
            checkpoint,
            entries: BufWriter::new(entries),
            tree: Tree::default(),
            tiler: Tiler::default(),
        })
    }

    /// Entries that were written.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The next entry. Whether it is the one of the log, whoever verifies the export finds out.
    ///
    /// # Errors
    /// [`ExportError::Entry`], [`ExportError::Io`].
    pub fn entry(&mut self, entry: &[u8]) -> Result<(), ExportError> {
        if entry.len() > ENTRY_MAX_BYTES || entry.contains(&b'\n') {
            return Err(ExportError::Entry(self.tree.size()));
        }
        let line = self.entries.write_all(entry);
        line.and_then(|()| self.entries.write_all(b"\n"))
            .map_err(ExportError::io(&self.dir.join(ENTRIES)))?;
        let hashes = self.tree.push_entry(entry);
        let tiles = self.tiler.push(entry, &hashes);
        tiles
            .iter()
            .try_for_each(|tile| write_tile(&self.dir, tile))
    }

    /// A rule set that records name, as it was registered, with its signatures.
    ///
    /// # Errors
    /// [`ExportError::RuleSetName`], [`ExportError::Io`].
    pub fn ruleset(
        &self,
        name: &str,
        version: u32,
        source: &[u8],
        signatures: Option<&Envelope>,
    ) -> Result<(), ExportError> {
        if !is_file_name(name) {
            return Err(ExportError::RuleSetName(name.to_owned()));
        }
        let file = |ending| {
            let name = format!("{name}@{version}.{ending}");
            self.dir.join(RULESETS).join(name)
        };
        write(&file("yaml"), source)?;
        match signatures {
            Some(envelope) => write(&file("dsse.json"), envelope.to_json().as_bytes()),
            None => Ok(()),
        }
    }

    /// The public key of somebody whom records name as a signer of a rule set.
    ///
    /// # Errors
    /// [`ExportError::Io`].
    pub fn signer(&self, key: &PublicKey) -> Result<(), ExportError> {
        write_key(&self.dir.join(KEYS), SIGNER, key)
    }

    /// Writes what is left, and the checkpoint last.
    ///
    /// # Errors
    /// [`ExportError::Size`], [`ExportError::Io`].
    pub fn finish(mut self) -> Result<(), ExportError> {
        let (wanted, given) = (self.checkpoint.size, self.tree.size());
        if wanted != given {
            return Err(ExportError::Size { wanted, given });
        }
        let flushed = self.entries.flush();
        flushed.map_err(ExportError::io(&self.dir.join(ENTRIES)))?;
        let tiles = self.tiler.finish();
        tiles
            .iter()
            .try_for_each(|tile| write_tile(&self.dir, tile))?;
        write(&self.dir.join(CHECKPOINT), self.checkpoint.note.as_bytes())
    }
}

fn write_keys(dir: &Path, origin: &str, keys: &TrustedKeys) -> Result<(), ExportError> {
    for kind in [KeyKind::Record, KeyKind::Log] {
        for key in keys.of(kind) {
            write_key(dir, kind.as_str(), key)?;
        }
    }
    let log_keys = keys.of(KeyKind::Log).iter();
    let lines = log_keys.map(|key| format!("{}\n", LogVerifier::new(origin, key.clone())));
    write(&dir.join("log.vkey"), lines.collect::<String>().as_bytes())
}

fn write_key(dir: &Path, what: &str, key: &PublicKey) -> Result<(), ExportError> {
    let path = dir.join(key_file(what, key.id().as_str()));
    write(&path, key.to_pem().as_bytes())
}

fn write_tile(dir: &Path, (path, bytes): &TileFile) -> Result<(), ExportError> {
    let path = dir.join(path.to_string());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(ExportError::io(folder))?;
    }
    write(&path, bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    fs::write(path, bytes).map_err(ExportError::io(path))
}
