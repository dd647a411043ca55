//! Whether one log is the beginning of another.

use tlog_tiles::tlog::{self, EMPTY_HASH, Hash};

use super::audit::{check_order, read_checkpoint};
use super::{Fault, TrustedKeys};

/// Verifies that the log of the newer checkpoint begins with the log of the older one.
///
/// The proof is RFC 6962's (section 2.1.2), in its order; [`crate::consistency`] makes it. With the
/// entries of the newer log instead of a proof, [`super::Audit::witnessed`] says the same.
///
/// # Errors
/// [`Fault::Shrunken`], [`Fault::Fork`], [`Fault::OtherLog`], [`Fault::Checkpoint`].
pub fn verify_consistency(
    old: &str,
    new: &str,
    proof: &[Hash],
    keys: &TrustedKeys,
) -> Result<(), Fault> {
    let old = read_checkpoint("the older checkpoint", old, keys)?;
    let new = read_checkpoint("the newer checkpoint", new, keys)?;
    check_order(&old, &new)?;
    let begins_so = match old.size {
        // Every log begins with nothing, and there is no proof of it.
        0 => old.root == EMPTY_HASH,
        _ => tlog::check_tree(&proof.to_vec(), new.size, new.root, old.size, old.root).is_ok(),
    };
    match begins_so {
        true => Ok(()),
        false => Err(Fault::Fork { old: old.size }),
    }
}
