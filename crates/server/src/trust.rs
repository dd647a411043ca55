//! Whose signatures a rule set needs, and whether it has them.
//!
//! A signature says that somebody stands for these bytes; the role of the key says as what (see
//! [`SignerRole`]). Whoever is revoked signs nothing more, and what was in force by then stays in
//! force: people leave, and their going must not stop a service. A key that was in wrong hands is
//! distrusted instead: then nothing it ever signed counts, and what stands on it alone is not
//! loaded.

use portcullis_sign::{Envelope, KeyError, PublicKey, Signature, VerifyError};
use portcullis_store::{
    NewSignature, RuleSetName, Signer, SignerId, SignerName, SignerRole, StoredRuleSet,
    StoredSignature,
};
use thiserror::Error;

/// What the signatures of rule sets are made over (DSSE's payload type).
pub const RULESET_TYPE: &str = "application/vnd.portcullis.ruleset+yaml";

/// Whose signatures a rule set needs before it may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleSignatures {
    /// Nobody's: rule sets without a signature are loaded. Those that have one are still refused if
    /// it does not match.
    AllowUnsigned,
    /// That of an author.
    #[default]
    Author,
    /// Those of an author and of an approver, who are two people.
    AuthorAndApprover,
}

/// Why a stored rule set is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Distrust {
    /// The bytes or the signature are not what they were.
    #[error(
        "the signature of {0} does not match: the bytes or the signature were changed in the store"
    )]
    Mismatch(SignerName),
    /// It is signed by a key that the store does not know.
    #[error("it is signed by the unknown key {0}")]
    UnknownKey(SignerId),
    /// The key of a signer cannot be read, or is not the one it is called by.
    #[error("the key of {0} was changed in the store")]
    BrokenKey(SignerName),
    /// No signature that counts says what is needed.
    #[error("it needs the signature of an {0}, and has none that counts")]
    Missing(SignerRole),
    /// The only one who has signed as an approver is the author.
    #[error("it needs the signature of an approver other than {0}, who is its author")]
    ApprovedByAuthor(SignerName),
}

/// Why a signature that somebody sent is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NotTaken {
    #[error("{0}; {WHO_MAY_SIGN}")]
    Envelope(#[from] VerifyError),
    #[error("{0} of its signatures are by keys that are not trusted here; {WHO_MAY_SIGN}")]
    Unrecognised(usize),
    #[error("{signer} may not sign rule sets called {ruleset}; {WHO_MAY_SIGN}")]
    Scope {
        signer: SignerName,
        ruleset: RuleSetName,
    },
}

const WHO_MAY_SIGN: &str = "`portcullis rules signers list` tells who may sign";

/// Checks every signature of a stored rule set, and that those which count are enough.
///
/// # Errors
/// Why it must not be loaded.
pub fn check_signatures(
    stored: &StoredRuleSet,
    signers: &[Signer],
    needed: RuleSignatures,
) -> Result<(), Distrust> {
    check_with(stored, signers, needed, verify)
}

/// The same with another way to verify, which may remember what it has seen.
pub(crate) fn check_with(
    stored: &StoredRuleSet,
    signers: &[Signer],
    needed: RuleSignatures,
    verify: impl Fn(&StoredRuleSet, &StoredSignature, &Signer) -> Result<(), Distrust>,
) -> Result<(), Distrust> {
    let mut counting = Vec::new();
    for signature in &stored.signatures {
        let signer = signers
            .iter()
            .find(|signer| signer.id == signature.signer)
            .ok_or_else(|| Distrust::UnknownKey(signature.signer.clone()))?;
        verify(stored, signature, signer)?;
        if counts(signer, stored) {
            counting.push(signer);
        }
    }
    are_enough(&counting, needed)
}

/// The cryptographic question alone: did the key of this name make this signature over these bytes?
pub(crate) fn verify(
    stored: &StoredRuleSet,
    signature: &StoredSignature,
    signer: &Signer,
) -> Result<(), Distrust> {
    let key = public_key(signer).map_err(|_| Distrust::BrokenKey(signer.name.clone()))?;
    if key.id().as_str() != signer.id.as_str() {
        return Err(Distrust::BrokenKey(signer.name.clone()));
    }
    let signature = Signature {
        key: None,
        bytes: signature.bytes,
    };
    match key.verifies(RULESET_TYPE, &stored.source, &signature) {
        true => Ok(()),
        false => Err(Distrust::Mismatch(signer.name.clone())),
    }
}

fn public_key(signer: &Signer) -> Result<PublicKey, KeyError> {
    PublicKey::from_pem(&signer.public_key)
}

fn counts(signer: &Signer, stored: &StoredRuleSet) -> bool {
    let in_time = match (signer.revoked_at, stored.in_force_since) {
        (None, _) => true,
        (Some(revoked_at), Some(since)) => since <= revoked_at,
        (Some(_), None) => false,
    };
    in_time && !signer.distrusted && signer.may_sign(&stored.name)
}

/// Whether these signers are those who are needed. One person counts once.
fn are_enough(signers: &[&Signer], needed: RuleSignatures) -> Result<(), Distrust> {
    let of = |role| {
        let with_role = signers.iter().filter(move |signer| signer.role == role);
        with_role.map(|signer| &signer.name)
    };
    let authors = || of(SignerRole::Author);
    if needed == RuleSignatures::AllowUnsigned {
        return Ok(());
    }
    let author = authors()
        .next()
        .ok_or(Distrust::Missing(SignerRole::Author))?;
    if needed == RuleSignatures::Author {
        return Ok(());
    }
    let is_second = |approver: &SignerName| authors().any(|author| author != approver);
    match of(SignerRole::Approver).next() {
        None => Err(Distrust::Missing(SignerRole::Approver)),
        Some(_) if of(SignerRole::Approver).any(is_second) => Ok(()),
        Some(_) => Err(Distrust::ApprovedByAuthor(author.clone())),
    }
}

/// Who of the signers made the signatures of an envelope that somebody sent.
///
/// # Errors
/// One of them is not by a signer who may sign this now.
pub(crate) fn signed_by(
    envelope: &Envelope,
    name: &RuleSetName,
    signers: &[Signer],
) -> Result<Vec<NewSignature>, NotTaken> {
    let trusted: Vec<(&Signer, PublicKey)> = signers
        .iter()
        .filter(|signer| signer.revoked_at.is_none())
        .filter_map(|signer| Some((signer, public_key(signer).ok()?)))
        .collect();
    let keys: Vec<PublicKey> = trusted.iter().map(|(_, key)| key.clone()).collect();
    let verified = envelope.verify(RULESET_TYPE, &keys)?;
    if verified.unrecognised() > 0 {
        return Err(NotTaken::Unrecognised(verified.unrecognised()));
    }
    let mut made = Vec::new();
    for (id, bytes) in verified.signatures() {
        let signer = trusted.iter().find(|(_, key)| key.id() == *id);
        let (signer, _) = signer.expect("a verified signature is by one of the keys given");
        if !signer.may_sign(name) {
            return Err(NotTaken::Scope {
                signer: signer.name.clone(),
                ruleset: name.clone(),
            });
        }
        made.push(NewSignature {
            signer: signer.id.clone(),
            bytes: *bytes,
        });
    }
    Ok(made)
}
