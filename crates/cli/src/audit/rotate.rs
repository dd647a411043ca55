//! `portcullis audit rotate`: new keys for a ledger; the old public ones stay with it for good.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use portcullis_ledger::KeyKind;
use serde::Serialize;

use crate::args::audit::RotateArgs;
use crate::clock::unix_now;
use crate::data_dir;
use crate::ledger;

#[derive(Serialize)]
struct Rotated {
    signs: &'static str,
    id: String,
    /// Where the old private key went; none if there was none.
    old: Option<String>,
}

/// The next start publishes the new keys in the log and signs with them.
pub(super) fn run(args: &RotateArgs) -> Result<()> {
    if data_dir::is_in_use(&args.data_dir)? {
        bail!(
            "a server uses {}; stop it first, then rotate, then start it",
            args.data_dir.display()
        );
    }
    let rotated = [KeyKind::Record, KeyKind::Log]
        .map(|kind| rotate(&args.data_dir, kind))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    args.output.show(&rotated, |rotated| {
        let lines = rotated.iter().map(|key| {
            let old = key.old.as_deref().unwrap_or("lost");
            format!("new {} key {}\n  the old one: {old}", key.signs, key.id)
        });
        let lines: Vec<_> = lines.collect();
        lines.join("\n")
            + "\nGive the new ids to your auditors. Old private keys are not needed to verify: \
               destroy them when you like."
    })
}

fn rotate(data_dir: &Path, kind: KeyKind) -> Result<Rotated> {
    let path = ledger::own_key(data_dir, kind);
    let old = path.with_extension(format!("{}.old", unix_now()));
    let had_one = move_away(&path, &old)?;
    let new = ledger::make(&path).inspect_err(|_| {
        if had_one {
            // The old key is as good as before; if it cannot go back, it lies beside.
            let _ = fs::rename(&old, &path);
        }
    })?;
    Ok(Rotated {
        signs: kind.as_str(),
        id: new.public().id().to_string(),
        old: had_one.then(|| old.display().to_string()),
    })
}

/// `false` if there is none: then it is lost, and a new one is all the more needed.
fn move_away(path: &Path, old: &Path) -> Result<bool> {
    match fs::rename(path, old) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => {
            Err(error).with_context(|| format!("{} cannot be moved away", path.display()))
        }
    }
}
