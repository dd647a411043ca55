//! A record with the proofs that the log has it.

use portcullis_ledger::{
    EntryProof, Hash, RecordProof, SignedCheckpoint, inclusion, indexes_for_inclusion,
};

use crate::{RecordSummary, Records, StoreError};

/// The entries of a record, proven under a checkpoint. An end that came after the checkpoint is left
/// out; `None` if the log does not have what its index says.
///
/// # Errors
/// [`StoreError::Unusable`].
pub async fn prove_record(
    records: &dyn Records,
    checkpoint: &SignedCheckpoint,
    summary: &RecordSummary,
) -> Result<Option<RecordProof>, StoreError> {
    let Some(opened) = prove_entry(records, checkpoint, summary.opened_index).await? else {
        return Ok(None);
    };
    let closed = match summary.closed {
        Some((.., index)) if index < checkpoint.size => {
            prove_entry(records, checkpoint, index).await?
        }
        _ => None,
    };
    Ok(Some(RecordProof {
        record_id: summary.id.clone(),
        opened,
        closed,
        checkpoint: checkpoint.note.clone(),
        salt: summary.salt,
    }))
}

async fn prove_entry(
    records: &dyn Records,
    checkpoint: &SignedCheckpoint,
    index: u64,
) -> Result<Option<EntryProof>, StoreError> {
    let Ok(indexes) = indexes_for_inclusion(checkpoint.size, index) else {
        return Ok(None);
    };
    let hashes = records.hashes(&indexes).await?;
    let entry = records.entries(index, index + 1).await?;
    let envelope = entry.first().and_then(|it| serde_json::from_slice(it).ok());
    let path = inclusion(checkpoint.size, index, &hashes).ok();
    Ok(envelope.zip(path).map(|(envelope, path)| EntryProof {
        index,
        envelope,
        inclusion: path.iter().map(Hash::to_string).collect(),
    }))
}
