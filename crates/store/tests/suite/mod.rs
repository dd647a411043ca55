//! What every store must do, whatever it is made of. Each check wants an empty store.

mod bindings;
mod life;

use portcullis_store::{
    Act, ApiKey, Binding, BindingTarget, KeyId, Missing, NewBinding, NewKey, NewRuleSet, NewSigner,
    Put, Role, Secret, SignerRole, Store, StoreError,
};

pub(crate) use bindings::*;
pub(crate) use life::*;

pub(crate) async fn keys_are_found_by_their_secret_alone(store: &dyn Store) {
    let mut made = Vec::new();
    for (role, now) in Role::ALL.into_iter().zip(100..) {
        made.push(new_key(store, "the same name", role, now).await);
    }
    for (key, secret) in &made {
        let found = store.find_key(secret.expose()).await.unwrap();
        assert_eq!(found.as_ref(), Some(key));
    }
    let keys: Vec<ApiKey> = made.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(store.list_keys().await.unwrap(), keys);

    let (key, secret) = &made[0];
    let longer = format!("{}0", secret.expose());
    let upper = secret.expose().to_uppercase();
    for wrong in [
        "",
        "pk-",
        key.id.as_str(),
        &secret.expose()[3..],
        &longer,
        &upper,
    ] {
        assert_eq!(store.find_key(wrong).await.unwrap(), None, "{wrong:?}");
    }
}

pub(crate) async fn a_revoked_key_opens_nothing(store: &dyn Store) {
    let (key, secret) = new_key(store, "old", Role::Admin, 1).await;
    let (other, other_secret) = new_key(store, "other", Role::Admin, 2).await;

    let revoked = ApiKey {
        revoked_at: Some(50),
        ..key.clone()
    };
    assert_eq!(store.revoke_key(&key.id, 50).await.unwrap(), revoked);
    assert_eq!(store.find_key(secret.expose()).await.unwrap(), None);
    assert_eq!(
        store.find_key(other_secret.expose()).await.unwrap(),
        Some(other.clone())
    );

    // The first time stays.
    assert_eq!(store.revoke_key(&key.id, 60).await.unwrap(), revoked);
    assert_eq!(store.list_keys().await.unwrap(), [revoked, other]);

    let unknown = unknown_key();
    let error = store.revoke_key(&unknown, 70).await.unwrap_err();
    assert_missing(error, Missing::Key(unknown));
}

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
    let new = NewKey {
        name: name.parse().unwrap(),
        role,
    };
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
