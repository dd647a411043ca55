//! Whose signatures a rule set needs, and whether it has them.
//!
//! A signature says that somebody stands for these bytes; the role of the key says as what (see
//! [`SignerRole`]). Whoever is revoked signs nothing more, and what was in force by then stays in
//! force: people leave, and their going must not stop a service. A key that was in wrong hands is
//! distrusted instead: then nothing it ever signed counts, and what stands on it alone is not
//! loaded.

use portcullis_sign::{Envelope, KeyError, PublicKey, Signature};
use portcullis_store::{
    RuleSetName, Signer, SignerName, SignerRole, StoredRuleSet, StoredSignature,
};

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// The bytes or the signature are not what they were.
    Mismatch(SignerName),
    /// It is signed by a key that the store does not know.
    UnknownKey(String),
    /// The key of a signer cannot be read, or is not the one it is called by.
    BrokenKey(SignerName),
    /// No signature that counts says what is needed.
    Missing {
        /// What is needed.
        role: SignerRole,
        /// Who has signed it and, being one person, cannot do so twice.
        not: Option<SignerName>,
    },
}

impl std::fmt::Display for Distrust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mismatch(name) => write!(
                f,
                "the signature of {name} does not match: the bytes or the signature were changed \
                 in the store"
            ),
            Self::UnknownKey(id) => write!(f, "it is signed by the unknown key {id}"),
            Self::BrokenKey(name) => write!(f, "the key of {name} was changed in the store"),
            Self::Missing { role, not: None } => {
                write!(
                    f,
                    "it needs the signature of an {role}, and has none that counts"
                )
            }
            Self::Missing {
                role,
                not: Some(name),
            } => write!(
                f,
                "it needs the signature of an {role} other than {name}, who has signed it already"
            ),
        }
    }
}

impl std::error::Error for Distrust {}

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
            .ok_or_else(|| Distrust::UnknownKey(signature.signer.to_string()))?;
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
pub(crate) fn are_enough(signers: &[&Signer], needed: RuleSignatures) -> Result<(), Distrust> {
    let of = |role| {
        let with_role = signers.iter().filter(move |signer| signer.role == role);
        with_role.map(|signer| &signer.name)
    };
    let (mut authors, mut approvers) = (of(SignerRole::Author), of(SignerRole::Approver));
    let missing = |role, not: Option<&SignerName>| Distrust::Missing {
        role,
        not: not.cloned(),
    };
    if needed == RuleSignatures::AllowUnsigned {
        return Ok(());
    }
    let first = authors
        .next()
        .ok_or_else(|| missing(SignerRole::Author, None))?;
    let others = |approver: &SignerName| of(SignerRole::Author).any(|author| author != approver);
    match needed {
        RuleSignatures::AuthorAndApprover if !approvers.any(others) => {
            let is_author = of(SignerRole::Approver).any(|approver| approver == first);
            Err(missing(SignerRole::Approver, is_author.then_some(first)))
        }
        _ => Ok(()),
    }
}

/// Who of the signers made the signatures of an envelope that somebody sent.
///
/// # Errors
/// A sentence that says which signature is not to be taken, and what to do.
pub(crate) fn signed_by<'s>(
    envelope: &Envelope,
    name: &RuleSetName,
    signers: &'s [Signer],
) -> Result<Vec<(&'s Signer, [u8; 64])>, String> {
    let trusted: Vec<_> = signers
        .iter()
        .filter(|signer| signer.revoked_at.is_none())
        .filter_map(|signer| Some((signer, public_key(signer).ok()?)))
        .collect();
    let keys: Vec<PublicKey> = trusted.iter().map(|(_, key)| key.clone()).collect();
    let verified = envelope
        .verify(RULESET_TYPE, &keys)
        .map_err(|error| format!("{error}; {WHO_MAY_SIGN}"))?;
    if verified.unrecognised() > 0 {
        let count = verified.unrecognised();
        return Err(format!(
            "{count} of its signatures are by keys that are not trusted here; {WHO_MAY_SIGN}"
        ));
    }
    let signer = |id: &str| signers.iter().find(|signer| signer.id.as_str() == id);
    let mut made = Vec::new();
    for (id, bytes) in verified.signatures() {
        let Some(signer) = signer(id.as_str()) else {
            return Err(format!("key {id} is not what it is called by in the store"));
        };
        if !signer.may_sign(name) {
            return Err(format!(
                "{} may not sign rule sets called {name}",
                signer.name
            ));
        }
        made.push((signer, *bytes));
    }
    Ok(made)
}

const WHO_MAY_SIGN: &str = "`portcullis rules signers list` tells who may sign";
