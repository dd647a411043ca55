//! What holds for whom.

use portcullis_store::{
    Binding, BindingTarget, KeyId, Missing, NamedRuleSet, NewBinding, Role, RuleSetState, RulesFor,
    Store, StoreError,
};

use super::{
    act, activate, assert_missing, bind, binding, deployment, name, new_key, put, unknown_key,
};

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

async fn rules_for(
    store: &dyn Store,
    key: Option<&KeyId>,
    deployment: &str,
    named: &[NamedRuleSet],
) -> RulesFor {
    let deployment = deployment.parse().unwrap();
    store.rules_for(key, &deployment, named).await.unwrap()
}
