//! Entries as signed statements: in-toto in DSSE.

use portcullis_sign::{Envelope, EnvelopeError, KeyId, PublicKey, SecretKey, VerifyError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::{Closed, Opened, Started};

/// DSSE's payload type of an in-toto statement.
pub const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";

const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "predicateType", content = "predicate")]
pub enum Predicate {
    /// A server began to write into the log.
    #[serde(rename = "urn:portcullis:started:v1")]
    Started(Started),
    /// A call began.
    #[serde(rename = "urn:portcullis:call-opened:v1")]
    Opened(Opened),
    /// A call ended.
    #[serde(rename = "urn:portcullis:call-closed:v1")]
    Closed(Closed),
}

/// An in-toto statement: a predicate about subjects, which are known by their digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What it says.
    #[serde(flatten)]
    pub predicate: Predicate,
}

/// Something that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name within the statement.
    pub name: String,
    /// Its digest.
    pub digest: Sha256Digest,
}

/// in-toto's set of digests with the one that is used here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sha256Digest {
    /// In hexadecimal.
    pub sha256: String,
}

/// Why bytes are no entry.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Not an envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Not signed by a key that is trusted.
    #[error(transparent)]
    Signature(#[from] VerifyError),
    /// No statement, or none of those that records make.
    #[error("the signed bytes are no record: {0}")]
    Statement(String),
    /// The statement is about something else than its predicate says.
    #[error("the statement's subjects are not those of its predicate")]
    Subject,
}

impl Statement {
    /// A statement about what its predicate is about.
    #[must_use]
    pub fn new(predicate: Predicate) -> Self {
        Self {
            kind: STATEMENT_V1.to_owned(),
            subject: subjects(&predicate),
            predicate,
        }
    }

    fn read(payload: &[u8]) -> Result<Self, StatementError> {
        let statement = Self::parse(payload)?;
        match statement.has_its_subjects() {
            true => Ok(statement),
            false => Err(StatementError::Subject),
        }
    }

    /// Reads a statement, whatever it says that it is about.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, StatementError> {
        let read = |error: serde_json::Error| StatementError::Statement(error.to_string());
        // By way of a value: a flattened enum would otherwise hide which type is unknown.
        let value: Value = serde_json::from_slice(payload).map_err(read)?;
        let statement: Self = serde_json::from_value(value).map_err(read)?;
        match statement.kind == STATEMENT_V1 {
            true => Ok(statement),
            false => {
                let said = format!("its type is {:?}", statement.kind);
                Err(StatementError::Statement(said))
            }
        }
    }

    /// Whether it is about what its predicate is about.
    pub(crate) fn has_its_subjects(&self) -> bool {
        self.subject == subjects(&self.predicate)
    }
}

/// The released bytes of each choice; of a call that begins, its request; of a server, its model.
fn subjects(predicate: &Predicate) -> Vec<Subject> {
    let subject = |name: String, sha256: &str| Subject {
        name,
        digest: Sha256Digest {
            sha256: sha256.to_owned(),
        },
    };
    match predicate {
        Predicate::Started(started) => {
            vec![subject("model".to_owned(), &started.digests.model_digest)]
        }
        Predicate::Opened(opened) => vec![subject(
            format!("{}/request", opened.head.record_id),
            &opened.call.request_commitment,
        )],
        // Nothing is known of what was released, so the statement is about its beginning.
        Predicate::Closed(closed) if closed.end.choices.is_empty() => vec![subject(
            format!("{}/opened", closed.head.record_id),
            &closed.opened.leaf_hash,
        )],
        Predicate::Closed(closed) => {
            let id = &closed.head.record_id;
            let choices = closed.end.choices.iter().enumerate();
            choices
                .map(|(n, choice)| subject(format!("{id}/choice/{n}"), &choice.output_commitment))
                .collect()
        }
    }
}

/// The entry that says `predicate`, signed.
#[must_use]
pub fn seal(predicate: Predicate, key: &SecretKey) -> Vec<u8> {
    let statement = Statement::new(predicate);
    let payload = serde_json::to_vec(&statement).expect("records have a form in JSON");
    let mut envelope = Envelope::new(STATEMENT_TYPE, payload, Vec::new());
    envelope.sign(key);
    envelope.to_line().into_bytes()
}

/// What an entry says, whoever has signed it.
///
/// # Errors
/// [`StatementError`], but never for a signature.
pub fn peek(entry: &[u8]) -> Result<Statement, StatementError> {
    Statement::read(Envelope::from_json(entry)?.unverified_payload())
}

/// What a signed entry says, and which of the trusted keys has signed it.
///
/// # Errors
/// [`StatementError`].
pub fn unseal(entry: &[u8], trusted: &[PublicKey]) -> Result<(Statement, KeyId), StatementError> {
    let envelope = Envelope::from_json(entry)?;
    let verified = envelope.verify(STATEMENT_TYPE, trusted)?;
    let signer = verified.signers().next().cloned();
    let signer = signer.ok_or(VerifyError::Untrusted)?;
    Ok((Statement::read(verified.payload())?, signer))
}
