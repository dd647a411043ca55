//! Versions of rule sets: their bytes, signatures, states and history.

use sqlx::{SqliteConnection, query, query_scalar};

use super::work::Fault;
use super::{bindings, row};
use crate::{
    Act, EventKind, Missing, NewRuleSet, NewSignature, Put, RuleSetEvent, RuleSetName,
    RuleSetState, StoreError, StoredRuleSet, StoredSignature,
};

/// One version; without `version` the active one.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    name: &RuleSetName,
    version: Option<u32>,
) -> sqlx::Result<Option<StoredRuleSet>> {
    let found = query(
        "SELECT * FROM rulesets JOIN ruleset_states USING (name, version)
         WHERE name = ?1 AND (version = ?2 OR ?2 IS NULL AND state = 'active')",
    )
    .bind(name.as_str())
    .bind(version)
    .try_map(row::ruleset)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(mut found) = found else {
        return Ok(None);
    };
    found.signatures =
        query("SELECT * FROM ruleset_signatures WHERE name = ? AND version = ? ORDER BY rowid")
            .bind(found.name.as_str())
            .bind(found.version)
            .try_map(row::signature)
            .fetch_all(connection)
            .await?;
    Ok(Some(found))
}

/// All versions, by name, then version.
pub(super) async fn list(connection: &mut SqliteConnection) -> sqlx::Result<Vec<StoredRuleSet>> {
    let mut sets = query(
        "SELECT * FROM rulesets JOIN ruleset_states USING (name, version) ORDER BY name, version",
    )
    .try_map(row::ruleset)
    .fetch_all(&mut *connection)
    .await?;
    let signatures = query("SELECT * FROM ruleset_signatures ORDER BY rowid")
        .try_map(row::signature_of)
        .fetch_all(connection)
        .await?;
    for ((name, version), signature) in signatures {
        let of = |set: &StoredRuleSet| (&set.name, set.version).cmp(&(&name, version));
        if let Ok(found) = sets.binary_search_by(of) {
            sets[found].signatures.push(signature);
        }
    }
    Ok(sets)
}

/// Adds a version, or signatures to one that is there with the same bytes.
pub(super) async fn put(
    connection: &mut SqliteConnection,
    new: NewRuleSet,
    act: Act<'_>,
) -> Result<Put, Fault> {
    let Some(stored) = find(connection, &new.name, Some(new.version)).await? else {
        insert(connection, &new, act).await?;
        sign(connection, &new, &[], act).await?;
        return Ok(Put::Added);
    };
    if stored.digest != new.digest || stored.source != new.source {
        return Err(conflict(connection, new, stored).await?.into());
    }
    match sign(connection, &new, &stored.signatures, act).await? {
        0 => Ok(Put::Unchanged),
        _ => Ok(Put::Signed),
    }
}

async fn conflict(
    connection: &mut SqliteConnection,
    new: NewRuleSet,
    stored: StoredRuleSet,
) -> sqlx::Result<StoreError> {
    let newest = newest_version(connection, &new.name).await?;
    Ok(StoreError::VersionExists {
        name: new.name,
        version: new.version,
        newest: newest.unwrap_or(new.version),
        stored_digest: stored.digest,
        given_digest: new.digest,
    })
}

async fn insert(
    connection: &mut SqliteConnection,
    new: &NewRuleSet,
    act: Act<'_>,
) -> sqlx::Result<()> {
    query(
        "INSERT INTO rulesets (name, version, digest, source, created_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(new.name.as_str())
    .bind(new.version)
    .bind(new.digest.as_str())
    .bind(new.source.as_slice())
    .bind(act.now)
    .execute(&mut *connection)
    .await?;
    query("INSERT INTO ruleset_states (name, version, state) VALUES (?, ?, 'registered')")
        .bind(new.name.as_str())
        .bind(new.version)
        .execute(&mut *connection)
        .await?;
    let event = Event::of(&new.name, new.version, EventKind::Registered);
    note(connection, event, act).await
}

/// Adds the signatures that are not there; returns how many.
async fn sign(
    connection: &mut SqliteConnection,
    new: &NewRuleSet,
    there: &[StoredSignature],
    act: Act<'_>,
) -> Result<usize, Fault> {
    let mut added = 0;
    for signature in &new.signatures {
        if there.iter().any(|other| other.signer == signature.signer) {
            continue;
        }
        add_signature(connection, new, signature, act).await?;
        added += 1;
    }
    Ok(added)
}

async fn add_signature(
    connection: &mut SqliteConnection,
    new: &NewRuleSet,
    signature: &NewSignature,
    act: Act<'_>,
) -> Result<(), Fault> {
    let signer = &signature.signer;
    let known: bool = query_scalar("SELECT EXISTS (SELECT 1 FROM signers WHERE id = ?)")
        .bind(signer.as_str())
        .fetch_one(&mut *connection)
        .await?;
    if !known {
        return Err(Missing::Signer(signer.clone()).into());
    }
    query(
        "INSERT INTO ruleset_signatures (name, version, signer, signature, created_at)
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(new.name.as_str())
    .bind(new.version)
    .bind(signer.as_str())
    .bind(signature.bytes.as_slice())
    .bind(act.now)
    .execute(&mut *connection)
    .await?;
    let event = Event {
        detail: Some(signer.to_string()),
        ..Event::of(&new.name, new.version, EventKind::Signed)
    };
    Ok(note(connection, event, act).await?)
}

/// Makes a version the active one.
pub(super) async fn activate(
    connection: &mut SqliteConnection,
    name: &RuleSetName,
    version: u32,
    act: Act<'_>,
) -> Result<(), Fault> {
    match find_or_missing(connection, name, version).await? {
        RuleSetState::Active => return Ok(()),
        RuleSetState::Retired => return Err(retired(name, version).into()),
        RuleSetState::Registered | RuleSetState::Superseded => {}
    }
    if let Some(before) = find(connection, name, None).await? {
        set_state(connection, name, before.version, RuleSetState::Superseded).await?;
        let event = Event::of(name, before.version, EventKind::Superseded);
        note(connection, event, act).await?;
    }
    set_state(connection, name, version, RuleSetState::Active).await?;
    mark_in_force(connection, name, version, act.now).await?;
    let event = Event::of(name, version, EventKind::Activated);
    Ok(note(connection, event, act).await?)
}

/// Ends the life of a version.
pub(super) async fn retire(
    connection: &mut SqliteConnection,
    name: &RuleSetName,
    version: u32,
    act: Act<'_>,
) -> Result<(), Fault> {
    let state = find_or_missing(connection, name, version).await?;
    if state == RuleSetState::Retired {
        return Ok(());
    }
    let comes_to_it = |bound: Option<u32>| match bound {
        Some(bound) => bound == version,
        None => state == RuleSetState::Active,
    };
    let bindings = bindings::of_ruleset(connection, name).await?;
    let bound = bindings.into_iter().filter(|b| comes_to_it(b.version));
    let targets: Vec<_> = bound.map(|binding| binding.target).collect();
    if !targets.is_empty() {
        return Err(Fault::Refused(StoreError::Bound {
            ruleset: name.clone(),
            version,
            targets,
        }));
    }
    set_state(connection, name, version, RuleSetState::Retired).await?;
    let event = Event::of(name, version, EventKind::Retired);
    Ok(note(connection, event, act).await?)
}

pub(super) fn retired(name: &RuleSetName, version: u32) -> StoreError {
    StoreError::Retired {
        ruleset: name.clone(),
        version,
    }
}

/// The state of a version.
pub(super) async fn find_or_missing(
    connection: &mut SqliteConnection,
    name: &RuleSetName,
    version: u32,
) -> Result<RuleSetState, Fault> {
    let state = query("SELECT state FROM ruleset_states WHERE name = ? AND version = ?")
        .bind(name.as_str())
        .bind(version)
        .try_map(row::state)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(state) = state {
        return Ok(state);
    }
    Err(match newest_version(connection, name).await? {
        None => Missing::RuleSet(name.clone()),
        Some(newest) => Missing::Version {
            name: name.clone(),
            version,
            newest,
        },
    }
    .into())
}

pub(super) async fn newest_version(
    connection: &mut SqliteConnection,
    name: &RuleSetName,
) -> sqlx::Result<Option<u32>> {
    query_scalar("SELECT max(version) FROM rulesets WHERE name = ?")
        .bind(name.as_str())
        .fetch_one(connection)
        .await
}

async fn set_state(
    connection: &mut SqliteConnection,
    name: &RuleSetName,
    version: u32,
    state: RuleSetState,
) -> sqlx::Result<()> {
    query("UPDATE ruleset_states SET state = ? WHERE name = ? AND version = ?")
        .bind(state.as_str())
        .bind(name.as_str())
        .bind(version)
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes when a version was first activated or bound.
pub(super) async fn mark_in_force(
    connection: &mut SqliteConnection,
    name: &RuleSetName,
    version: u32,
    now: i64,
) -> sqlx::Result<()> {
    query(
        "UPDATE ruleset_states SET in_force_since = coalesce(in_force_since, ?)
         WHERE name = ? AND version = ?",
    )
    .bind(now)
    .bind(name.as_str())
    .bind(version)
    .execute(connection)
    .await?;
    Ok(())
}

/// Something to be remembered.
pub(super) struct Event<'a> {
    pub(super) name: &'a RuleSetName,
    pub(super) version: Option<u32>,
    pub(super) kind: EventKind,
    pub(super) detail: Option<String>,
}

impl<'a> Event<'a> {
    fn of(name: &'a RuleSetName, version: u32, kind: EventKind) -> Self {
        Self {
            name,
            version: Some(version),
            kind,
            detail: None,
        }
    }
}

pub(super) async fn note(
    connection: &mut SqliteConnection,
    event: Event<'_>,
    act: Act<'_>,
) -> sqlx::Result<()> {
    query(
        "INSERT INTO ruleset_history (name, version, event, detail, actor, at)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(event.name.as_str())
    .bind(event.version)
    .bind(event.kind.as_str())
    .bind(event.detail)
    .bind(act.actor)
    .bind(act.now)
    .execute(connection)
    .await?;
    Ok(())
}

/// What happened to a rule set, oldest first.
pub(super) async fn history(
    connection: &mut SqliteConnection,
    name: &RuleSetName,
) -> sqlx::Result<Vec<RuleSetEvent>> {
    query("SELECT * FROM ruleset_history WHERE name = ? ORDER BY id")
        .bind(name.as_str())
        .try_map(row::event)
        .fetch_all(connection)
        .await
}
