//! Which rule sets hold for a call.
//!
//! Bindings are asked from the store for each call, so that a change holds from the next call on;
//! compiled rule sets are kept by their digest, since a version never changes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_gate::{Gate, Quota, RuleSet, RuleSetErrors};
use portcullis_store::{DeploymentName, KeyId, Store, StoredRuleSet};

use crate::error::ApiError;

/// Compiled rule sets, most recently used last.
pub(crate) struct Catalog {
    store: Arc<dyn Store>,
    quota: Quota,
    max_compiled: usize,
    compiled: Mutex<VecDeque<Arc<RuleSet>>>,
    /// One rule set is compiled at a time: it takes a core and, for a moment, much memory.
    compiling: tokio::sync::Mutex<()>,
}

impl Catalog {
    pub(crate) fn new(store: Arc<dyn Store>, quota: Quota, max_compiled: usize) -> Self {
        let (compiled, compiling) = (Mutex::default(), tokio::sync::Mutex::default());
        Self {
            store,
            quota,
            max_compiled,
            compiled,
            compiling,
        }
    }

    /// The gate for a call: every rule set that is bound to its key or its deployment.
    ///
    /// # Errors
    /// The store fails, or a bound rule set cannot be loaded: then nothing is generated.
    pub(crate) async fn gate_for(
        &self,
        key: Option<&KeyId>,
        deployment: &DeploymentName,
    ) -> Result<Gate, ApiError> {
        let mut sets: Vec<Arc<RuleSet>> = Vec::new();
        for binding in self.store.bindings_for(key, deployment).await? {
            let stored = self
                .store
                .ruleset(&binding.ruleset, binding.version)
                .await?;
            let Some(stored) = stored else {
                tracing::error!(ruleset = %binding.ruleset, "a bound rule set is not in the store");
                return Err(unavailable(binding.ruleset.as_str()));
            };
            // A set that is bound to key and deployment holds once.
            if !sets.iter().any(|set| set.digest() == stored.digest) {
                sets.push(self.load_stored(stored).await?);
            }
        }
        match sets.is_empty() {
            true => Ok(Gate::open()),
            false => Ok(Gate::new(sets, self.quota)),
        }
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

    async fn load_stored(&self, stored: StoredRuleSet) -> Result<Arc<RuleSet>, ApiError> {
        if let Some(set) = self.find(&stored.digest) {
            return Ok(set);
        }
        let _one_at_a_time = self.compiling.lock().await;
        // Somebody else may have compiled it in the meantime.
        if let Some(set) = self.find(&stored.digest) {
            return Ok(set);
        }
        let (name, digest) = (stored.name, stored.digest);
        match load(stored.source).await? {
            Ok(set) if set.digest() == digest => Ok(self.keep(set)),
            Ok(_) => {
                tracing::error!(ruleset = %name, "the stored bytes do not have the stored digest");
                Err(unavailable(name.as_str()))
            }
            Err(errors) => {
                tracing::error!(ruleset = %name, %errors, "a stored rule set cannot be loaded");
                Err(unavailable(name.as_str()))
            }
        }
    }

    fn find(&self, digest: &str) -> Option<Arc<RuleSet>> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let found = compiled.iter().position(|set| set.digest() == digest)?;
        let set = compiled.remove(found)?;
        compiled.push_back(Arc::clone(&set));
        Some(set)
    }

    fn keep(&self, set: RuleSet) -> Arc<RuleSet> {
        let set = Arc::new(set);
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.push_back(Arc::clone(&set));
        while compiled.len() > self.max_compiled {
            compiled.pop_front();
        }
        set
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
fn unavailable(ruleset: &str) -> ApiError {
    let message = format!(
        "rule set `{ruleset}` holds for this call and cannot be loaded, so nothing is generated; \
         the server's log says why"
    );
    ApiError::internal(&message).with_code("ruleset_unavailable")
}
