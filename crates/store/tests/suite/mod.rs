//! What every store must do, whatever it is made of. Each check wants an empty store.

mod bindings;
mod keys;
mod life;

use portcullis_store::{
    Act, ApiKey, Binding, BindingTarget, KeyId, Missing, NewBinding, NewKey, NewRuleSet, NewSigner,
    Put, Role, Secret, SignerRole, Store, StoreError,
};

pub(crate) use bindings::*;
pub(crate) use keys::*;
pub(crate) use life::*;

pub(crate) async fn a_version_never_changes(store: &dyn Store) {
    assert_eq!(put(store, "cards", 2, b"two").await.unwrap(), Put::Added);
    assert_eq!(put(store, "cards", 7, b"seven").await.unwrap(), Put::Added);
    assert_eq!(
        put(store, "cards", 2, b"two").await.unwrap(),
        Put::Unchanged
    );

    let error = put(store, "cards", 2, b"2").await.unwrap_err();
    let StoreError::VersionExists {
        version,
        newest,
        stored_digest,
        given_digest,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((*version, *newest), (2, 7));
    assert_eq!(
        (stored_digest.as_str(), given_digest.as_str()),
        ("digest of two", "digest of 2")
    );
    assert!(error.to_string().contains("raise it"), "{error}");

    let two = store
        .ruleset(&name("cards"), Some(2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (two.source.as_slice(), two.created_at),
        (b"two".as_slice(), 1000 + 2)
    );
}

pub(crate) async fn versions_are_listed_in_their_order(store: &dyn Store) {
    for version in [3, 10, 2, u32::MAX, 0] {
        put(store, "b", version, b"x").await.unwrap();
    }
    put(store, "a", 1, b"not utf-8: \xff\0").await.unwrap();

    assert_eq!(store.ruleset(&name("b"), Some(4)).await.unwrap(), None);
    assert_eq!(store.ruleset(&name("c"), None).await.unwrap(), None);

    let all = store.list_rulesets().await.unwrap();
    let listed: Vec<_> = all
        .iter()
        .map(|set| (set.name.as_str(), set.version))
        .collect();
    assert_eq!(
        listed,
        [
            ("a", 1),
            ("b", 0),
            ("b", 2),
            ("b", 3),
            ("b", 10),
            ("b", u32::MAX)
        ]
    );
    assert_eq!(all[0].source, b"not utf-8: \xff\0");
}

/// A signer whose id is one digit.
pub(crate) fn signer(digit: char) -> NewSigner {
    NewSigner {
        id: digit.to_string().repeat(64).parse().unwrap(),
        name: format!("person {digit}").parse().unwrap(),
        role: SignerRole::Author,
        rulesets: None,
        public_key: format!("the key of {digit}"),
    }
}

pub(crate) const ACTOR: &str = "key_00000000000000aa";

pub(crate) fn act(now: i64) -> Act<'static> {
    Act { actor: ACTOR, now }
}

pub(crate) async fn activate(
    store: &dyn Store,
    ruleset: &str,
    version: u32,
    now: i64,
) -> Result<(), StoreError> {
    store.activate(&name(ruleset), version, act(now)).await
}

pub(crate) async fn bind(
    store: &dyn Store,
    ruleset: &str,
    version: Option<u32>,
    target: &BindingTarget,
    now: i64,
) -> Result<Binding, StoreError> {
    store
        .bind(binding(ruleset, version, target), act(now))
        .await
}

pub(crate) fn binding(ruleset: &str, version: Option<u32>, target: &BindingTarget) -> NewBinding {
    NewBinding {
        ruleset: name(ruleset),
        version,
        target: target.clone(),
        observe: false,
    }
}

pub(crate) async fn new_key(
    store: &dyn Store,
    name: &str,
    role: Role,
    now: i64,
) -> (ApiKey, Secret) {
    let new = NewKey::new(name.parse().unwrap(), role);
    let (key, secret) = store.create_key(new.clone(), now).await.unwrap();
    assert_eq!(
        (&key.name, key.role, key.created_at),
        (&new.name, role, now)
    );
    assert_eq!(key.revoked_at, None);
    (key, secret)
}

/// Puts a version at the time 1000 + `version`.
pub(crate) async fn put(
    store: &dyn Store,
    ruleset: &str,
    version: u32,
    source: &[u8],
) -> Result<Put, StoreError> {
    let new = new_ruleset(ruleset, version, source);
    store.put_ruleset(new, act(1000 + i64::from(version))).await
}

fn new_ruleset(ruleset: &str, version: u32, source: &[u8]) -> NewRuleSet {
    NewRuleSet {
        name: name(ruleset),
        version,
        digest: format!("digest of {}", String::from_utf8_lossy(source)),
        source: source.to_vec(),
        signatures: Vec::new(),
    }
}

pub(crate) fn name(text: &str) -> portcullis_store::RuleSetName {
    text.parse().unwrap()
}

pub(crate) fn deployment(text: &str) -> BindingTarget {
    BindingTarget::Deployment(text.parse().unwrap())
}

fn unknown_key() -> KeyId {
    "key_0123456789abcdef".parse().unwrap()
}

fn assert_missing(error: StoreError, expected: Missing) {
    match error {
        StoreError::NotFound(missing) => assert_eq!(missing, expected),
        other => panic!("expected {expected:?}, got {other}"),
    }
}
