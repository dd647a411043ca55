//! Whether what the entries of a log say hangs together: numbers, pairs, times, starts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use portcullis_sign::KeyId;

use super::FAULTS_LISTED_MAX;
use super::fault::{Fault, Faults};
use super::report::{LogReport, RuleSetCount};
use crate::{
    Closed, Head, LeafRef, OpenCall, Opened, Outcome, Predicate, RecordId, Started, Timestamp,
};

/// An entry and where it stands.
pub(super) struct Said<'e> {
    pub(super) leaf: LeafRef,
    /// The trusted key that signed it; none if that is in doubt.
    pub(super) signer: Option<&'e KeyId>,
    pub(super) predicate: &'e Predicate,
}

/// What must be remembered of a log to judge its next entry: calls under way, and one counter for
/// each key.
#[derive(Default)]
pub(super) struct Story {
    /// From the checkpoint, or else from the first entry.
    replica: Option<String>,
    last_at: Option<Timestamp>,
    first_at: Option<Timestamp>,
    seqs: Seqs,
    open: BTreeMap<RecordId, Pending>,
    /// The last `started` entry.
    started: Option<Announced>,
    /// Calls that are being closed as crashed, by the server that is about to start.
    crashing: Option<Crashing>,
    starts: u64,
    calls: u64,
    outcomes: BTreeMap<Outcome, u64>,
    rulesets: BTreeMap<(String, u32, String), Use>,
}

/// How often a rule set was used, and who signed it.
#[derive(Default)]
struct Use {
    calls: u64,
    signers: BTreeSet<String>,
}

struct Pending {
    call: OpenCall,
    /// A server started and did not close it; that was said.
    was_left: bool,
}

struct Announced {
    record_key: String,
    log_key: String,
}

struct Crashing {
    entry: u64,
    record: RecordId,
    signer: Option<KeyId>,
}

impl Story {
    pub(super) fn of(replica: Option<String>) -> Self {
        Self {
            replica,
            ..Self::default()
        }
    }

    /// The key for checkpoints that the last start announced.
    pub(super) fn log_key(&self) -> Option<&str> {
        self.started.as_ref().map(|it| it.log_key.as_str())
    }

    pub(super) fn take(&mut self, said: &Said<'_>, faults: &mut Faults) {
        let entry = said.leaf.index;
        if entry == 0 && !matches!(said.predicate, Predicate::Started(_)) {
            faults.add(Fault::NoStart);
        }
        let (replica, at) = match said.predicate {
            Predicate::Started(it) => (&it.replica, it.started_at),
            Predicate::Opened(it) => (&it.head.replica, it.opened_at),
            Predicate::Closed(it) => (&it.head.replica, it.closed_at),
        };
        self.check_replica(entry, replica, faults);
        self.check_time(entry, at, faults);
        self.check_signer(said, faults);
        match said.predicate {
            Predicate::Started(started) => self.start(entry, started, faults),
            Predicate::Opened(opened) => self.open(&said.leaf, opened, faults),
            Predicate::Closed(closed) => self.close(entry, closed, faults),
        }
    }

    fn check_replica(&mut self, entry: u64, said: &str, faults: &mut Faults) {
        let of = self.replica.get_or_insert_with(|| said.to_owned());
        if of != said {
            let (said, of) = (said.to_owned(), of.clone());
            faults.add(Fault::Replica { entry, said, of });
        }
    }

    fn check_time(&mut self, entry: u64, at: Timestamp, faults: &mut Faults) {
        self.first_at.get_or_insert(at);
        match self.last_at.replace(at) {
            Some(before) if at < before => faults.add(Fault::TimeWentBack { entry, at, before }),
            _ => {}
        }
    }

    /// What a server writes is signed by the key that it announced. Before that it closes what
    /// crashed, with the key that it is about to announce.
    fn check_signer(&mut self, said: &Said<'_>, faults: &mut Faults) {
        let entry = said.leaf.index;
        let crashed = match said.predicate {
            Predicate::Closed(closed) if closed.end.outcome == Outcome::Crashed => Some(closed),
            _ => None,
        };
        let wanted = match (said.predicate, crashed) {
            (_, Some(closed)) => {
                let first = self.crashing.get_or_insert_with(|| Crashing {
                    entry,
                    record: closed.head.record_id.clone(),
                    signer: said.signer.cloned(),
                });
                first.signer.as_ref().map(KeyId::as_str)
            }
            (Predicate::Started(started), None) => {
                self.check_crashing(&started.record_key, faults);
                Some(started.record_key.as_str())
            }
            _ => {
                self.end_crashing(faults);
                self.started.as_ref().map(|it| it.record_key.as_str())
            }
        };
        if let (Some(wanted), Some(signer)) = (wanted, said.signer)
            && wanted != signer.as_str()
        {
            faults.add(Fault::key(entry, wanted, signer));
        }
    }

    fn check_crashing(&mut self, announced: &str, faults: &mut Faults) {
        if let Some(Crashing { entry, signer, .. }) = self.crashing.take()
            && let Some(signer) = signer
            && signer.as_str() != announced
        {
            faults.add(Fault::key(entry, announced, &signer));
        }
    }

    fn end_crashing(&mut self, faults: &mut Faults) {
        if let Some(Crashing { entry, record, .. }) = self.crashing.take() {
            faults.add(Fault::CrashWithoutStart { entry, record });
        }
    }

    fn start(&mut self, entry: u64, started: &Started, faults: &mut Faults) {
        self.starts += 1;
        self.started = Some(Announced {
            record_key: started.record_key.clone(),
            log_key: started.log_key.clone(),
        });
        for (record, pending) in self.open.iter_mut().filter(|(_, it)| !it.was_left) {
            pending.was_left = true;
            faults.add(Fault::LeftOpen {
                record: record.clone(),
                opened: pending.call.opened.index,
                started: entry,
            });
        }
    }

    fn open(&mut self, leaf: &LeafRef, opened: &Opened, faults: &mut Faults) {
        self.calls += 1;
        for used in &opened.call.rulesets {
            let key = (used.name.clone(), used.version, used.digest.clone());
            let of = self.rulesets.entry(key).or_default();
            of.calls += 1;
            of.signers.extend(used.signers.iter().cloned());
        }
        let (entry, head) = (leaf.index, &opened.head);
        let record = || head.record_id.clone();
        faults.ok(self.seqs.take(entry, head));
        let call = OpenCall {
            head: head.clone(),
            opened: leaf.clone(),
        };
        let was_left = false;
        if let Some(first) = self.open.insert(record(), Pending { call, was_left }) {
            faults.add(Fault::RecordIdTaken {
                entry,
                record: record(),
                opened: first.call.opened.index,
            });
        }
    }

    fn close(&mut self, entry: u64, closed: &Closed, faults: &mut Faults) {
        *self.outcomes.entry(closed.end.outcome).or_default() += 1;
        let record = closed.head.record_id.clone();
        let Some(Pending { call, .. }) = self.open.remove(&record) else {
            return faults.add(match self.seqs.has_seen(&closed.head) {
                true => Fault::ClosedTwice { entry, record },
                false => Fault::NeverOpened { entry, record },
            });
        };
        faults.ok(check_pair(entry, closed, &call));
    }

    /// What the whole log comes to.
    pub(super) fn finish(mut self, report: &mut LogReport, faults: &mut Faults) {
        self.end_crashing(faults);
        report.starts = self.starts;
        report.calls = self.calls;
        report.outcomes = self.outcomes;
        report.under_way = self.open.values().filter(|it| !it.was_left).count() as u64;
        let counts = self.rulesets.into_iter();
        let counts = counts.map(|((name, version, digest), used)| RuleSetCount {
            name,
            version,
            digest,
            calls: used.calls,
            signers: used.signers,
        });
        report.rulesets = counts.collect();
        (report.first_at, report.last_at) = (self.first_at, self.last_at);
    }
}

/// Whether the end of a call is the end of this call.
pub(super) fn check_pair(entry: u64, closed: &Closed, call: &OpenCall) -> Result<(), Fault> {
    let record = closed.head.record_id.clone();
    if closed.head != call.head {
        return Err(Fault::HeadDiffers {
            entry,
            record,
            opened: call.opened.index,
        });
    }
    match closed.opened == call.opened {
        true => Ok(()),
        false => Err(Fault::WrongReference {
            entry,
            record,
            said: closed.opened.clone(),
            is: call.opened.clone(),
        }),
    }
}

/// The calls of each key are numbered without a gap.
#[derive(Default)]
struct Seqs {
    next: HashMap<Option<String>, u64>,
    /// Numbers that were skipped. Each is a fault, and no more are kept than are listed.
    gaps: Vec<(Option<String>, Range<u64>)>,
}

impl Seqs {
    fn take(&mut self, entry: u64, head: &Head) -> Result<(), Fault> {
        let (key, seq) = (&head.key_id_hash, head.seq);
        let next = self.next.entry(key.clone()).or_default();
        let wanted = *next;
        let record = head.record_id.clone();
        let caller = match key {
            Some(key) => format!("the key with hash {key}"),
            None => "the callers without a key".to_owned(),
        };
        if seq < wanted {
            return Err(Fault::SeqRepeated {
                entry,
                record,
                caller,
                seq,
                wanted,
            });
        }
        *next = seq.saturating_add(1);
        if seq == wanted {
            return Ok(());
        }
        if self.gaps.len() < FAULTS_LISTED_MAX {
            self.gaps.push((key.clone(), wanted..seq));
        }
        Err(Fault::SeqGap {
            entry,
            record,
            caller,
            seq,
            wanted,
        })
    }

    /// Whether a call with this number began.
    fn has_seen(&self, head: &Head) -> bool {
        let (key, seq) = (&head.key_id_hash, &head.seq);
        let is_past = self.next.get(key).is_some_and(|next| seq < next);
        is_past
            && !self
                .gaps
                .iter()
                .any(|gap| gap.0 == *key && gap.1.contains(seq))
    }
}
