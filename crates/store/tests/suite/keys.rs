//! Keys: who finds them, and what they may do until when.

use std::num::NonZeroU64;

use portcullis_store::{ApiKey, KeyChange, KeyLimits, Missing, NewKey, Role, Store, StoreError};

use super::{assert_missing, new_key, unknown_key};

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
    assert_eq!(store.revoke_key(&key.id, true, 50).await.unwrap(), revoked);
    assert_eq!(store.find_key(secret.expose()).await.unwrap(), None);
    assert_eq!(
        store.find_key(other_secret.expose()).await.unwrap(),
        Some(other.clone())
    );

    // The first time stays.
    assert_eq!(store.revoke_key(&key.id, true, 60).await.unwrap(), revoked);
    assert_eq!(store.list_keys().await.unwrap(), [revoked, other]);

    let unknown = unknown_key();
    let error = store.revoke_key(&unknown, true, 70).await.unwrap_err();
    assert_missing(error, Missing::Key(unknown));
}

pub(crate) async fn limits_are_kept_and_changed_one_by_one(store: &dyn Store) {
    let new = NewKey {
        expires_at: Some(500),
        limits: limits(1, 2, 3, 4),
        ..NewKey::new("k".parse().unwrap(), Role::Inference)
    };
    let (mut key, secret) = store.create_key(new, 10).await.unwrap();
    assert_eq!(
        (key.expires_at, key.limits),
        (Some(500), limits(1, 2, 3, 4))
    );
    let unchanged = store
        .update_key(&key.id, KeyChange::default())
        .await
        .unwrap();
    assert_eq!(unchanged, key);

    let change = KeyChange {
        expires_at: Some(Some(900)),
        tokens_per_minute: Some(None),
        tokens_per_day: Some(NonZeroU64::new(30)),
        ..KeyChange::default()
    };
    key.expires_at = Some(900);
    key.limits.tokens_per_minute = None;
    key.limits.tokens_per_day = NonZeroU64::new(30);
    assert_eq!(store.update_key(&key.id, change).await.unwrap(), key);
    assert_eq!(store.list_keys().await.unwrap(), [key.clone()]);

    let for_ever = KeyChange {
        expires_at: Some(None),
        requests_per_minute: Some(None),
        max_concurrent_requests: Some(NonZeroU64::new(40)),
        ..KeyChange::default()
    };
    key.expires_at = None;
    key.limits.requests_per_minute = None;
    key.limits.max_concurrent_requests = NonZeroU64::new(40);
    assert_eq!(store.update_key(&key.id, for_ever).await.unwrap(), key);
    let found = store.find_key(secret.expose()).await.unwrap();
    assert_eq!(found, Some(key));

    let unknown = unknown_key();
    let error = store.update_key(&unknown, KeyChange::default()).await;
    assert_missing(error.unwrap_err(), Missing::Key(unknown));
}

pub(crate) async fn a_key_opens_nothing_from_the_moment_it_expires(store: &dyn Store) {
    let new = NewKey {
        expires_at: Some(500),
        ..NewKey::new("k".parse().unwrap(), Role::Inference)
    };
    let (_, secret) = store.create_key(new, 10).await.unwrap();
    // Found all the same, so that its holder can be told why it does not work.
    let key = store.find_key(secret.expose()).await.unwrap().unwrap();
    assert!(key.is_usable(499) && !key.is_expired(499));
    assert!(!key.is_usable(500) && key.is_expired(500));
}

pub(crate) async fn a_revoked_key_does_not_change(store: &dyn Store) {
    let (key, _) = new_key(store, "k", Role::Inference, 1).await;
    let revoked = store.revoke_key(&key.id, false, 2).await.unwrap();
    assert!(!revoked.is_usable(3));
    let change = KeyChange {
        expires_at: Some(Some(900)),
        ..KeyChange::default()
    };
    let error = store.update_key(&key.id, change).await.unwrap_err();
    assert!(matches!(error, StoreError::KeyRevoked(id) if id == key.id));
    assert_eq!(store.list_keys().await.unwrap(), [revoked]);
}

pub(crate) async fn the_last_admin_key_is_revoked_only_on_purpose(store: &dyn Store) {
    let (first, _) = new_key(store, "first", Role::Admin, 1).await;
    let (second, _) = new_key(store, "second", Role::Admin, 2).await;
    let (author, _) = new_key(store, "author", Role::Author, 3).await;
    let brief = NewKey {
        expires_at: Some(50),
        ..NewKey::new("brief".parse().unwrap(), Role::Admin)
    };
    let (brief, _) = store.create_key(brief, 4).await.unwrap();
    let revoke = async |key: &ApiKey, even_the_last, now| {
        store.revoke_key(&key.id, even_the_last, now).await
    };

    // While another can administer, and after that no more: neither the revoked nor the expired
    // one counts, nor a key with another role.
    revoke(&first, false, 40).await.unwrap();
    revoke(&author, false, 50).await.unwrap();
    let error = revoke(&second, false, 50).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::LastAdmin(id) if *id == second.id),
        "{error}"
    );
    assert_eq!(
        store.list_keys().await.unwrap()[1],
        second,
        "it is untouched"
    );

    // What opens nothing any more is nobody's last.
    revoke(&first, false, 60).await.unwrap();
    revoke(&brief, false, 60).await.unwrap();
    let revoked = revoke(&second, true, 70).await.unwrap();
    assert_eq!(revoked.revoked_at, Some(70));
}

fn limits(
    requests_per_minute: u64,
    tokens_per_minute: u64,
    tokens_per_day: u64,
    max_concurrent_requests: u64,
) -> KeyLimits {
    KeyLimits {
        requests_per_minute: NonZeroU64::new(requests_per_minute),
        tokens_per_minute: NonZeroU64::new(tokens_per_minute),
        tokens_per_day: NonZeroU64::new(tokens_per_day),
        max_concurrent_requests: NonZeroU64::new(max_concurrent_requests),
    }
}
