//! `portcullis audit rotate`: new keys for a ledger; the old public ones stay with it for good.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use portcullis_ledger::KeyKind;
use serde::Serialize;

use crate::args::audit::RotateArgs;
use crate::clock::unix_now;
use crate::data_dir;
use crate::ledger::{self, KEYS_DIR};

#[derive(Serialize)]
struct Rotated {
    signs: &'static str,
    id: String,
    /// Where the old private key went.
    old: String,
}

/// The next start publishes the new keys in the log and signs with them.
pub(super) fn run(args: &RotateArgs) -> Result<()> {
    if data_dir::is_in_use(&args.data_dir)? {
        bail!(
            "a server uses {}; stop it first, then rotate, then start it",
            args.data_dir.display()
        );
    }
    let keys = args.data_dir.join(KEYS_DIR);
    let rotated = [KeyKind::Record, KeyKind::Log]
        .map(|kind| rotate(&keys, kind))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    args.output.show(&rotated, |rotated| {
        let lines = rotated.iter().map(|key| {
            format!(
                "new {} key {}\n  the old one is in {}",
                key.signs, key.id, key.old
            )
        });
        let lines: Vec<_> = lines.collect();
        lines.join("\n")
            + "\nGive the new ids to your auditors. Old private keys are not needed to verify: \
               destroy them when you like."
    })
}

fn rotate(keys: &Path, kind: KeyKind) -> Result<Rotated> {
    let path = keys.join(format!("{}.key", kind.as_str()));
    let old = keys.join(format!("{}.{}.old", kind.as_str(), unix_now()));
    fs::rename(&path, &old).with_context(|| {
        format!(
            "{} cannot be moved away; where keys come from elsewhere, rotate them there",
            path.display()
        )
    })?;
    let new = ledger::make(&path).inspect_err(|_| {
        // Made of nothing but a name: the old key is as good as before.
        let _ = fs::rename(&old, &path);
    })?;
    Ok(Rotated {
        signs: kind.as_str(),
        id: new.public().id().to_string(),
        old: old.display().to_string(),
    })
}
