//! Rule files and the envelopes beside them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use portcullis_server::RULESET_TYPE;
use portcullis_sign::Envelope;

/// A rule file with its signatures, if it has any.
pub(super) enum Pushed {
    Signed(Envelope),
    Unsigned(Vec<u8>),
}

impl Pushed {
    /// Reads FILE with the FILE.dsse beside it; FILE may be an envelope itself.
    ///
    /// # Errors
    /// A file cannot be read, or the envelope holds other bytes than the file.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let source = read(file)?;
        if let Some(envelope) = Envelope::from_json(&source).ok().filter(is_ruleset) {
            return Ok(Self::Signed(envelope));
        }
        match beside(file, &source)? {
            Beside::Nothing => Ok(Self::Unsigned(source)),
            Beside::Of(envelope) => Ok(Self::Signed(envelope)),
            Beside::OfOtherBytes => bail!(
                "{} was changed since it was signed: sign it again with \
                 `portcullis rules sign {} --key KEY`",
                file.display(),
                file.display()
            ),
        }
    }
}

/// The envelope beside a file.
pub(super) enum Beside {
    Nothing,
    Of(Envelope),
    OfOtherBytes,
}

pub(super) fn beside(file: &Path, source: &[u8]) -> Result<Beside> {
    let path = path(file);
    if !path.exists() {
        return Ok(Beside::Nothing);
    }
    let envelope = Envelope::from_json(&read(&path)?)
        .with_context(|| format!("{} is damaged; remove it and sign again", path.display()))?;
    let is_of_file = is_ruleset(&envelope) && envelope.unverified_payload() == source;
    Ok(match is_of_file {
        true => Beside::Of(envelope),
        false => Beside::OfOtherBytes,
    })
}

/// FILE.dsse
pub(super) fn path(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".dsse");
    name.into()
}

/// Whole or not at all.
pub(super) fn write(file: &Path, envelope: &Envelope) -> Result<PathBuf> {
    let path = path(file);
    let unfinished = path.with_extension("dsse.new");
    fs::write(&unfinished, envelope.to_json())
        .and_then(|()| fs::rename(&unfinished, &path))
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

fn is_ruleset(envelope: &Envelope) -> bool {
    envelope.payload_type() == RULESET_TYPE
}
