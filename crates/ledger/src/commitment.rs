//! Digests that say nothing about what they were made of, until somebody shows it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// 32 random bytes that stand before what a record commits to.
///
/// A short answer could be guessed from a plain digest. With the salt before it nobody can, and once
/// the salt is erased nobody ever will; with the salt, everybody can check:
/// `(xxd -r -p <<< SALT; cat ANSWER) | sha256sum`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt([u8; 32]);

impl Salt {
    /// Draws a new one from the operating system.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// A known one.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The salt for one use of this one: `request`, `prompt/0`, `choice/0`. SHA-256 over the salt and
    /// the name of the use, so that who is shown it learns nothing about other uses.
    #[must_use]
    pub fn of(&self, usage: &str) -> Self {
        let digest = Sha256::new_with_prefix(self.0).chain_update(usage);
        Self(digest.finalize().into())
    }

    /// SHA-256 over the salt and then `bytes`, in hexadecimal.
    #[must_use]
    pub fn commit(&self, bytes: &[u8]) -> String {
        self.commit_parts([bytes])
    }

    /// The same over bytes that come in parts.
    #[must_use]
    pub fn commit_parts<'b>(&self, parts: impl IntoIterator<Item = &'b [u8]>) -> String {
        let mut commitment = self.begin();
        parts.into_iter().for_each(|part| commitment.update(part));
        commitment.finish()
    }

    /// The same over bytes that come over time.
    #[must_use]
    pub fn begin(&self) -> Commitment {
        Commitment(Sha256::new_with_prefix(self.0))
    }
}

/// A commitment to bytes that are not all there yet.
#[derive(Clone)]
pub struct Commitment(Sha256);

impl Commitment {
    /// The next of them.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hexadecimal.
    #[must_use]
    pub fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }
}

/// SHA-256 without a salt, in hexadecimal: for what is no secret.
#[must_use]
pub fn plain_digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A salt is not for logs.
impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(…)")
    }
}

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut bytes = [0; 32];
        let text = String::deserialize(deserializer)?;
        hex::decode_to_slice(text, &mut bytes).map_err(de::Error::custom)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_is_what_a_hash_tool_says() {
        let salt = Salt::from_bytes([7; 32]);
        let by_hand = plain_digest(&[&[7; 32], b"Yes.".as_slice()].concat());
        assert_eq!(salt.commit(b"Yes."), by_hand);
        assert_eq!(salt.commit_parts([b"Ye".as_slice(), b"s."]), by_hand);
        assert_ne!(Salt::from_bytes([8; 32]).commit(b"Yes."), by_hand);
        let of_choice = plain_digest(&[&[7; 32], b"choice/0".as_slice()].concat());
        assert_eq!(hex::encode(salt.of("choice/0").as_bytes()), of_choice);
    }
}
