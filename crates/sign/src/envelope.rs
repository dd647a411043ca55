//! Bytes with the signatures of those who stand for them.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::{Deserialize, Serialize};

use crate::{EnvelopeError, KeyId, PublicKey, SecretKey, VerifyError};

/// The media type of an envelope as JSON.
pub const MEDIA_TYPE: &str = "application/vnd.dsse.envelope.v1+json";

/// Signatures in one envelope, at most.
pub const SIGNATURES_MAX: usize = 16;

/// What is signed instead of the bytes alone: the type and the lengths stand before them, so that
/// no bytes of one type can pass for others of another (DSSE, "Pre-Authentication Encoding").
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let (type_len, len) = (payload_type.len(), payload.len());
    let mut encoded = format!("DSSEv1 {type_len} {payload_type} {len} ").into_bytes();
    encoded.extend_from_slice(payload);
    encoded
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Which key is said to have made it. Nothing vouches for this: it saves trying the others.
    pub key: Option<String>,
    /// As RFC 8032 encodes it.
    pub bytes: [u8; 64],
}

/// Bytes of some type, with the signatures over them. What they are worth, [`Self::verify`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

impl Envelope {
    /// The bytes, and what signatures there are.
    #[must_use]
    pub fn new(payload_type: &str, payload: Vec<u8>, signatures: Vec<Signature>) -> Self {
        Self {
            payload_type: payload_type.to_owned(),
            payload,
            signatures,
        }
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// See [`EnvelopeError`]. Whether a signature is right is not looked at.
    pub fn from_json(json: &[u8]) -> Result<Self, EnvelopeError> {
        let wire: WireEnvelope = serde_json::from_slice(json).map_err(EnvelopeError::Json)?;
        let given = wire.signatures.len();
        if given > SIGNATURES_MAX {
            return Err(EnvelopeError::TooManySignatures { given });
        }
        let signatures = wire.signatures.into_iter().map(Signature::try_from);
        Ok(Self {
            payload: decode("payload", &wire.payload)?,
            payload_type: wire.payload_type,
            signatures: signatures.collect::<Result<_, _>>()?,
        })
    }

    /// As JSON, with a line break at its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(&self.to_wire());
        json.expect("strings have a form in JSON") + "\n"
    }

    /// As JSON in one line without a break: these bytes can be a leaf of a log.
    #[must_use]
    pub fn to_line(&self) -> String {
        serde_json::to_string(&self.to_wire()).expect("strings have a form in JSON")
    }

    fn to_wire(&self) -> WireEnvelope {
        WireEnvelope {
            payload_type: self.payload_type.clone(),
            payload: STANDARD.encode(&self.payload),
            signatures: self.signatures.iter().map(WireSignature::from).collect(),
        }
    }

    /// What the bytes are said to be.
    #[must_use]
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The bytes, whether or not anybody has signed them.
    #[must_use]
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures, right or wrong.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds the signature of a key. A key signs once: Ed25519 would repeat itself.
    pub fn sign(&mut self, key: &SecretKey) {
        let signature = key.sign(&self.payload_type, &self.payload);
        self.signatures
            .retain(|other| other.bytes != signature.bytes && other.key != signature.key);
        self.signatures.push(signature);
    }

    /// Who of `trusted` has signed these bytes as `payload_type`.
    ///
    /// A signature that none of them made counts for nothing, and is counted.
    ///
    /// # Errors
    /// [`VerifyError`]: another type, a signature that the key it names did not make, or nobody who
    /// is trusted.
    pub fn verify(
        &self,
        payload_type: &str,
        trusted: &[PublicKey],
    ) -> Result<Verified<'_>, VerifyError> {
        if self.payload_type != payload_type {
            return Err(VerifyError::PayloadType {
                wanted: payload_type.to_owned(),
                found: self.payload_type.clone(),
            });
        }
        let trusted: Vec<_> = trusted.iter().map(|key| (key.id(), key)).collect();
        let mut verified = Verified {
            payload: &self.payload,
            made: Vec::new(),
            unrecognised: 0,
        };
        for signature in &self.signatures {
            match self.signer(signature, &trusted)? {
                Some(id) if verified.made.iter().any(|(other, _)| other == id) => {}
                Some(id) => verified.made.push((id.clone(), signature.bytes)),
                None => verified.unrecognised += 1,
            }
        }
        match verified.made.is_empty() {
            true => Err(VerifyError::Untrusted),
            false => Ok(verified),
        }
    }

    /// Which of `trusted` made the signature.
    fn signer<'k>(
        &self,
        signature: &Signature,
        trusted: &'k [(KeyId, &PublicKey)],
    ) -> Result<Option<&'k KeyId>, VerifyError> {
        let verifies = |key: &PublicKey| key.verifies(&self.payload_type, &self.payload, signature);
        let named = trusted
            .iter()
            .find(|(id, _)| signature.key.as_deref() == Some(id.as_str()));
        match named {
            Some((id, key)) if verifies(key) => Ok(Some(id)),
            Some((id, _)) => Err(VerifyError::Mismatch(id.clone())),
            // The name is a hint: others write none, or names of their own.
            None => {
                let made = trusted.iter().find(|(_, key)| verifies(key));
                Ok(made.map(|(id, _)| id))
            }
        }
    }
}

/// Bytes that somebody trusted has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<'e> {
    payload: &'e [u8],
    made: Vec<(KeyId, [u8; 64])>,
    unrecognised: usize,
}

impl<'e> Verified<'e> {
    /// The bytes.
    #[must_use]
    pub fn payload(&self) -> &'e [u8] {
        self.payload
    }

    /// The trusted keys that have signed them, and how: at least one, each once.
    #[must_use]
    pub fn signatures(&self) -> &[(KeyId, [u8; 64])] {
        &self.made
    }

    /// The trusted keys that have signed them: at least one, each once.
    pub fn signers(&self) -> impl Iterator<Item = &KeyId> {
        self.made.iter().map(|(id, _)| id)
    }

    /// Signatures that none of the trusted keys made.
    #[must_use]
    pub fn unrecognised(&self) -> usize {
        self.unrecognised
    }
}

/// DSSE's JSON. Fields that it does not know are to be ignored.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireEnvelope {
    payload_type: String,
    payload: String,
    signatures: Vec<WireSignature>,
}

#[derive(Deserialize, Serialize)]
struct WireSignature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    sig: String,
}

impl From<&Signature> for WireSignature {
    fn from(signature: &Signature) -> Self {
        Self {
            keyid: signature.key.clone(),
            sig: STANDARD.encode(signature.bytes),
        }
    }
}

impl TryFrom<WireSignature> for Signature {
    type Error = EnvelopeError;

    fn try_from(wire: WireSignature) -> Result<Self, EnvelopeError> {
        let bytes = decode("sig", &wire.sig)?;
        let bytes = <[u8; 64]>::try_from(bytes)
            .map_err(|bytes| EnvelopeError::SignatureLength(bytes.len()))?;
        Ok(Self {
            key: wire.keyid,
            bytes,
        })
    }
}

/// Both alphabets, padded or not, as DSSE asks of those who verify.
fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const PLAIN: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
    const FOR_URLS: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);
    PLAIN
        .decode(text)
        .or_else(|_| FOR_URLS.decode(text))
        .map_err(|_| EnvelopeError::Base64 { field })
}
