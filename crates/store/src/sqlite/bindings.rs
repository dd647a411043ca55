//! Which rule sets hold for whom, and which are observed there.

use sqlx::{SqliteConnection, query, query_scalar};

use super::rulesets::{self, Event, mark_in_force};
use super::work::Fault;
use super::{row, signers};
use crate::{
    Act, Binding, BindingTarget, DeploymentName, EventKind, KeyId, Missing, NamedRuleSet,
    NewBinding, RuleSetName, RuleSetState, RulesFor, StoreError,
};

pub(super) async fn bind(
    connection: &mut SqliteConnection,
    new: &NewBinding,
    act: Act<'_>,
) -> Result<Binding, Fault> {
    check_version(connection, new).await?;
    check_target(connection, &new.target).await?;
    let binding = upsert(connection, new, act.now).await?;
    if let Some(version) = new.version {
        mark_in_force(connection, &new.ruleset, version, act.now).await?;
    }
    let event = Event {
        name: &new.ruleset,
        version: new.version,
        kind: EventKind::Bound,
        detail: Some(described(&new.target, new.observe)),
    };
    rulesets::note(connection, event, act).await?;
    Ok(binding)
}

/// What holds was activated; what is only observed need not be, for it changes nothing.
async fn check_version(connection: &mut SqliteConnection, new: &NewBinding) -> Result<(), Fault> {
    let name = &new.ruleset;
    let Some(version) = new.version else {
        return check_active(connection, name).await;
    };
    let state = rulesets::find_or_missing(connection, name, version).await?;
    match (state, new.observe) {
        (RuleSetState::Retired, _) => Err(rulesets::retired(name, version).into()),
        (RuleSetState::Registered, false) => Err(Fault::Refused(StoreError::NotActivated {
            ruleset: name.clone(),
            version,
            state,
        })),
        _ => Ok(()),
    }
}

async fn check_active(connection: &mut SqliteConnection, name: &RuleSetName) -> Result<(), Fault> {
    if rulesets::find(connection, name, None).await?.is_some() {
        return Ok(());
    }
    Err(match rulesets::newest_version(connection, name).await? {
        None => Missing::RuleSet(name.clone()),
        Some(_) => Missing::ActiveVersion(name.clone()),
    }
    .into())
}

async fn check_target(
    connection: &mut SqliteConnection,
    target: &BindingTarget,
) -> Result<(), Fault> {
    let BindingTarget::Key(id) = target else {
        return Ok(());
    };
    let there: bool = query_scalar("SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = ?)")
        .bind(id.as_str())
        .fetch_one(connection)
        .await?;
    match there {
        true => Ok(()),
        false => Err(Missing::Key(id.clone()).into()),
    }
}

async fn upsert(
    connection: &mut SqliteConnection,
    new: &NewBinding,
    now: i64,
) -> sqlx::Result<Binding> {
    let (kind, id) = row::target_columns(&new.target);
    query(
        "INSERT INTO bindings (ruleset, version, target_kind, target, observe, created_at)
         VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (target_kind, target, ruleset, observe)
         DO UPDATE SET version = excluded.version, created_at = excluded.created_at
         RETURNING *",
    )
    .bind(new.ruleset.as_str())
    .bind(new.version)
    .bind(kind)
    .bind(id)
    .bind(new.observe)
    .bind(now)
    .try_map(row::binding)
    .fetch_one(connection)
    .await
}

pub(super) async fn unbind(
    connection: &mut SqliteConnection,
    ruleset: &RuleSetName,
    target: &BindingTarget,
    observe: bool,
    act: Act<'_>,
) -> Result<(), Fault> {
    let (kind, id) = row::target_columns(target);
    let gone = query(
        "DELETE FROM bindings WHERE target_kind = ? AND target = ? AND ruleset = ? AND observe = ?
         RETURNING *",
    )
    .bind(kind)
    .bind(id)
    .bind(ruleset.as_str())
    .bind(observe)
    .try_map(row::binding)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(gone) = gone else {
        return Err(Fault::from(Missing::Binding {
            ruleset: ruleset.clone(),
            target: target.clone(),
        }));
    };
    let event = Event {
        name: ruleset,
        version: gone.version,
        kind: EventKind::Unbound,
        detail: Some(described(target, observe)),
    };
    Ok(rulesets::note(connection, event, act).await?)
}

fn described(target: &BindingTarget, observe: bool) -> String {
    match observe {
        true => format!("{target}, observed"),
        false => target.to_string(),
    }
}

/// The bindings of one rule set, by target.
pub(super) async fn of_ruleset(
    connection: &mut SqliteConnection,
    ruleset: &RuleSetName,
) -> sqlx::Result<Vec<Binding>> {
    query("SELECT * FROM bindings WHERE ruleset = ? ORDER BY target_kind, target, observe")
        .bind(ruleset.as_str())
        .try_map(row::binding)
        .fetch_all(connection)
        .await
}

/// All bindings, by rule set, then target.
pub(super) async fn all(connection: &mut SqliteConnection) -> sqlx::Result<Vec<Binding>> {
    query("SELECT * FROM bindings ORDER BY ruleset, target_kind, target, observe")
        .try_map(row::binding)
        .fetch_all(connection)
        .await
}

/// What holds for a call. In one transaction, so that it is the truth of one moment.
pub(super) async fn rules_for(
    connection: &mut SqliteConnection,
    key: Option<&KeyId>,
    deployment: &DeploymentName,
    named: &[NamedRuleSet],
) -> sqlx::Result<RulesFor> {
    let mut rules = RulesFor {
        bound: Vec::new(),
        named: Vec::new(),
        signers: Vec::new(),
    };
    for binding in of_call(connection, key, deployment).await? {
        let set = rulesets::find(connection, &binding.ruleset, binding.version).await?;
        rules.bound.push((binding, set));
    }
    for NamedRuleSet { name, version } in named {
        let set = rulesets::find(connection, name, *version).await?;
        rules.named.push(set);
    }
    if !(rules.bound.is_empty() && rules.named.is_empty()) {
        rules.signers = signers::list(connection).await?;
    }
    Ok(rules)
}

async fn of_call(
    connection: &mut SqliteConnection,
    key: Option<&KeyId>,
    deployment: &DeploymentName,
) -> sqlx::Result<Vec<Binding>> {
    // Without a key the parameter is NULL, which equals no target.
    query(
        "SELECT * FROM bindings
         WHERE (target_kind = 'key' AND target = ?)
            OR (target_kind = 'deployment' AND target = ?)
         ORDER BY ruleset, target_kind, observe",
    )
    .bind(key.map(KeyId::as_str))
    .bind(deployment.as_str())
    .try_map(row::binding)
    .fetch_all(connection)
    .await
}
