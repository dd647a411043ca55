//! What every store must do, whatever it is made of. Each check wants an empty store.

use portcullis_store::{
    ApiKey, Binding, BindingTarget, KeyId, Missing, NewKey, NewRuleSet, Put, Role, Secret, Store,
    StoreError,
};

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

pub(crate) async fn the_newest_version_is_the_highest(store: &dyn Store) {
    for version in [3, 10, 2, u32::MAX, 0] {
        put(store, "b", version, b"x").await.unwrap();
    }
    put(store, "a", 1, b"not utf-8: \xff\0").await.unwrap();

    let newest = store.ruleset(&name("b"), None).await.unwrap().unwrap();
    assert_eq!(newest.version, u32::MAX);
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

pub(crate) async fn bindings_hold_for_their_key_and_deployment(store: &dyn Store) {
    put(store, "a", 1, b"a").await.unwrap();
    put(store, "b", 1, b"b").await.unwrap();
    let (key, _) = new_key(store, "k", Role::Inference, 1).await;
    let (other, _) = new_key(store, "o", Role::Inference, 2).await;
    let of_key = BindingTarget::Key(key.id.clone());
    let of_bank = deployment("bank");
    // A deployment may be called like a key: the two must not be mixed up.
    let look_alike = deployment(key.id.as_str());

    let a_key = store.bind(&name("a"), None, &of_key, 10).await.unwrap();
    let a_bank = store.bind(&name("a"), Some(1), &of_bank, 11).await.unwrap();
    let b_bank = store.bind(&name("b"), None, &of_bank, 12).await.unwrap();
    let b_like = store.bind(&name("b"), None, &look_alike, 13).await.unwrap();
    let expected = Binding {
        ruleset: name("a"),
        version: Some(1),
        target: of_bank.clone(),
        created_at: 11,
    };
    assert_eq!(a_bank, expected);

    let for_call = async |key, deployment: &str| {
        store
            .bindings_for(key, &deployment.parse().unwrap())
            .await
            .unwrap()
    };
    let of_both = [a_bank.clone(), a_key.clone(), b_bank.clone()];
    assert_eq!(for_call(Some(&key.id), "bank").await, of_both);
    assert_eq!(
        for_call(Some(&other.id), "bank").await,
        [a_bank.clone(), b_bank.clone()]
    );
    assert_eq!(
        for_call(None, "bank").await,
        [a_bank.clone(), b_bank.clone()]
    );
    assert_eq!(for_call(Some(&key.id), "x").await, vec![a_key.clone()]);
    assert_eq!(for_call(None, key.id.as_str()).await, vec![b_like.clone()]);

    assert_eq!(
        store.bindings(&name("a")).await.unwrap(),
        [a_bank.clone(), a_key.clone()]
    );
    assert_eq!(
        store.all_bindings().await.unwrap(),
        [a_bank, a_key, b_bank, b_like]
    );
}

pub(crate) async fn a_target_has_one_binding_of_a_rule_set(store: &dyn Store) {
    put(store, "a", 1, b"a").await.unwrap();
    let target = deployment("bank");
    store.bind(&name("a"), None, &target, 10).await.unwrap();
    let pinned = store.bind(&name("a"), Some(1), &target, 11).await.unwrap();
    assert_eq!((pinned.version, pinned.created_at), (Some(1), 11));
    assert_eq!(store.all_bindings().await.unwrap(), [pinned]);

    store.unbind(&name("a"), &target).await.unwrap();
    assert_eq!(store.all_bindings().await.unwrap(), []);
    let error = store.unbind(&name("a"), &target).await.unwrap_err();
    assert_missing(
        error,
        Missing::Binding {
            ruleset: name("a"),
            target,
        },
    );
}

pub(crate) async fn a_binding_needs_both_its_ends(store: &dyn Store) {
    put(store, "a", 1, b"a").await.unwrap();
    put(store, "a", 4, b"a4").await.unwrap();
    let bank = deployment("bank");

    let error = store.bind(&name("z"), None, &bank, 10).await.unwrap_err();
    assert_missing(error, Missing::RuleSet(name("z")));
    let error = store
        .bind(&name("a"), Some(2), &bank, 10)
        .await
        .unwrap_err();
    assert_missing(
        error,
        Missing::Version {
            name: name("a"),
            version: 2,
            newest: 4,
        },
    );
    let target = BindingTarget::Key(unknown_key());
    let error = store.bind(&name("a"), None, &target, 10).await.unwrap_err();
    assert_missing(error, Missing::Key(unknown_key()));
    assert_eq!(store.all_bindings().await.unwrap(), []);
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
    let digest = format!("digest of {}", String::from_utf8_lossy(source));
    let new = NewRuleSet {
        name: name(ruleset),
        version,
        digest,
        source: source.to_vec(),
    };
    store.put_ruleset(new, 1000 + i64::from(version)).await
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
