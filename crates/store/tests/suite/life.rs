//! States, signers and history.

use portcullis_store::{
    EventKind, Missing, NewBinding, NewRuleSet, NewSignature, NewSigner, Put, RuleSetState,
    SignerRole, Store, StoreError, StoredSignature,
};

use super::{
    ACTOR, act, activate, assert_missing, bind, binding, deployment, name, new_ruleset, put, signer,
};

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
    assert_eq!(put(&[('b', 1)], 10).await.unwrap(), Put::Added);
    assert_eq!(put(&[('b', 2)], 10).await.unwrap(), Put::Unchanged);
    assert_eq!(put(&[('b', 1), ('a', 3)], 10).await.unwrap(), Put::Signed);
    assert_eq!(put(&[], 13).await.unwrap(), Put::Unchanged);
    let error = put(&[('c', 4)], 14).await.unwrap_err();
    assert_missing(error, Missing::Signer(signer('c').id));

    let stored = store.ruleset(&name("s"), Some(1)).await.unwrap().unwrap();
    let signed = |who, byte, created_at| StoredSignature {
        signer: signer(who).id,
        bytes: [byte; 64],
        created_at,
    };
    assert_eq!(stored.signatures, [signed('b', 1, 10), signed('a', 3, 10)]);
    assert_eq!(store.list_rulesets().await.unwrap(), [stored]);
    let history = store.history(&name("s")).await.unwrap();
    let signed: Vec<_> = history
        .iter()
        .filter(|event| event.kind == EventKind::Signed)
        .map(|event| event.detail.as_deref().unwrap())
        .collect();
    assert_eq!(signed, [signer('b').id.as_str(), signer('a').id.as_str()]);
}
