//! One record, with the proof that it is in the log.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_sign::KeyId;
use serde::Serialize;
use tlog_tiles::tlog::{Hash, check_record, record_hash};

use super::audit::{not_pinned, read_checkpoint, read_entry, replica_of};
use super::story::check_pair;
use super::{Fault, Faults, KeyUse, Remark, TrustedKeys};
use crate::{
    Closed, EntryProof, Head, KeyKind, LeafRef, OpenCall, Opened, Predicate, RecordId, RecordProof,
    SignedCheckpoint, Timestamp,
};

/// What a record says, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecordReport {
    /// Which call.
    pub record_id: RecordId,
    /// Which log, says its checkpoint; none if that cannot be believed.
    pub origin: Option<String>,
    /// How the call began; none if that cannot be read.
    pub opened: Option<Opened>,
    /// How it ended; none if it had not, or if that cannot be read.
    pub closed: Option<Closed>,
    /// The keys that signed.
    pub keys: Vec<KeyUse>,
    /// What is no fault, and is to be known.
    pub remarks: Vec<Remark>,
    /// What is wrong.
    #[serde(serialize_with = "super::with_message::serialize")]
    pub faults: Vec<Fault>,
}

impl RecordReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Verifies one record: both signatures, that the two entries belong together, and that both are in
/// the log of the checkpoint.
#[must_use]
pub fn verify_record(proof: &RecordProof, keys: &TrustedKeys) -> RecordReport {
    let mut faults = Faults::default();
    let checkpoint = read_checkpoint("the checkpoint", &proof.checkpoint, keys);
    let checkpoint = faults.ok(checkpoint);
    let replica = checkpoint.as_ref().map(|it| replica_of(&it.origin));
    let replica = replica.and_then(|replica| faults.ok(replica));
    let mut reading = Reading {
        keys,
        checkpoint,
        replica,
        signed_by: Vec::new(),
        faults,
    };
    let opened = reading.opened(proof);
    let closed = proof.closed.as_ref();
    let closed = closed.and_then(|entry| reading.closed(&proof.record_id, entry, opened.as_ref()));
    let mut remarks = not_pinned(keys);
    if proof.closed.is_none() {
        remarks.push(Remark::UnderWay { calls: 1 });
    }
    RecordReport {
        record_id: proof.record_id.clone(),
        origin: reading.checkpoint.map(|it| it.origin),
        opened: opened.map(|(_, opened)| opened),
        closed,
        keys: reading.signed_by,
        remarks,
        faults: reading.faults.listed,
    }
}

struct Reading<'k> {
    keys: &'k TrustedKeys,
    checkpoint: Option<SignedCheckpoint>,
    replica: Option<String>,
    signed_by: Vec<KeyUse>,
    faults: Faults,
}

impl Reading<'_> {
    fn opened(&mut self, proof: &RecordProof) -> Option<(LeafRef, Opened)> {
        let (record, entry) = (proof.record_id.clone(), proof.opened.index);
        let (leaf, said) = self.entry(&proof.opened)?;
        match said {
            Predicate::Opened(opened) if opened.head.record_id == record => {
                self.check_replica(entry, &opened.head);
                Some((leaf, opened))
            }
            _ => {
                let wanted = "beginning";
                self.faults.add(Fault::WrongEntry {
                    entry,
                    record,
                    wanted,
                });
                None
            }
        }
    }

    fn closed(
        &mut self,
        record: &RecordId,
        proof: &EntryProof,
        opened: Option<&(LeafRef, Opened)>,
    ) -> Option<Closed> {
        let (entry, record) = (proof.index, record.clone());
        let (_, said) = self.entry(proof)?;
        let closed = match said {
            Predicate::Closed(closed) if closed.head.record_id == record => closed,
            _ => {
                let wanted = "end";
                self.faults.add(Fault::WrongEntry {
                    entry,
                    record,
                    wanted,
                });
                return None;
            }
        };
        self.check_replica(entry, &closed.head);
        if let Some((leaf, opened)) = opened {
            let call = OpenCall {
                head: opened.head.clone(),
                opened: leaf.clone(),
            };
            self.faults.ok(check_pair(entry, &closed, &call));
            self.check_time(entry, closed.closed_at, opened.opened_at);
        }
        Some(closed)
    }

    /// What an entry says, and the leaf that it is.
    fn entry(&mut self, proof: &EntryProof) -> Option<(LeafRef, Predicate)> {
        let index = proof.index;
        let bytes = proof.envelope.to_string().into_bytes();
        let leaf_hash = record_hash(&bytes);
        if !self.is_included(proof, leaf_hash) {
            self.faults.add(Fault::NotIncluded { entry: index });
        }
        let trusted = self.keys.of(KeyKind::Record);
        let signed = read_entry(index, &bytes, trusted, &mut self.faults)?;
        if let Some(id) = &signed.signer {
            self.note_signer(id);
        }
        let leaf_hash = hex::encode(leaf_hash.0);
        Some((LeafRef { index, leaf_hash }, signed.statement.predicate))
    }

    /// Without a checkpoint to be believed there is no root: that was said.
    fn is_included(&self, proof: &EntryProof, leaf: Hash) -> bool {
        let Some(checkpoint) = &self.checkpoint else {
            return true;
        };
        let hash = |text: &String| {
            let bytes = STANDARD.decode(text).ok()?;
            bytes.try_into().ok().map(Hash)
        };
        let path: Option<Vec<Hash>> = proof.inclusion.iter().map(hash).collect();
        let (size, root) = (checkpoint.size, checkpoint.root);
        path.is_some_and(|path| check_record(&path, size, root, proof.index, leaf).is_ok())
    }

    fn check_replica(&mut self, entry: u64, head: &Head) {
        if let Some(of) = &self.replica
            && *of != head.replica
        {
            self.faults.add(Fault::Replica {
                entry,
                said: head.replica.clone(),
                of: of.clone(),
            });
        }
    }

    fn check_time(&mut self, entry: u64, at: Timestamp, before: Timestamp) {
        if at < before {
            self.faults.add(Fault::TimeWentBack { entry, at, before });
        }
    }

    fn note_signer(&mut self, id: &KeyId) {
        match self
            .signed_by
            .iter_mut()
            .find(|used| used.id == id.as_str())
        {
            Some(used) => used.signatures += 1,
            None => self.signed_by.push(KeyUse {
                kind: KeyKind::Record,
                id: id.to_string(),
                pinned: self.keys.is_pinned(KeyKind::Record),
                signatures: 1,
            }),
        }
    }
}
