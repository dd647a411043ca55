//! What can be wrong with keys, envelopes and signatures.

use thiserror::Error;

use crate::KeyId;

/// Why a key cannot be used or made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text holds no Ed25519 key of the wanted kind.
    #[error("this is no {wanted}: {reason}")]
    Unreadable {
        /// Which kind, with its PEM label.
        wanted: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// A point of small order: whoever gives out such a key can sign everything with one signature.
    #[error("this public key is weak (a point of small order); make another")]
    Weak,
    /// The operating system gave no random bytes.
    #[error("no random bytes for a new key: {0}")]
    Random(getrandom::Error),
}

/// Why bytes are no envelope.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not the JSON of DSSE.
    #[error("this is no DSSE envelope: {0}")]
    Json(serde_json::Error),
    /// A field that is not base64.
    #[error("{field} is not base64")]
    Base64 {
        /// Which one.
        field: &'static str,
    },
    /// Ed25519 signatures have 64 bytes.
    #[error("a signature has {0} bytes; those of Ed25519 have 64")]
    SignatureLength(usize),
    /// More signatures than anybody needs, each of which would cost a check.
    #[error("the envelope has {given} signatures; {max} are the most", max = crate::SIGNATURES_MAX)]
    TooManySignatures {
        /// How many there are.
        given: usize,
    },
}

/// Why an envelope is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It holds something else than was asked for.
    #[error("the envelope holds {found:?}, not {wanted:?}")]
    PayloadType {
        /// What was asked for.
        wanted: String,
        /// What it says it holds.
        found: String,
    },
    /// A signature that names a trusted key which did not make it: the bytes have changed since, or
    /// the signature has.
    #[error(
        "the signature of key {0} does not match: the bytes or the signature were changed since; \
         sign again"
    )]
    Mismatch(KeyId),
    /// Nobody who is trusted has signed.
    #[error("no trusted key has signed this")]
    Untrusted,
}
