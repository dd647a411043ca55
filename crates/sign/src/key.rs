//! Ed25519 keys and their names.

use std::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::{KeyError, Signature, pae};

/// The half that signs. It shows itself only through [`Self::to_pem`], and is wiped when dropped.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Draws a new one from the operating system.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(KeyError::Random)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The key with this seed (RFC 8032, section 5.1.5: the 32 secret bytes).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads a `PRIVATE KEY` in PEM; text before it is skipped.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = SigningKey::from_pkcs8_pem(pem).map_err(|error| KeyError::Unreadable {
            wanted: "Ed25519 private key in PEM (BEGIN PRIVATE KEY)",
            reason: error.to_string(),
        })?;
        Ok(Self(key))
    }

    /// As a `PRIVATE KEY` in PEM, in the first version of PKCS#8: openssl does not read the second,
    /// which repeats the public key.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let bytes = KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        let pem = bytes.to_pkcs8_pem(LineEnding::LF);
        pem.expect("32 bytes fit into any encoding").to_string()
    }

    /// The half that verifies.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs bytes as what they are: the same bytes of another type have another signature.
    #[must_use]
    pub fn sign(&self, payload_type: &str, payload: &[u8]) -> Signature {
        Signature {
            key: Some(self.public().id().to_string()),
            bytes: self.sign_raw(&pae(payload_type, payload)),
        }
    }

    /// Signs bytes as they are, for formats that say by themselves what they are.
    #[must_use]
    pub fn sign_raw(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public().id())
    }
}

/// The half that verifies.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a `PUBLIC KEY` in PEM; text before it is skipped.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`], [`KeyError::Weak`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_public_key_pem(pem).map_err(|error| KeyError::Unreadable {
            wanted: "Ed25519 public key in PEM (BEGIN PUBLIC KEY)",
            reason: error.to_string(),
        })?;
        match key.is_weak() {
            true => Err(KeyError::Weak),
            false => Ok(Self(key)),
        }
    }

    /// As a `PUBLIC KEY` in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let pem = self.0.to_public_key_pem(LineEnding::LF);
        pem.expect("32 bytes fit into any encoding")
    }

    /// What the key is called.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let der = self.0.to_public_key_der();
        let der = der.expect("32 bytes fit into any encoding");
        KeyId(hex::encode(Sha256::digest(der.as_bytes())))
    }

    /// Whether this key made the signature over these bytes of this type.
    ///
    /// Strict (RFC 8032, section 5.1.7, and no points of small order): a signature cannot be turned
    /// into another that holds for the same bytes, nor hold for other bytes too.
    #[must_use]
    pub fn verifies(&self, payload_type: &str, payload: &[u8], signature: &Signature) -> bool {
        self.verifies_raw(&pae(payload_type, payload), &signature.bytes)
    }

    /// The same for [`SecretKey::sign_raw`].
    #[must_use]
    pub fn verifies_raw(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).is_ok()
    }

    /// The 32 bytes of RFC 8032.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// What a key is called: SHA-256 of its SubjectPublicKeyInfo in DER, in hexadecimal, so that
/// `openssl pkey -pubin -in KEY.pub -outform DER | sha256sum` says the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
