//! Proofs that a log holds an entry, and that one log is the beginning of another.
//!
//! The library asks for the hashes that a proof needs in one go. Storage answers asynchronously, so
//! a proof is made in two passes: the first finds out which hashes are needed, the second has them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tlog_tiles::tlog::{self, Hash, HashReader, prove_record, prove_tree};

use crate::{RecordId, Salt};

/// An entry of a log with the proof that it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryProof {
    /// Entries before it.
    pub index: u64,
    /// The entry: the leaf is this JSON without spaces and line breaks.
    pub envelope: Value,
    /// Hashes from the leaf to the root, in base64 (RFC 6962, section 2.1.1).
    pub inclusion: Vec<String>,
}

/// A record with all that it takes to verify it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordProof {
    /// Which call.
    pub record_id: RecordId,
    /// How it began.
    pub opened: EntryProof,
    /// How it ended; none while it runs.
    pub closed: Option<EntryProof>,
    /// The checkpoint whose root the proofs lead to.
    pub checkpoint: String,
    /// What its commitments were salted with; none once it was erased.
    #[serde(default)]
    pub salt: Option<Salt>,
}

/// Which stored hashes the proof takes that a tree of `size` leaves has leaf `index`.
///
/// # Errors
/// There is no such leaf.
pub fn indexes_for_inclusion(size: u64, index: u64) -> Result<Vec<u64>, tlog::Error> {
    wanted(|reader| prove_record(size, index, reader))
}

/// The proof, from the hashes that [`indexes_for_inclusion`] asked for, in that order.
///
/// # Errors
/// There is no such leaf, or a hash is missing.
pub fn inclusion(size: u64, index: u64, hashes: &[Hash]) -> Result<Vec<Hash>, tlog::Error> {
    let indexes = indexes_for_inclusion(size, index)?;
    prove_record(size, index, &Known::new(&indexes, hashes))
}

/// Which stored hashes the proof takes that a tree of `size` leaves begins with one of `old_size`.
///
/// # Errors
/// The old tree is larger, or empty.
pub fn indexes_for_consistency(size: u64, old_size: u64) -> Result<Vec<u64>, tlog::Error> {
    wanted(|reader| prove_tree(size, old_size, reader))
}

/// The proof, from the hashes that [`indexes_for_consistency`] asked for, in that order.
///
/// # Errors
/// The old tree is larger, or empty, or a hash is missing.
pub fn consistency(size: u64, old_size: u64, hashes: &[Hash]) -> Result<Vec<Hash>, tlog::Error> {
    let indexes = indexes_for_consistency(size, old_size)?;
    prove_tree(size, old_size, &Known::new(&indexes, hashes))
}

/// What the library asks for.
fn wanted<T>(
    prove: impl FnOnce(&Wanted) -> Result<T, tlog::Error>,
) -> Result<Vec<u64>, tlog::Error> {
    let reader = Wanted::default();
    prove(&reader)?;
    Ok(reader.0.into_inner())
}

/// Notes which hashes are asked for, and answers anything.
#[derive(Default)]
struct Wanted(RefCell<Vec<u64>>);

impl HashReader for Wanted {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        self.0.borrow_mut().extend_from_slice(indexes);
        Ok(vec![Hash::default(); indexes.len()])
    }
}

/// Hashes that are at hand.
pub(crate) struct Known(BTreeMap<u64, Hash>);

impl Known {
    pub(crate) fn new(indexes: &[u64], hashes: &[Hash]) -> Self {
        Self(
            indexes
                .iter()
                .copied()
                .zip(hashes.iter().copied())
                .collect(),
        )
    }
}

impl HashReader for Known {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        let found = indexes.iter().map(|index| self.0.get(index).copied());
        found
            .collect::<Option<_>>()
            .ok_or_else(|| tlog::Error::InvalidInput("a hash of the proof is missing".into()))
    }
}
