//! A log, entry by entry.

use std::collections::BTreeMap;

use portcullis_sign::{Envelope, KeyId, PublicKey};
use tlog_tiles::tlog::Hash;

use super::fault::{Fault, Faults};
use super::report::{KeyUse, LogReport, Remark};
use super::story::{Said, Story};
use super::trusted::TrustedKeys;
use crate::{
    KeyKind, LeafRef, LogVerifier, Predicate, RecordId, STATEMENT_TYPE, SignedCheckpoint,
    Statement, Tree,
};

/// What the origins of logs begin with.
const ORIGIN_PREFIX: &str = "portcullis/";

/// Verifies a log that is handed over entry by entry, from the first to the last.
///
/// Memory is flat: what is kept is the right edge of the tree, the calls under way, and a number
/// for each API key.
pub struct Audit<'k> {
    keys: &'k TrustedKeys,
    checkpoint: Option<SignedCheckpoint>,
    witnessed: Vec<SignedCheckpoint>,
    tree: Tree,
    story: Story,
    signed_by: BTreeMap<KeyId, u64>,
    pub(crate) faults: Faults,
}

impl<'k> Audit<'k> {
    /// Of the log with this checkpoint.
    #[must_use]
    pub fn new(checkpoint: &str, keys: &'k TrustedKeys) -> Self {
        let mut faults = Faults::default();
        let checkpoint = faults.ok(read_checkpoint("the checkpoint", checkpoint, keys));
        let origin = checkpoint.as_ref().map(|it| it.origin.as_str());
        let replica = origin.and_then(|origin| faults.ok(replica_of(origin)));
        Self {
            story: Story::of(replica),
            keys,
            checkpoint,
            witnessed: Vec::new(),
            tree: Tree::default(),
            signed_by: BTreeMap::new(),
            faults,
        }
    }

    /// Also verifies that the log begins with the one of an older checkpoint, which somebody kept
    /// elsewhere. To be told before the first entry.
    pub fn witnessed(&mut self, older: &str) {
        let older = read_checkpoint("the older checkpoint", older, self.keys);
        let Some(older) = self.faults.ok(older) else {
            return;
        };
        let order = self.checkpoint.as_ref().map(|new| check_order(&older, new));
        self.faults.ok(order.unwrap_or(Ok(())));
        self.witnessed.push(older);
        self.check_roots();
    }

    /// Takes the next entry. Gives the hashes that are known from now on: of the leaf, and of each
    /// subtree that it completes, from the leaf upwards.
    pub fn entry(&mut self, bytes: &[u8]) -> Vec<Hash> {
        let index = self.tree.size();
        let hashes = self.tree.push_entry(bytes);
        let leaf_hash = hex::encode(hashes[0].0);
        let record_keys = self.keys.of(KeyKind::Record);
        if let Some(signed) = read_entry(index, bytes, record_keys, &mut self.faults) {
            if let Some(signer) = &signed.signer {
                *self.signed_by.entry(signer.clone()).or_default() += 1;
            }
            let said = Said {
                leaf: LeafRef { index, leaf_hash },
                signer: signed.signer.as_ref(),
                predicate: &signed.statement.predicate,
            };
            self.story.take(&said, &mut self.faults);
        }
        self.check_roots();
        hashes
    }

    /// The log ends here.
    #[must_use]
    pub fn finish(mut self) -> LogReport {
        self.check_size();
        self.check_log_key();
        let mut report = LogReport {
            origin: self.checkpoint.as_ref().map(|it| it.origin.clone()),
            entries: self.tree.size(),
            root: hex::encode(self.tree.root().0),
            keys: self.keys_used(),
            ..LogReport::default()
        };
        self.story.finish(&mut report, &mut self.faults);
        report.remarks = not_pinned(self.keys);
        if report.under_way > 0 {
            let calls = report.under_way;
            report.remarks.push(Remark::UnderWay { calls });
        }
        report.faults = self.faults.listed;
        report.faults_unlisted = self.faults.unlisted;
        report
    }

    /// Entries that were taken.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Entries that there have to be, if the checkpoint can be believed.
    #[must_use]
    pub fn signed_size(&self) -> Option<u64> {
        self.checkpoint.as_ref().map(|it| it.size)
    }

    /// Compares the tree with each checkpoint that is as long as it is now.
    fn check_roots(&mut self) {
        let (size, tree) = (self.tree.size(), &self.tree);
        let differs = |it: &SignedCheckpoint| it.size == size && it.root != tree.root();
        if self.checkpoint.as_ref().is_some_and(differs) {
            self.faults.add(Fault::Root { size });
        }
        if self.witnessed.iter().any(differs) {
            self.faults.add(Fault::Fork { old: size });
        }
    }

    fn check_size(&mut self) {
        let found = self.tree.size();
        match self.signed_size() {
            Some(signed) if signed > found => self.faults.add(Fault::Truncated { signed, found }),
            Some(signed) if signed < found => self.faults.add(Fault::Uncovered { signed, found }),
            // The empty log has no entry after which it could have been compared.
            Some(0) => self.check_roots(),
            _ => {}
        }
    }

    /// Whether the checkpoint is signed by the key that the log announced for it.
    fn check_log_key(&mut self) {
        let (Some(checkpoint), Some(announced)) = (&self.checkpoint, self.story.log_key()) else {
            return;
        };
        let origin = &checkpoint.origin;
        let is_it =
            |key: &PublicKey| LogVerifier::new(origin, key.clone()).to_string() == announced;
        let covers_all = checkpoint.size == self.tree.size();
        if covers_all && !checkpoint_signers(checkpoint, self.keys).any(is_it) {
            let announced = announced.to_owned();
            self.faults.add(Fault::LogKeyNotAnnounced { announced });
        }
    }

    fn keys_used(&self) -> Vec<KeyUse> {
        let used = |kind, id: &KeyId, signatures| KeyUse {
            kind,
            id: id.to_string(),
            pinned: self.keys.is_pinned(kind),
            signatures,
        };
        let record = self.signed_by.iter();
        let mut all: Vec<_> = record
            .map(|(id, &signatures)| used(KeyKind::Record, id, signatures))
            .collect();
        if let Some(checkpoint) = &self.checkpoint {
            let log = checkpoint_signers(checkpoint, self.keys);
            all.extend(log.map(|key| used(KeyKind::Log, &key.id(), 1)));
        }
        all
    }
}

/// An entry that can be read, and who of those who are trusted has signed it.
pub(super) struct SignedEntry {
    pub(super) statement: Statement,
    /// None if nobody has; that was said.
    pub(super) signer: Option<KeyId>,
}

/// Reads an entry. What it says is followed also where its signature is wrong: that is a fault
/// already, and otherwise each fault would drag others behind it.
pub(super) fn read_entry(
    entry: u64,
    bytes: &[u8],
    trusted: &[PublicKey],
    faults: &mut Faults,
) -> Option<SignedEntry> {
    let malformed = |reason: String| Fault::Malformed { entry, reason };
    let envelope = Envelope::from_json(bytes).map_err(|error| malformed(error.to_string()));
    let envelope = faults.ok(envelope)?;
    if envelope.to_line().as_bytes() != bytes {
        faults.add(Fault::Form { entry });
    }
    let signer = match envelope.verify(STATEMENT_TYPE, trusted) {
        Ok(verified) => verified.signers().next().cloned(),
        Err(error) => {
            let named = envelope.signatures().first();
            let named = named.and_then(|signature| signature.key.as_deref());
            faults.add(Fault::signature(entry, &error, named));
            None
        }
    };
    let statement = Statement::parse(envelope.unverified_payload());
    let statement = faults.ok(statement.map_err(|error| malformed(error.to_string())))?;
    if !statement.has_its_subjects() {
        faults.add(Fault::Subject { entry });
    }
    if let Some(id) = record_id(&statement).filter(|id| RecordId::parse(id.as_str()).is_none()) {
        faults.add(malformed(format!("{:?} is no record id", id.as_str())));
        return None;
    }
    Some(SignedEntry { statement, signer })
}

fn record_id(statement: &Statement) -> Option<&RecordId> {
    match &statement.predicate {
        Predicate::Started(_) => None,
        Predicate::Opened(opened) => Some(&opened.head.record_id),
        Predicate::Closed(closed) => Some(&closed.head.record_id),
    }
}

pub(super) fn read_checkpoint(
    which: &str,
    note: &str,
    keys: &TrustedKeys,
) -> Result<SignedCheckpoint, Fault> {
    let read = SignedCheckpoint::read(note, keys.of(KeyKind::Log));
    read.map_err(|error| Fault::Checkpoint {
        which: which.to_owned(),
        reason: error.to_string(),
    })
}

pub(super) fn replica_of(origin: &str) -> Result<String, Fault> {
    let replica = origin.strip_prefix(ORIGIN_PREFIX).map(ToOwned::to_owned);
    replica.ok_or_else(|| Fault::Origin {
        origin: origin.to_owned(),
    })
}

/// Whether the older checkpoint can be of an earlier state of the same log.
pub(super) fn check_order(old: &SignedCheckpoint, new: &SignedCheckpoint) -> Result<(), Fault> {
    if old.origin != new.origin {
        return Err(Fault::OtherLog {
            old: old.origin.clone(),
            new: new.origin.clone(),
        });
    }
    match old.size <= new.size {
        true => Ok(()),
        false => Err(Fault::Shrunken {
            old: old.size,
            new: new.size,
        }),
    }
}

fn checkpoint_signers<'k>(
    checkpoint: &SignedCheckpoint,
    keys: &'k TrustedKeys,
) -> impl Iterator<Item = &'k PublicKey> {
    let keys = keys.of(KeyKind::Log).iter();
    keys.filter(|key| SignedCheckpoint::read(&checkpoint.note, &[(*key).clone()]).is_ok())
}

pub(super) fn not_pinned(keys: &TrustedKeys) -> Vec<Remark> {
    let kinds = [KeyKind::Record, KeyKind::Log].into_iter();
    let kinds = kinds.filter(|&kind| !keys.is_pinned(kind));
    let remark = |kind| Remark::NotPinned {
        kind,
        ids: keys
            .of(kind)
            .iter()
            .map(|key| key.id().to_string())
            .collect(),
    };
    kinds.map(remark).collect()
}
