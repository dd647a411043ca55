//! What an auditor's questions come to, without a server and without trust in whoever runs it.
//!
//! - Is this log whole, and does it hang together? [`verify_log`], or [`Audit`] entry by entry.
//! - Is it the log that I saw before? [`verify_consistency`], or [`Audit::witnessed`].
//! - Is this record in it? [`verify_record`].
//!
//! Nothing is read from anywhere here: entries, checkpoints and keys are handed over. All that is
//! wrong is told, each [`Fault`] in words of its own, up to a bound.
//!
//! What cannot be found: a call that never was in the log; and whoever has both keys can write
//! another log, which only a checkpoint that somebody kept elsewhere gives away.

mod audit;
mod consistency;
mod fault;
mod record;
mod report;
mod story;
mod trusted;

pub use audit::Audit;
pub use consistency::verify_consistency;
pub(crate) use fault::Faults;
pub use fault::{FAULTS_LISTED_MAX, Fault};
pub use record::{RecordReport, verify_record};
pub use report::{KeyUse, LogReport, Remark, RuleSetCount};
pub use trusted::TrustedKeys;

use std::fmt::Display;

/// Verifies a whole log, from its first entry to the one before which its checkpoint was signed.
pub fn verify_log<E: Display>(
    entries: impl IntoIterator<Item = Result<Vec<u8>, E>>,
    checkpoint: &str,
    keys: &TrustedKeys,
) -> LogReport {
    let mut audit = Audit::new(checkpoint, keys);
    for entry in entries {
        match entry {
            Ok(bytes) => drop(audit.entry(&bytes)),
            Err(error) => {
                audit.faults.add(Fault::Unreadable {
                    what: format!("entry {}", audit.size()),
                    reason: error.to_string(),
                });
                break;
            }
        }
    }
    audit.finish()
}

/// Faults for programs, each with what it says to people.
mod with_message {
    use serde::{Serialize, Serializer};

    use super::Fault;

    #[derive(Serialize)]
    struct Told<'f> {
        #[serde(flatten)]
        fault: &'f Fault,
        message: String,
    }

    pub(super) fn serialize<S: Serializer>(
        faults: &[Fault],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(faults.iter().map(|fault| Told {
            fault,
            message: fault.to_string(),
        }))
    }
}
