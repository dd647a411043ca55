//! Verifies the rule sets of an export: that they are those which records name, and that those have
//! signed them whom records name.

use std::io::{self, ErrorKind};
use std::path::Path;

use portcullis_sign::{Envelope, PublicKey};

use super::reader::unreadable;
use super::stranger::read_bounded;
use super::{KEY_BYTES_MAX, KEYS, RULESET_TYPE, RULESETS, SIGNER, is_file_name, key_file};
use crate::{Fault, Remark, RuleSetCount, plain_digest};

/// As long as a rule set may be that a server registers.
const RULESET_BYTES_MAX: usize = 1 << 20;

/// The rule set in base64, and its signatures.
const ENVELOPE_BYTES_MAX: usize = 2 * RULESET_BYTES_MAX;

/// What is found about the rule sets of a folder.
pub(super) struct RuleSets<'d> {
    dir: &'d Path,
    pub(super) remarks: Vec<Remark>,
    pub(super) faults: Vec<Fault>,
}

impl<'d> RuleSets<'d> {
    pub(super) fn of(dir: &'d Path) -> Self {
        Self {
            dir,
            remarks: Vec::new(),
            faults: Vec::new(),
        }
    }

    pub(super) fn check(&mut self, used: &RuleSetCount) {
        let (name, version) = (used.name.clone(), used.version);
        let source = match self.read(used, "yaml", RULESET_BYTES_MAX) {
            Ok(Some(source)) => source,
            Ok(None) => return self.remarks.push(Remark::RuleSetMissing { name, version }),
            Err(error) => {
                let what = format!("rule set {name}@{version}");
                return self.faults.push(unreadable(&what, &error));
            }
        };
        let exported = format!("sha256:{}", plain_digest(&source));
        if exported != used.digest {
            self.faults.push(Fault::RuleSet {
                name,
                version,
                exported,
                recorded: used.digest.clone(),
            });
        }
        self.check_signatures(used, &source);
    }

    fn check_signatures(&mut self, used: &RuleSetCount, source: &[u8]) {
        let envelope = match self.read(used, "dsse.json", ENVELOPE_BYTES_MAX) {
            Ok(Some(json)) => Envelope::from_json(&json).ok(),
            Ok(None) => return self.none_is_shown(used),
            Err(error) => {
                let what = format!("the envelope of rule set {}@{}", used.name, used.version);
                return self.faults.push(unreadable(&what, &error));
            }
        };
        match envelope.filter(|it| it.unverified_payload() == source) {
            Some(envelope) => {
                for signer in &used.signers {
                    self.check_signer(used, signer, &envelope);
                }
            }
            None => self.faults.push(Fault::RuleSetEnvelope {
                name: used.name.clone(),
                version: used.version,
            }),
        }
    }

    fn none_is_shown(&mut self, used: &RuleSetCount) {
        for signer in &used.signers {
            self.remarks
                .push(not_shown(used, signer, "the envelope with its signature"));
        }
    }

    fn check_signer(&mut self, used: &RuleSetCount, signer: &str, envelope: &Envelope) {
        let key = match self.key(signer) {
            Ok(Some(key)) => key,
            Ok(None) => return self.remarks.push(not_shown(used, signer, "its public key")),
            Err(error) => {
                let what = format!("the key {signer} of a signer");
                return self.faults.push(unreadable(&what, &error));
            }
        };
        // Which key a signature says it is of, is no more than a hint.
        let source = envelope.unverified_payload();
        let mut signatures = envelope.signatures().iter();
        if !signatures.any(|it| key.verifies(RULESET_TYPE, source, it)) {
            self.faults.push(Fault::RuleSetSignature {
                name: used.name.clone(),
                version: used.version,
                signer: signer.to_owned(),
            });
        }
    }

    /// The key of this id. An id comes from an entry: one that leads elsewhere is not followed.
    fn key(&self, id: &str) -> io::Result<Option<PublicKey>> {
        if !id.chars().all(|c| c.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let path = self.dir.join(KEYS).join(key_file(SIGNER, id));
        let Some(pem) = read(&path, KEY_BYTES_MAX)? else {
            return Ok(None);
        };
        let wrong = |reason: String| io::Error::new(ErrorKind::InvalidData, reason);
        let pem = String::from_utf8(pem).map_err(|error| wrong(error.to_string()))?;
        match PublicKey::from_pem(&pem) {
            Ok(key) if key.id().as_str() == id => Ok(Some(key)),
            Ok(_) => Err(wrong("its file holds another key".to_owned())),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// The name comes from an entry: one that leads elsewhere is not followed.
    fn read(
        &self,
        used: &RuleSetCount,
        ending: &str,
        bytes_max: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        let (name, version) = (&used.name, used.version);
        let file = format!("{name}@{version}.{ending}");
        match is_file_name(name) {
            true => read(&self.dir.join(RULESETS).join(file), bytes_max),
            false => Ok(None),
        }
    }
}

/// What is in a file; `None` if there is none.
fn read(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    match read_bounded(path, bytes_max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn not_shown(used: &RuleSetCount, signer: &str, missing: &'static str) -> Remark {
    Remark::SignerNotShown {
        name: used.name.clone(),
        version: used.version,
        signer: signer.to_owned(),
        missing,
    }
}
