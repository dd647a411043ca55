//! Signatures over bytes: DSSE envelopes, Ed25519 keys.
//!
//! A [`SecretKey`] signs bytes of a payload type; an [`Envelope`] carries the bytes with any number
//! of such signatures; [`Envelope::verify`] says which of the keys that one trusts have signed.
//! Nothing here knows what the bytes mean, who a key belongs to, or what a signature entitles to:
//! that is for whoever keeps the keys.
//!
//! Sources: DSSE v1.0.2 (<https://github.com/secure-systems-lab/dsse>), Ed25519 (RFC 8032), keys in
//! PEM as PKCS#8 and SubjectPublicKeyInfo (RFC 8410), which openssl reads and writes.

mod envelope;
mod error;
mod key;

pub use envelope::{Envelope, MEDIA_TYPE, SIGNATURES_MAX, Signature, Verified, pae};
pub use error::{EnvelopeError, KeyError, VerifyError};
pub use key::{KeyId, PublicKey, SecretKey};
