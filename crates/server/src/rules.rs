//! Which rule sets hold for a call.
//!
//! Bindings and signers are asked from the store for each call, so that a change holds from the
//! next call on, and a call that runs keeps the versions it began with. Compiled rule sets are kept
//! by their digest, since what a version says never changes, with the signatures that were found to
//! match them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_gate::{BoundSet, Gate, Quota, RuleSet, RuleSetErrors};
use portcullis_store::{
    DeploymentName, KeyId, NamedRuleSet, RuleSetName, Signer, SignerId, Store, StoredRuleSet,
    StoredSignature,
};

use crate::error::ApiError;
use crate::trust::{self, Distrust, RuleSignatures};
use crate::wire::call::AdmissibilityFields;

/// Compiled rule sets, most recently used last.
pub(crate) struct Catalog {
    store: Arc<dyn Store>,
    quota: Quota,
    needed: RuleSignatures,
    max_compiled: usize,
    compiled: Mutex<VecDeque<Arc<Compiled>>>,
    /// One rule set is compiled at a time: it takes a core and, for a moment, much memory.
    compiling: tokio::sync::Mutex<()>,
}

/// A compiled rule set, and whose signatures over its bytes were seen to match.
struct Compiled {
    set: Arc<RuleSet>,
    matching: Mutex<Vec<Matching>>,
}

/// Who, with which key, and how.
#[derive(PartialEq, Eq)]
struct Matching {
    signer: SignerId,
    public_key: String,
    signature: [u8; 64],
}

/// What holds for a call.
pub(crate) struct HeldRules {
    pub(crate) gate: Gate,
    pub(crate) signers: RuleSigners,
}

/// Who has signed the rule sets of a call: for each digest the ids of the keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleSigners(BTreeMap<String, Vec<String>>);

impl RuleSigners {
    /// The keys whose signatures over the rule set with this digest were verified.
    pub(crate) fn of(&self, digest: &str) -> &[String] {
        self.0.get(digest).map_or(&[], Vec::as_slice)
    }

    /// Every signature of a set that was loaded was verified.
    fn note(&mut self, stored: &StoredRuleSet) {
        let ids = stored.signatures.iter().map(|it| it.signer.to_string());
        self.0.insert(stored.digest.clone(), ids.collect());
    }
}

/// A rule set that holds for a call, or is only observed.
struct Bound {
    set: Arc<RuleSet>,
    observed: bool,
}

impl From<Bound> for BoundSet {
    fn from(bound: Bound) -> Self {
        match bound.observed {
            true => Self::observed(bound.set),
            false => bound.set.into(),
        }
    }
}

impl Catalog {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        quota: Quota,
        needed: RuleSignatures,
        max_compiled: usize,
    ) -> Self {
        Self {
            store,
            quota,
            needed,
            max_compiled,
            compiled: Mutex::default(),
            compiling: tokio::sync::Mutex::default(),
        }
    }

    /// What holds for a call: every rule set that is bound to its key or its deployment, and those
    /// that it names itself, which can only add to them.
    ///
    /// # Errors
    /// The store fails, or a bound rule set cannot be loaded: then nothing is generated. A named one
    /// is not there or not in force.
    pub(crate) async fn held_for(
        &self,
        key: Option<&KeyId>,
        deployment: &DeploymentName,
        named: &[NamedRuleSet],
    ) -> Result<HeldRules, ApiError> {
        let rules = self.store.rules_for(key, deployment, named).await?;
        let mut sets: Vec<Bound> = Vec::new();
        let mut signers = RuleSigners::default();
        for (binding, stored) in rules.bound {
            let Some(stored) = stored else {
                tracing::error!(ruleset = %binding.ruleset, "a bound rule set is not in the store");
                return Err(unavailable(&binding.ruleset));
            };
            let set = self.load(&stored, &rules.signers).await?;
            signers.note(&stored);
            join(&mut sets, set, binding.observe);
        }
        for (index, (name, stored)) in named.iter().zip(rules.named).enumerate() {
            let stored = in_force(index, name, stored)?;
            signers.note(&stored);
            join(&mut sets, self.load(&stored, &rules.signers).await?, false);
        }
        let gate = match sets.is_empty() {
            true => Gate::open(),
            false => Gate::new(sets.into_iter().map(BoundSet::from), self.quota),
        };
        Ok(HeldRules { gate, signers })
    }

    /// Validates and compiles a rule set that somebody sent.
    ///
    /// # Errors
    /// 400 with every mistake in it.
    pub(crate) async fn compile(&self, source: Vec<u8>) -> Result<Arc<RuleSet>, ApiError> {
        let _one_at_a_time = self.compiling.lock().await;
        load(source)
            .await?
            .map(Arc::new)
            .map_err(|errors| ApiError::from(&errors))
    }

    /// Whose signatures a rule set needs here.
    pub(crate) fn needed(&self) -> RuleSignatures {
        self.needed
    }

    /// Whether a version could be put into force now: it is signed, and can be loaded.
    ///
    /// # Errors
    /// 409 if a signature is missing or not to be believed; 500 if it cannot be loaded.
    pub(crate) async fn check(&self, stored: &StoredRuleSet) -> Result<(), ApiError> {
        let signers = self.store.list_signers().await?;
        trust::check_signatures(stored, &signers, self.needed)
            .map_err(|distrust| not_signed(stored, &distrust))?;
        self.load(stored, &signers).await.map(drop)
    }

    /// The compiled form of a stored version whose signatures hold.
    async fn load(
        &self,
        stored: &StoredRuleSet,
        signers: &[Signer],
    ) -> Result<Arc<RuleSet>, ApiError> {
        let compiled = self.compiled(stored).await?;
        match trusted(&compiled, stored, signers, self.needed) {
            Ok(()) => Ok(Arc::clone(&compiled.set)),
            Err(why) => {
                let (ruleset, version) = (&stored.name, stored.version);
                tracing::error!(%ruleset, version, why, "a rule set is not loaded");
                Err(unavailable(ruleset))
            }
        }
    }

    async fn compiled(&self, stored: &StoredRuleSet) -> Result<Arc<Compiled>, ApiError> {
        if let Some(set) = self.find(&stored.digest) {
            return Ok(set);
        }
        let _one_at_a_time = self.compiling.lock().await;
        // Somebody else may have compiled it in the meantime.
        if let Some(set) = self.find(&stored.digest) {
            return Ok(set);
        }
        let name = &stored.name;
        match load(stored.source.clone()).await? {
            Ok(set) if set.digest() == stored.digest => Ok(self.keep(set)),
            Ok(_) => {
                tracing::error!(ruleset = %name, "the stored bytes do not have the stored digest");
                Err(unavailable(name))
            }
            Err(errors) => {
                tracing::error!(ruleset = %name, %errors, "a stored rule set cannot be loaded");
                Err(unavailable(name))
            }
        }
    }

    fn find(&self, digest: &str) -> Option<Arc<Compiled>> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let found = compiled
            .iter()
            .position(|compiled| compiled.set.digest() == digest)?;
        let set = compiled.remove(found)?;
        compiled.push_back(Arc::clone(&set));
        Some(set)
    }

    fn keep(&self, set: RuleSet) -> Arc<Compiled> {
        let kept = Arc::new(Compiled {
            set: Arc::new(set),
            matching: Mutex::default(),
        });
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.push_back(Arc::clone(&kept));
        while compiled.len() > self.max_compiled {
            compiled.pop_front();
        }
        kept
    }
}

impl Compiled {
    /// Whether a signature matches never changes; whether it counts is asked each time.
    fn verify(
        &self,
        stored: &StoredRuleSet,
        signature: &StoredSignature,
        signer: &Signer,
    ) -> Result<(), Distrust> {
        let seen = Matching {
            signer: signer.id.clone(),
            public_key: signer.public_key.clone(),
            signature: signature.bytes,
        };
        let mut matching = self.matching.lock().unwrap_or_else(PoisonError::into_inner);
        if matching.contains(&seen) {
            return Ok(());
        }
        trust::verify(stored, signature, signer)?;
        matching.push(seen);
        Ok(())
    }
}

/// What runs is what was compiled: its bytes are the ones whose signatures count, and it is the
/// version that it says it is, or an older one could stand in its place with signatures that match.
fn trusted(
    compiled: &Compiled,
    stored: &StoredRuleSet,
    signers: &[Signer],
    needed: RuleSignatures,
) -> Result<(), String> {
    let set = &compiled.set;
    if set.source() != stored.source {
        return Err("the stored bytes do not have the stored digest".to_owned());
    }
    if set.name() != stored.name.as_str() || set.version() != stored.version {
        let (name, version) = (set.name(), set.version());
        return Err(format!("the stored bytes are those of {name}@{version}"));
    }
    trust::check_with(stored, signers, needed, |stored, signature, signer| {
        compiled.verify(stored, signature, signer)
    })
    .map_err(|distrust| distrust.to_string())
}

/// A set that comes twice holds once, and holds if it does so in one of the two.
fn join(sets: &mut Vec<Bound>, set: Arc<RuleSet>, observed: bool) {
    let there = sets
        .iter_mut()
        .find(|there| there.set.digest() == set.digest());
    match there {
        Some(there) => there.observed &= observed,
        None => sets.push(Bound { set, observed }),
    }
}

/// Rule sets that a call may name, at most.
const NAMED_RULESETS_MAX: usize = 8;

/// What a call names.
///
/// # Errors
/// 400: too many, or something that is no name.
pub(crate) fn named(fields: Option<&AdmissibilityFields>) -> Result<Vec<NamedRuleSet>, ApiError> {
    let named = fields.into_iter().flat_map(|own| &own.rulesets);
    if named.clone().count() > NAMED_RULESETS_MAX {
        let said = format!("may name {NAMED_RULESETS_MAX} rule sets");
        return Err(ApiError::invalid("admissibility.rulesets", said));
    }
    let named = named.enumerate().map(|(index, text)| {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name.parse().ok(), version.parse().map(Some).ok()),
            None => (text.parse().ok(), Some(None)),
        };
        let (Some(name), Some(version)) = (name, version) else {
            let param = format!("admissibility.rulesets.[{index}]");
            return Err(ApiError::invalid(param, "write name or name@version"));
        };
        Ok(NamedRuleSet { name, version })
    });
    named.collect()
}

/// A set that a call names must be one that somebody put into force.
fn in_force(
    index: usize,
    named: &NamedRuleSet,
    stored: Option<StoredRuleSet>,
) -> Result<StoredRuleSet, ApiError> {
    let param = format!("admissibility.rulesets.[{index}]");
    let said = match named.version {
        Some(version) => format!("{}@{version}", named.name),
        None => named.name.to_string(),
    };
    match stored {
        Some(stored) if stored.state.may_hold() => Ok(stored),
        Some(stored) => {
            let said = format!("rule set `{said}` is {}, not active", stored.state);
            Err(ApiError::invalid(param, said).with_code("ruleset_not_active"))
        }
        None => {
            let said = format!("there is no active rule set `{said}`");
            Err(ApiError::not_found(format!("{param}: {said}"))
                .blaming(&param)
                .with_code("ruleset_not_found"))
        }
    }
}

/// Off the threads that answer: embedded tests run at every split.
async fn load(source: Vec<u8>) -> Result<Result<RuleSet, RuleSetErrors>, ApiError> {
    tokio::task::spawn_blocking(move || RuleSet::load(&source))
        .await
        .map_err(|panic| {
            tracing::error!(%panic, "loading a rule set panicked");
            ApiError::internal("the server met a bug while it loaded a rule set")
        })
}

/// Fail closed: what must be checked and cannot be is not generated.
fn unavailable(ruleset: &RuleSetName) -> ApiError {
    let message = format!(
        "rule set `{ruleset}` holds for this call and cannot be loaded, so nothing is generated; \
         the server's log says why"
    );
    ApiError::internal(&message).with_code("ruleset_unavailable")
}

fn not_signed(stored: &StoredRuleSet, distrust: &Distrust) -> ApiError {
    let (name, version) = (&stored.name, stored.version);
    let message = format!(
        "{name}@{version} cannot be put into force: {distrust}; who may sign it adds a signature \
         with `portcullis rules approve {name}@{version} --key KEY`"
    );
    ApiError::conflict("signature_missing", message)
}
