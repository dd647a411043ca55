//! `portcullis audit witness`: keeps checkpoints where the server cannot reach them, and sees that
//! each log begins with the one before.

use std::process::ExitCode;

use anyhow::Result;
use portcullis_ledger::{
    Fault, KeyKind, SignedCheckpoint, TrustedKeys, consistency, indexes_for_consistency,
    verify_consistency,
};
use serde::Serialize;

use super::kept::Kept;
use super::source::Source;
use super::verify::read_keys;
use crate::args::audit::WitnessArgs;
use crate::clock::unix_now;
use crate::env::Environment;

#[derive(Serialize)]
struct Witnessed {
    origin: String,
    size: u64,
    /// Entries of the checkpoint that was kept before.
    before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrong: Option<String>,
}

/// The new checkpoint takes the place of the one that was kept only if it continues it.
pub(super) async fn run(args: &WitnessArgs, environment: &Environment) -> Result<ExitCode> {
    let source = Source::find(&args.log, environment).await?;
    // With keys of their own, witnesses do not take the server's word for whose signature it is.
    let pinned = TrustedKeys::pinned(Vec::new(), read_keys(&args.log_keys)?);
    let (new, keys) = source.checkpoint(&pinned).await?;
    let kept = Kept(&args.file);
    let old = kept.newest()?;
    let compared = match &old {
        Some(old) => compare(&source, old, &new, &keys).await?,
        None => Ok(()),
    };
    let before = old
        .as_deref()
        .map(|note| SignedCheckpoint::read(note, keys.of(KeyKind::Log)));
    let witnessed = Witnessed {
        origin: new.origin.clone(),
        size: new.size,
        before: before.and_then(Result::ok).map(|old| old.size),
        wrong: compared.as_ref().err().map(ToString::to_string),
    };
    if compared.is_ok() {
        kept.keep(&new.note, unix_now())?;
    }
    args.output.show(&witnessed, describe)?;
    Ok(match compared {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

async fn compare(
    source: &Source,
    old: &str,
    new: &SignedCheckpoint,
    keys: &TrustedKeys,
) -> Result<Result<(), Fault>> {
    let proof = match SignedCheckpoint::read(old, keys.of(KeyKind::Log)) {
        Ok(kept) if (1..new.size).contains(&kept.size) => {
            let indexes = indexes_for_consistency(new.size, kept.size)?;
            let hashes = source.hashes(&indexes, new.size).await?;
            consistency(new.size, kept.size, &hashes)?
        }
        // What is wrong with it, or with its size, needs no proof.
        _ => Vec::new(),
    };
    Ok(verify_consistency(old, &new.note, &proof, keys))
}

fn describe(witnessed: &Witnessed) -> String {
    let Witnessed {
        origin,
        size,
        before,
        wrong,
    } = witnessed;
    match (wrong, before) {
        (Some(wrong), _) => format!("WRONG {wrong}\nThe checkpoint that was kept before stays."),
        (None, Some(before)) => {
            format!("{origin} has {size} entries, and begins with the {before} that it had before")
        }
        (None, None) => format!("{origin} has {size} entries; its checkpoint is kept from now on"),
    }
}
