//! What every store must do, whatever it is made of. Each check wants an empty store.

use portcullis_store::{
    Act, ApiKey, Binding, BindingTarget, EventKind, KeyId, Missing, NamedRuleSet, NewBinding,
    NewKey, NewRuleSet, NewSignature, NewSigner, Put, Role, RuleSetState, RulesFor, Secret,
    SignerRole, Store, StoreError, StoredSignature,
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

pub(crate) async fn one_version_is_active_at_a_time(store: &dyn Store) {
    for version in 1..=3 {
        put(store, "a", version, b"x").await.unwrap();
    }
    let active = async || {
        let active = store.ruleset(&name("a"), None).await.unwrap();
        active.map(|set| set.version)
    };
    assert_eq!(active().await, None, "a registered version does not hold");
    for (activated, now) in [(1, 10), (3, 20), (3, 21), (2, 30), (1, 40)] {
        activate(store, "a", activated, now).await.unwrap();
        assert_eq!(active().await, Some(activated));
    }
    let life: Vec<_> = store.list_rulesets().await.unwrap();
    let life: Vec<_> = life
        .iter()
        .map(|set| (set.state, set.in_force_since))
        .collect();
    let since = [Some(10), Some(30), Some(20)];
    use RuleSetState::{Active, Superseded};
    let states = [Active, Superseded, Superseded];
    assert_eq!(life, states.into_iter().zip(since).collect::<Vec<_>>());

    let error = activate(store, "z", 1, 50).await.unwrap_err();
    assert_missing(error, Missing::RuleSet(name("z")));
    let error = activate(store, "a", 9, 50).await.unwrap_err();
    let missing = Missing::Version {
        name: name("a"),
        version: 9,
        newest: 3,
    };
    assert_missing(error, missing);
}

pub(crate) async fn a_retired_version_has_no_way_back(store: &dyn Store) {
    for version in 1..=2 {
        put(store, "a", version, b"x").await.unwrap();
        activate(store, "a", version, 10).await.unwrap();
    }
    let retire = async |version| store.retire(&name("a"), version, act(20)).await;
    bind(store, "a", Some(1), &deployment("bank"), 11)
        .await
        .unwrap();
    bind(store, "a", None, &deployment("shop"), 11)
        .await
        .unwrap();
    for (version, target) in [(1, "bank"), (2, "shop")] {
        let error = retire(version).await.unwrap_err();
        let StoreError::Bound { targets, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(targets, &[deployment(target)]);
        assert!(error.to_string().contains("unbind it"), "{error}");
    }
    let unbind = async |target: &str| {
        let target = deployment(target);
        store.unbind(&name("a"), &target, false, act(15)).await
    };
    unbind("bank").await.unwrap();
    for _ in 0..2 {
        retire(1).await.unwrap();
    }
    let error = activate(store, "a", 1, 30).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Retired { version: 1, .. }),
        "{error}"
    );
    for observe in [false, true] {
        let new = NewBinding {
            observe,
            ..binding("a", Some(1), &deployment("bank"))
        };
        let error = store.bind(new, act(30)).await.unwrap_err();
        assert!(matches!(error, StoreError::Retired { .. }), "{error}");
    }
    unbind("shop").await.unwrap();
    retire(2).await.unwrap();
    let error = bind(store, "a", None, &deployment("shop"), 30)
        .await
        .unwrap_err();
    assert_missing(error, Missing::ActiveVersion(name("a")));
}

pub(crate) async fn what_happened_is_remembered_with_who_and_when(store: &dyn Store) {
    put(store, "a", 1, b"x").await.unwrap();
    put(store, "a", 2, b"y").await.unwrap();
    put(store, "other", 1, b"z").await.unwrap();
    activate(store, "a", 1, 10).await.unwrap();
    bind(store, "a", None, &deployment("bank"), 11)
        .await
        .unwrap();
    activate(store, "a", 2, 12).await.unwrap();
    activate(store, "a", 2, 13).await.unwrap();
    store.retire(&name("a"), 1, act(14)).await.unwrap();
    let target = deployment("bank");
    store
        .unbind(&name("a"), &target, false, act(15))
        .await
        .unwrap();

    let history = store.history(&name("a")).await.unwrap();
    assert!(history.iter().all(|event| event.actor == ACTOR));
    use EventKind::{Activated, Bound, Registered, Retired, Superseded, Unbound};
    let told: Vec<_> = history
        .iter()
        .map(|event| (event.kind, event.version, event.at, event.detail.as_deref()))
        .collect();
    let bank = Some("deployment bank");
    let expected = [
        (Registered, Some(1), 1001, None),
        (Registered, Some(2), 1002, None),
        (Activated, Some(1), 10, None),
        (Bound, None, 11, bank),
        (Superseded, Some(1), 12, None),
        (Activated, Some(2), 12, None),
        (Retired, Some(1), 14, None),
        (Unbound, None, 15, bank),
    ];
    assert_eq!(told, expected);
}

pub(crate) async fn bindings_hold_for_their_key_and_deployment(store: &dyn Store) {
    for set in ["a", "b"] {
        put(store, set, 1, set.as_bytes()).await.unwrap();
        activate(store, set, 1, 5).await.unwrap();
    }
    let (key, _) = new_key(store, "k", Role::Inference, 1).await;
    let (other, _) = new_key(store, "o", Role::Inference, 2).await;
    let of_key = BindingTarget::Key(key.id.clone());
    let of_bank = deployment("bank");
    // A deployment may be called like a key: the two must not be mixed up.
    let look_alike = deployment(key.id.as_str());

    let a_key = bind(store, "a", None, &of_key, 10).await.unwrap();
    let a_bank = bind(store, "a", Some(1), &of_bank, 11).await.unwrap();
    let b_bank = bind(store, "b", None, &of_bank, 12).await.unwrap();
    let b_like = bind(store, "b", None, &look_alike, 13).await.unwrap();
    let expected = Binding {
        ruleset: name("a"),
        version: Some(1),
        target: of_bank.clone(),
        observe: false,
        created_at: 11,
    };
    assert_eq!(a_bank, expected);

    let for_call = async |key, deployment: &str| {
        let rules = rules_for(store, key, deployment, &[]).await;
        let bound = rules.bound.into_iter().map(|(binding, set)| {
            assert_eq!(binding.ruleset, set.unwrap().name);
            binding
        });
        bound.collect::<Vec<_>>()
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

pub(crate) async fn a_binding_without_a_version_follows_the_active_one(store: &dyn Store) {
    for version in 1..=3 {
        put(store, "a", version, b"x").await.unwrap();
    }
    activate(store, "a", 1, 5).await.unwrap();
    bind(store, "a", None, &deployment("bank"), 6)
        .await
        .unwrap();
    let of_bank = async || {
        let rules = rules_for(store, None, "bank", &[]).await;
        rules.bound[0].1.as_ref().unwrap().version
    };
    assert_eq!(of_bank().await, 1, "3 is higher, and nobody activated it");
    activate(store, "a", 2, 7).await.unwrap();
    assert_eq!(of_bank().await, 2);
    activate(store, "a", 1, 8).await.unwrap();
    assert_eq!(of_bank().await, 1, "back again");
}

pub(crate) async fn a_call_may_name_rule_sets(store: &dyn Store) {
    for version in 1..=2 {
        put(store, "a", version, b"x").await.unwrap();
    }
    activate(store, "a", 1, 5).await.unwrap();
    let named = [("a", None), ("a", Some(2)), ("a", Some(9)), ("z", None)];
    let named = named.map(|(set, version)| NamedRuleSet {
        name: name(set),
        version,
    });
    let rules = rules_for(store, None, "bank", &named).await;
    assert_eq!(rules.bound, []);
    let found: Vec<_> = rules
        .named
        .iter()
        .map(|set| set.as_ref().map(|set| (set.version, set.state)))
        .collect();
    let active = Some((1, RuleSetState::Active));
    let registered = Some((2, RuleSetState::Registered));
    assert_eq!(found, [active, registered, None, None]);
}

pub(crate) async fn a_target_has_one_binding_of_a_rule_set(store: &dyn Store) {
    put(store, "a", 1, b"a").await.unwrap();
    activate(store, "a", 1, 5).await.unwrap();
    let target = deployment("bank");
    bind(store, "a", None, &target, 10).await.unwrap();
    let pinned = bind(store, "a", Some(1), &target, 11).await.unwrap();
    assert_eq!((pinned.version, pinned.created_at), (Some(1), 11));
    assert_eq!(store.all_bindings().await.unwrap(), [pinned]);

    let unbind = async || store.unbind(&name("a"), &target, false, act(12)).await;
    unbind().await.unwrap();
    assert_eq!(store.all_bindings().await.unwrap(), []);
    let error = unbind().await.unwrap_err();
    assert_missing(
        error,
        Missing::Binding {
            ruleset: name("a"),
            target: target.clone(),
        },
    );
}

pub(crate) async fn a_candidate_is_observed_beside_what_holds(store: &dyn Store) {
    for version in 1..=2 {
        put(store, "a", version, b"x").await.unwrap();
    }
    activate(store, "a", 1, 5).await.unwrap();
    let target = deployment("bank");
    let holds = bind(store, "a", None, &target, 10).await.unwrap();
    let error = bind(store, "a", Some(2), &target, 11).await.unwrap_err();
    let StoreError::NotActivated { state, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*state, RuleSetState::Registered);
    assert!(error.to_string().contains("activate it first"), "{error}");

    let candidate = NewBinding {
        observe: true,
        ..binding("a", Some(2), &target)
    };
    let observed = store.bind(candidate, act(12)).await.unwrap();
    assert!(observed.observe);
    let rules = rules_for(store, None, "bank", &[]).await;
    let versions: Vec<_> = rules
        .bound
        .iter()
        .map(|(binding, set)| (binding.observe, set.as_ref().unwrap().version))
        .collect();
    assert_eq!(versions, [(false, 1), (true, 2)]);
    let candidate = rules.bound[1].1.as_ref().unwrap();
    assert_eq!(candidate.in_force_since, Some(12));

    store
        .unbind(&name("a"), &target, true, act(13))
        .await
        .unwrap();
    assert_eq!(store.all_bindings().await.unwrap(), [holds]);
}

pub(crate) async fn a_binding_needs_both_its_ends(store: &dyn Store) {
    put(store, "a", 1, b"a").await.unwrap();
    put(store, "a", 4, b"a4").await.unwrap();
    let bank = deployment("bank");

    let error = bind(store, "z", None, &bank, 10).await.unwrap_err();
    assert_missing(error, Missing::RuleSet(name("z")));
    let error = bind(store, "a", None, &bank, 10).await.unwrap_err();
    assert_missing(error, Missing::ActiveVersion(name("a")));
    activate(store, "a", 4, 9).await.unwrap();
    let error = bind(store, "a", Some(2), &bank, 10).await.unwrap_err();
    assert_missing(
        error,
        Missing::Version {
            name: name("a"),
            version: 2,
            newest: 4,
        },
    );
    let target = BindingTarget::Key(unknown_key());
    let error = bind(store, "a", None, &target, 10).await.unwrap_err();
    assert_missing(error, Missing::Key(unknown_key()));
    assert_eq!(store.all_bindings().await.unwrap(), []);
}

pub(crate) async fn signers_are_trusted_once_and_revoked_for_ever(store: &dyn Store) {
    let ann = store.add_signer(signer('a'), 10).await.unwrap();
    assert_eq!((ann.created_at, ann.revoked_at), (10, None));
    let again = store.add_signer(signer('a'), 11).await.unwrap();
    assert_eq!(again, ann, "the same signer is left as it is");
    let bob = NewSigner {
        rulesets: Some(vec![name("a"), name("b")]),
        ..signer('b')
    };
    let bob = store.add_signer(bob, 12).await.unwrap();
    assert!(bob.may_sign(&name("b")) && !bob.may_sign(&name("c")));
    assert!(ann.may_sign(&name("c")));

    let other_role = NewSigner {
        role: SignerRole::Approver,
        ..signer('a')
    };
    let error = store.add_signer(other_role, 13).await.unwrap_err();
    assert!(matches!(error, StoreError::SignerExists { .. }), "{error}");

    let revoked = store.revoke_signer(&ann.id, false, 20).await.unwrap();
    assert_eq!((revoked.revoked_at, revoked.distrusted), (Some(20), false));
    let distrusted = store.revoke_signer(&ann.id, true, 30).await.unwrap();
    assert_eq!(
        (distrusted.revoked_at, distrusted.distrusted),
        (Some(20), true)
    );
    let mended = store.revoke_signer(&ann.id, false, 40).await.unwrap();
    assert!(mended.distrusted, "distrust stays");
    let error = store.add_signer(signer('a'), 50).await.unwrap_err();
    assert!(error.to_string().contains("revoked"), "{error}");
    assert_eq!(store.list_signers().await.unwrap(), [distrusted, bob]);
    let unknown = signer('c').id;
    let error = store.revoke_signer(&unknown, false, 1).await.unwrap_err();
    assert_missing(error, Missing::Signer(unknown));
}

pub(crate) async fn signatures_are_added_and_never_replaced(store: &dyn Store) {
    for who in ['a', 'b'] {
        store.add_signer(signer(who), 1).await.unwrap();
    }
    let put = async |who: &[(char, u8)], now| {
        let signatures = who.iter().map(|&(who, byte)| NewSignature {
            signer: signer(who).id,
            bytes: [byte; 64],
        });
        let new = NewRuleSet {
            signatures: signatures.collect(),
            ..new_ruleset("s", 1, b"x")
        };
        store.put_ruleset(new, act(now)).await
    };
    assert_eq!(put(&[('a', 1)], 10).await.unwrap(), Put::Added);
    assert_eq!(put(&[('a', 2)], 11).await.unwrap(), Put::Unchanged);
    assert_eq!(put(&[('a', 1), ('b', 3)], 12).await.unwrap(), Put::Signed);
    assert_eq!(put(&[], 13).await.unwrap(), Put::Unchanged);
    let error = put(&[('c', 4)], 14).await.unwrap_err();
    assert_missing(error, Missing::Signer(signer('c').id));

    let stored = store.ruleset(&name("s"), Some(1)).await.unwrap().unwrap();
    let signed = |who, byte, created_at| StoredSignature {
        signer: signer(who).id,
        bytes: [byte; 64],
        created_at,
    };
    assert_eq!(stored.signatures, [signed('a', 1, 10), signed('b', 3, 12)]);
    assert_eq!(store.list_rulesets().await.unwrap(), [stored]);
    let history = store.history(&name("s")).await.unwrap();
    let signed: Vec<_> = history
        .iter()
        .filter(|event| event.kind == EventKind::Signed)
        .map(|event| event.detail.as_deref().unwrap())
        .collect();
    assert_eq!(signed, [signer('a').id.as_str(), signer('b').id.as_str()]);
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

async fn rules_for(
    store: &dyn Store,
    key: Option<&KeyId>,
    deployment: &str,
    named: &[NamedRuleSet],
) -> RulesFor {
    let deployment = deployment.parse().unwrap();
    store.rules_for(key, &deployment, named).await.unwrap()
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
