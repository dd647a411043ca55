//! Whose signatures count.

use portcullis_sign::PublicKey;

use crate::KeyKind;

/// The keys whose signatures count, and where they come from.
///
/// Keys that came with what is to be verified prove only that it is consistent in itself: whoever
/// made it up has made up the keys too. Their ids must be compared with those that the operator
/// gave out by another way.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys {
    record: KeySet,
    log: KeySet,
}

#[derive(Clone, Debug, Default)]
struct KeySet {
    keys: Vec<PublicKey>,
    is_pinned: bool,
}

impl TrustedKeys {
    /// Keys that the auditor has from elsewhere. Where there are none of a kind, those that come
    /// with an export are taken.
    #[must_use]
    pub fn pinned(record: Vec<PublicKey>, log: Vec<PublicKey>) -> Self {
        Self::new(record, log, true)
    }

    /// Keys that came with what they are to verify.
    #[must_use]
    pub fn unpinned(record: Vec<PublicKey>, log: Vec<PublicKey>) -> Self {
        Self::new(record, log, false)
    }

    fn new(record: Vec<PublicKey>, log: Vec<PublicKey>, pinned: bool) -> Self {
        let set = |keys: Vec<PublicKey>| KeySet {
            is_pinned: pinned && !keys.is_empty(),
            keys,
        };
        Self {
            record: set(record),
            log: set(log),
        }
    }

    /// These, and where there are none of a kind, the others.
    #[must_use]
    pub fn or(&self, others: &Self) -> Self {
        let either = |mine: &KeySet, theirs: &KeySet| match mine.keys.is_empty() {
            true => theirs.clone(),
            false => mine.clone(),
        };
        Self {
            record: either(&self.record, &others.record),
            log: either(&self.log, &others.log),
        }
    }

    /// The keys of a kind.
    #[must_use]
    pub fn of(&self, kind: KeyKind) -> &[PublicKey] {
        &self.set(kind).keys
    }

    /// Whether the auditor has the keys of a kind from elsewhere.
    #[must_use]
    pub fn is_pinned(&self, kind: KeyKind) -> bool {
        self.set(kind).is_pinned
    }

    fn set(&self, kind: KeyKind) -> &KeySet {
        match kind {
            KeyKind::Record => &self.record,
            KeyKind::Log => &self.log,
        }
    }
}
