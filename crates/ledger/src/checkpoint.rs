//! Size and root of a log, signed (C2SP tlog-checkpoint in a C2SP signed-note).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_sign::{PublicKey, SecretKey};
use signed_note::{Note, NoteError, Signer, Verifier, VerifierList};
use thiserror::Error;
use tlog_tiles::checkpoint::Checkpoint;
use tlog_tiles::tlog::Hash;

use crate::Tree;

/// signed-note's number for Ed25519.
const ED25519: u8 = 1;

/// Size and root of a log, and the text in which its key has signed them.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedCheckpoint {
    /// Which log.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
    /// The signed note.
    pub note: String,
}

/// Why a text is no checkpoint of a log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Not a signed note.
    #[error("this is no signed note: {0}")]
    Note(String),
    /// A note that says something else.
    #[error("the signed note is no checkpoint (origin, size and root in three lines)")]
    Text,
    /// Nobody who is trusted has signed it.
    #[error("no trusted key has signed the checkpoint under the name of its log")]
    Untrusted,
    /// The key that it names has not signed this text.
    #[error(
        "the signature of the checkpoint does not match: its text or its signature was changed"
    )]
    Mismatch,
}

/// Signs the checkpoints of one log.
#[derive(Debug)]
pub struct LogSigner<'k> {
    origin: &'k str,
    key: &'k SecretKey,
    id: u32,
}

impl<'k> LogSigner<'k> {
    /// With this key for this log.
    #[must_use]
    pub fn new(origin: &'k str, key: &'k SecretKey) -> Self {
        let id = note_key_id(origin, &key.public());
        Self { origin, key, id }
    }

    /// The checkpoint of `tree`.
    ///
    /// # Errors
    /// The origin cannot stand in a note: it has spaces, a plus, or nothing in it.
    pub fn sign(&self, tree: &Tree) -> Result<SignedCheckpoint, CheckpointError> {
        let (size, root) = (tree.size(), tree.root());
        let text =
            Checkpoint::new(self.origin, size, root, "").map_err(|_| CheckpointError::Text)?;
        let wrong = |error: NoteError| CheckpointError::Note(error.to_string());
        let mut note = Note::new(&text.to_bytes(), &[]).map_err(wrong)?;
        note.add_sigs(&[self]).map_err(wrong)?;
        let note = String::from_utf8(note.to_bytes()).map_err(|_| CheckpointError::Text)?;
        Ok(SignedCheckpoint {
            origin: self.origin.to_owned(),
            size,
            root,
            note,
        })
    }
}

impl Signer for LogSigner<'_> {
    fn name(&self) -> &str {
        self.origin
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.key.sign_raw(message).to_vec())
    }
}

/// Verifies the checkpoints of one log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogVerifier {
    origin: String,
    key: PublicKey,
    id: u32,
}

impl LogVerifier {
    /// With this key for this log.
    #[must_use]
    pub fn new(origin: &str, key: PublicKey) -> Self {
        Self {
            id: note_key_id(origin, &key),
            origin: origin.to_owned(),
            key,
        }
    }
}

/// As C2SP signed-note writes a key: name, id, and the key itself.
impl fmt::Display for LogVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (origin, id) = (&self.origin, self.id);
        let key = STANDARD.encode(note_key(&self.key));
        write!(f, "{origin}+{id:08x}+{key}")
    }
}

impl Verifier for LogVerifier {
    fn name(&self) -> &str {
        &self.origin
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        <[u8; 64]>::try_from(signature)
            .is_ok_and(|signature| self.key.verifies_raw(message, &signature))
    }
}

impl SignedCheckpoint {
    /// Reads a checkpoint that one of `keys` has signed under the name of its own log.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn read(note: &str, keys: &[PublicKey]) -> Result<Self, CheckpointError> {
        let signed = Note::from_bytes(note.as_bytes())
            .map_err(|error| CheckpointError::Note(error.to_string()))?;
        let text = Checkpoint::from_bytes(signed.text()).map_err(|_| CheckpointError::Text)?;
        verify_note(&signed, text.origin(), keys)?;
        Ok(Self {
            origin: text.origin().to_owned(),
            size: text.size(),
            root: *text.hash(),
            note: note.to_owned(),
        })
    }
}

/// Notes may carry signatures of others, such as witnesses: those are left alone. Keys are tried one
/// by one: the library takes none where two of a list have the same id, and the key of a log may
/// well be among its earlier ones.
fn verify_note(note: &Note, origin: &str, keys: &[PublicKey]) -> Result<(), CheckpointError> {
    let mut said = Err(CheckpointError::Untrusted);
    for key in keys {
        let verifier = LogVerifier::new(origin, key.clone());
        match note.verify(&VerifierList::new(vec![Box::new(verifier)])) {
            Ok(_) => return Ok(()),
            Err(NoteError::InvalidSignature { .. }) => said = Err(CheckpointError::Mismatch),
            Err(_) => {}
        }
    }
    said
}

fn note_key(key: &PublicKey) -> Vec<u8> {
    [[ED25519].as_slice(), &key.to_bytes()].concat()
}

fn note_key_id(origin: &str, key: &PublicKey) -> u32 {
    signed_note::key_id(origin, &note_key(key))
}
