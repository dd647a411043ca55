//! The demonstration: a small model, a rule set and keys, all from the binary, so that
//! `portcullis serve` shows the gate at work without any preparation.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use portcullis_gate::RuleSet;
use portcullis_server::RULESET_TYPE;
use portcullis_sign::{Envelope, PublicKey};
use portcullis_store::{
    Act, BindingTarget, DeploymentName, KeyName, NewBinding, NewKey, NewRuleSet, NewSignature,
    NewSigner, Role, RuleSetName, SignerId, SignerRole, Store, StoreError, StoredRuleSet,
};

use crate::data_dir::{make_private_dir, write_private};

/// What clients send as `model`, unless configured otherwise.
pub(crate) const DEPLOYMENT: &str = "demo";

/// A question whose answer the rule set has something to say about.
pub(crate) const QUESTION: &str = "What is my account number?";

/// With the seed, the answer is the same each time.
pub(crate) const SEED: u64 = 2;

/// The inference key of the demo is kept here, so that the whole curl line can be printed at each
/// start. Other keys are nowhere but in the hands of those who were given them.
const KEY_FILE: &str = "inference.key";

const RULES: &[u8] = include_bytes!("../../../rules/demo.yaml");

/// The same with the signature of [`AUTHOR_KEY`]; `scripts/sign-demo` makes it.
const SIGNED_RULES: &[u8] = include_bytes!("../../../rules/demo.yaml.dsse");

/// Whose private half everybody has: trusted for the demo's own rule set and for no other.
const AUTHOR_KEY: &str = include_str!("../../../rules/demo-author.pub");

/// Who has done what the demo does by itself, in the history of its rule set.
const ACTOR: &str = "the demo";

macro_rules! model_files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../models/demo/llama/", $name)))),*]
    };
}

const MODEL_FILES: &[(&str, &[u8])] = model_files![
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// The demo's rule set.
pub(crate) fn rules() -> Result<RuleSet> {
    RuleSet::load(RULES).context("the demo rule set in this binary is broken")
}

/// What the demo has got ready.
pub(crate) struct Demo {
    /// Made at the first start; known to nobody but whoever reads it there.
    pub(crate) new_admin_key: Option<String>,
    /// Kept for the demo alone.
    pub(crate) inference_key: String,
    /// Where it is kept.
    pub(crate) key_file: PathBuf,
}

/// Writes the model where it can be mapped into memory, once for each version of it.
///
/// # Errors
/// The data directory takes no more.
pub(crate) fn unpack_model(data_dir: &Path) -> Result<PathBuf> {
    let target = model_dir(data_dir);
    if !target.is_dir() {
        unpack(&target).with_context(|| {
            format!(
                "the demo model cannot be written to {}; is the disk full?",
                target.display()
            )
        })?;
    }
    Ok(target)
}

/// Provides rule set and keys at the first start. What an operator has changed since stays.
///
/// # Errors
/// The store or the data directory cannot be used.
pub(crate) async fn prepare(
    store: &dyn Store,
    data_dir: &Path,
    deployment: &DeploymentName,
    now: i64,
) -> Result<Demo> {
    let rules = DemoRules::read()?;
    rules.sign(store, now).await?;
    let key_file = demo_dir(data_dir).join(KEY_FILE);
    let kept = fs::read_to_string(&key_file)
        .ok()
        .map(|text| text.trim().to_owned());
    let is_first_start = kept.is_none();
    if let Some(key) = kept
        && store
            .find_key(&key)
            .await?
            .is_some_and(|key| key.is_usable(now))
    {
        return Ok(Demo {
            new_admin_key: None,
            inference_key: key,
            key_file,
        });
    }
    // The key is written last: a start that was cut short before is repeated.
    if is_first_start {
        rules.provide(store, deployment, now).await?;
    }
    let new_admin_key = provide_admin(store, now).await?;
    let inference_key = make_key(store, "demo", Role::Inference, now).await?;
    make_private_dir(&demo_dir(data_dir))
        .and_then(|()| write_private(&key_file, inference_key.as_bytes()))
        .with_context(|| format!("{} cannot be written", key_file.display()))?;
    Ok(Demo {
        new_admin_key,
        inference_key,
        key_file,
    })
}

/// The demo's rule set, its signature seen to be right.
struct DemoRules {
    new: NewRuleSet,
    author: NewSigner,
}

impl DemoRules {
    fn read() -> Result<Self> {
        let set = rules()?;
        let name: RuleSetName = set.name().parse()?;
        let key = PublicKey::from_pem(AUTHOR_KEY)?;
        let id: SignerId = key.id().as_str().parse()?;
        let signatures = vec![NewSignature {
            signer: id.clone(),
            bytes: demo_signature(&key).context("run scripts/sign-demo and build again")?,
        }];
        let author = NewSigner {
            id,
            name: "the author of the demo".parse()?,
            role: SignerRole::Author,
            rulesets: Some(vec![name.clone()]),
            public_key: key.to_pem(),
        };
        let new = NewRuleSet {
            name,
            version: set.version(),
            digest: set.digest().to_owned(),
            source: RULES.to_vec(),
            signatures,
        };
        Ok(Self { new, author })
    }

    /// Trusts the author of the demo, and signs what an earlier start has stored unsigned.
    async fn sign(&self, store: &dyn Store, now: i64) -> Result<()> {
        match store.add_signer(self.author.clone(), now).await {
            // Revoked, and so it stays.
            Ok(_) | Err(StoreError::SignerExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let NewRuleSet { name, version, .. } = &self.new;
        let stored = store.ruleset(name, Some(*version)).await?;
        if stored.is_some_and(|stored| stored.source == self.new.source) {
            store.put_ruleset(self.new.clone(), act(now)).await?;
        }
        Ok(())
    }

    /// Registers, activates and binds it, unless there is something already.
    async fn provide(
        &self,
        store: &dyn Store,
        deployment: &DeploymentName,
        now: i64,
    ) -> Result<()> {
        let NewRuleSet { name, version, .. } = &self.new;
        let is_there = |set: &StoredRuleSet| set.name == *name;
        if !store.list_rulesets().await?.iter().any(is_there) {
            store.put_ruleset(self.new.clone(), act(now)).await?;
            store.activate(name, *version, act(now)).await?;
        }
        if store.bindings(name).await?.is_empty() && store.ruleset(name, None).await?.is_some() {
            let new = NewBinding {
                ruleset: name.clone(),
                version: None,
                target: BindingTarget::Deployment(deployment.clone()),
                observe: false,
            };
            store.bind(new, act(now)).await?;
        }
        Ok(())
    }
}

fn demo_signature(key: &PublicKey) -> Result<[u8; 64]> {
    let envelope = Envelope::from_json(SIGNED_RULES)?;
    let verified = envelope.verify(RULESET_TYPE, std::slice::from_ref(key))?;
    if verified.payload() != RULES {
        bail!("rules/demo.yaml was changed since it was signed");
    }
    let (_, signature) = verified.signatures()[0];
    Ok(signature)
}

fn act(now: i64) -> Act<'static> {
    Act { actor: ACTOR, now }
}

async fn provide_admin(store: &dyn Store, now: i64) -> Result<Option<String>> {
    let keys = store.list_keys().await?;
    if keys
        .iter()
        .any(|key| key.role == Role::Admin && key.is_usable(now))
    {
        return Ok(None);
    }
    make_key(store, "first start", Role::Admin, now)
        .await
        .map(Some)
}

async fn make_key(store: &dyn Store, name: &str, role: Role, now: i64) -> Result<String> {
    let name: KeyName = name.parse()?;
    let (_, secret) = store.create_key(NewKey::new(name, role), now).await?;
    Ok(secret.expose().to_owned())
}

fn demo_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("demo")
}

/// Where the model is, or will be once it is unpacked.
pub(crate) fn model_dir(data_dir: &Path) -> PathBuf {
    demo_dir(data_dir).join(format!("llama-{}", model_digest()))
}

fn unpack(target: &Path) -> std::io::Result<()> {
    // Under another name until it is whole, so that a start that was cut short leaves no half; and
    // under one of its own, for others may start as well.
    let unfinished = target.with_extension(format!("{}.new", std::process::id()));
    make_private_dir(&unfinished)?;
    for (name, content) in MODEL_FILES {
        fs::write(unfinished.join(name), content)?;
    }
    match fs::rename(&unfinished, target) {
        Err(_) if target.is_dir() => fs::remove_dir_all(unfinished),
        renamed => renamed,
    }
}

fn model_digest() -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, content) in MODEL_FILES {
        hasher.update(name.as_bytes()).update(content);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use portcullis_server::{RuleSignatures, check_signatures};
    use portcullis_store::SqliteStore;

    use super::*;

    async fn start(data_dir: &Path) -> (SqliteStore, Demo) {
        let store = SqliteStore::open(data_dir).await.unwrap();
        let demo = prepare(&store, data_dir, &deployment(), 1).await.unwrap();
        (store, demo)
    }

    fn deployment() -> DeploymentName {
        DEPLOYMENT.parse().unwrap()
    }

    #[tokio::test]
    async fn the_first_start_makes_keys_and_binds_the_rules_and_later_ones_keep_them() {
        let dir = tempfile::tempdir().unwrap();
        let (store, first) = start(dir.path()).await;
        let admin = first.new_admin_key.unwrap();
        assert_eq!(
            store.find_key(&admin).await.unwrap().unwrap().role,
            Role::Admin
        );
        let inference = store.find_key(&first.inference_key).await.unwrap().unwrap();
        assert_eq!(inference.role, Role::Inference);
        assert_eq!(store.all_bindings().await.unwrap().len(), 1);

        let (store, second) = start(dir.path()).await;
        assert_eq!(second.inference_key, first.inference_key);
        assert!(second.new_admin_key.is_none());
        assert_eq!(store.list_keys().await.unwrap().len(), 2);
    }

    /// Red? rules/demo.yaml was changed: run scripts/sign-demo.
    #[test]
    fn the_rules_are_signed_as_they_stand() {
        DemoRules::read().unwrap();
    }

    #[tokio::test]
    async fn the_author_of_the_demo_may_sign_its_rule_set_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = start(dir.path()).await;
        let signers = store.list_signers().await.unwrap();
        let [author] = signers.as_slice() else {
            panic!("{signers:?}")
        };
        assert_eq!(author.rulesets, Some(vec!["demo-bank".parse().unwrap()]));
        let sets = store.list_rulesets().await.unwrap();
        let checked = check_signatures(&sets[0], &signers, RuleSignatures::Author);
        assert_eq!(checked, Ok(()));
        // Revoked, it stays revoked.
        let revoked = store.revoke_signer(&author.id, true, 2).await.unwrap();
        let (store, _) = start(dir.path()).await;
        assert_eq!(store.list_signers().await.unwrap(), [revoked]);
    }

    #[tokio::test]
    async fn a_set_that_was_stored_before_there_were_signatures_gets_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path()).await.unwrap();
        let unsigned = NewRuleSet {
            signatures: Vec::new(),
            ..DemoRules::read().unwrap().new
        };
        store.put_ruleset(unsigned, act(0)).await.unwrap();
        let (store, _) = start(dir.path()).await;
        assert_eq!(store.list_rulesets().await.unwrap()[0].signatures.len(), 1);
    }

    #[tokio::test]
    async fn what_an_operator_unbound_stays_unbound() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = start(dir.path()).await;
        let name = RuleSet::load(RULES).unwrap().name().parse().unwrap();
        store
            .unbind(
                &name,
                &BindingTarget::Deployment(deployment()),
                false,
                act(2),
            )
            .await
            .unwrap();
        let (store, _) = start(dir.path()).await;
        assert!(store.bindings(&name).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_revoked_demo_key_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let (store, first) = start(dir.path()).await;
        let name = RuleSet::load(RULES).unwrap().name().parse().unwrap();
        store
            .unbind(
                &name,
                &BindingTarget::Deployment(deployment()),
                false,
                act(2),
            )
            .await
            .unwrap();
        let key = store.find_key(&first.inference_key).await.unwrap().unwrap();
        store.revoke_key(&key.id, false, 2).await.unwrap();
        let (store, second) = start(dir.path()).await;
        assert_ne!(second.inference_key, first.inference_key);
        assert!(store.bindings(&name).await.unwrap().is_empty());
        assert!(second.new_admin_key.is_none(), "the admin key still works");
    }

    #[test]
    fn the_model_is_unpacked_once_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = unpack_model(dir.path()).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), MODEL_FILES.len());
        for (name, content) in MODEL_FILES {
            assert_eq!(&fs::read(path.join(name)).unwrap(), content, "{name}");
        }
        assert_eq!(unpack_model(dir.path()).unwrap(), path);
    }
}
