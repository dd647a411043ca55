//! Putting versions into force, ending them, and telling what changed and when.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use portcullis_gate::{Rule, RuleSet};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use similar::TextDiff;

use super::{List, version_of};
use crate::api_client::ApiClient;
use crate::args::RuleSetName;
use crate::args::signing::{DiffArgs, HistoryArgs, VersionArgs};
use crate::output::{printable, table, utc};

pub(super) async fn activate(server: &ApiClient, args: &VersionArgs) -> Result<()> {
    let told = change(server, args, "activate").await?;
    args.output.show(&told, |_| {
        let (name, version) = (&args.ruleset.name, args.ruleset.version.unwrap_or_default());
        format!(
            "{name}@{version} is active: what is bound to {name} without a version follows it \
             from the next call on"
        )
    })
}

pub(super) async fn retire(server: &ApiClient, args: &VersionArgs) -> Result<()> {
    let told = change(server, args, "retire").await?;
    args.output.show(&told, |_| {
        let (name, version) = (&args.ruleset.name, args.ruleset.version.unwrap_or_default());
        format!("{name}@{version} is retired")
    })
}

async fn change(server: &ApiClient, args: &VersionArgs, verb: &str) -> Result<Value> {
    let (name, version) = version_of(&args.ruleset)?;
    let path = ["v1", "rulesets", name, "versions", &version, verb];
    server.post(&path, &json!({})).await
}

/// Something that happened to a rule set.
#[derive(Debug, Deserialize, Serialize)]
struct Event {
    event: String,
    version: Option<u32>,
    detail: Option<String>,
    actor: String,
    at: i64,
}

pub(super) async fn history(server: &ApiClient, args: &HistoryArgs) -> Result<()> {
    let path = ["v1", "rulesets", &args.name, "history"];
    let events = server.get::<List<Event>>(&path).await?.data;
    args.output.show(&events, |events| {
        let rows = events.iter().map(|event| {
            let version = event.version.map(|version| version.to_string());
            [
                utc(event.at),
                version.unwrap_or_else(|| "active".to_owned()),
                event.event.clone(),
                event.detail.clone().unwrap_or_default(),
                event.actor.clone(),
            ]
        });
        let if_empty = "nothing has happened to a rule set of this name";
        table(
            ["WHEN (UTC)", "VERSION", "WHAT", "WHO OR WHERE", "BY"],
            rows,
            if_empty,
        )
    })
}

/// What differs between two versions.
#[derive(Debug, Serialize)]
struct Difference {
    from: String,
    to: String,
    /// Ids of rules; nothing where this build cannot read one of the versions.
    rules: Option<RuleChanges>,
    /// Unified.
    text: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct RuleChanges {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

pub(super) async fn diff(server: &ApiClient, args: &DiffArgs) -> Result<()> {
    let before = source(server, &args.from).await?;
    let after = source(server, &args.to).await?;
    let difference = Difference {
        from: described(&args.from),
        to: described(&args.to),
        rules: rule_changes(&before, &after),
        text: TextDiff::from_lines(&before, &after)
            .unified_diff()
            .header(&described(&args.from), &described(&args.to))
            .to_string(),
    };
    args.output.show(&difference, describe)
}

async fn source(server: &ApiClient, ruleset: &RuleSetName) -> Result<String> {
    let (name, version) = version_of(ruleset)?;
    let path = ["v1", "rulesets", name, "versions", &version];
    let bytes = server.get_bytes(&path).await?;
    String::from_utf8(bytes).with_context(|| format!("{name}@{version} is not text"))
}

fn described(ruleset: &RuleSetName) -> String {
    let RuleSetName { name, version } = ruleset;
    format!("{name}@{}", version.unwrap_or_default())
}

fn rule_changes(before: &str, after: &str) -> Option<RuleChanges> {
    let before = RuleSet::load(before.as_bytes()).ok()?;
    let after = RuleSet::load(after.as_bytes()).ok()?;
    let (before, after) = (by_id(&before), by_id(&after));
    let only_in = |these: &BTreeMap<_, _>, those: &BTreeMap<&str, &Rule>| {
        let only = these.keys().filter(|id| !those.contains_key(**id));
        only.map(|id: &&str| (*id).to_owned()).collect()
    };
    let is_changed = |(id, rule): &(&&str, &&Rule)| {
        let other = after.get(**id);
        other.is_some_and(|other| other != *rule)
    };
    Some(RuleChanges {
        added: only_in(&after, &before),
        removed: only_in(&before, &after),
        changed: before
            .iter()
            .filter(is_changed)
            .map(|(id, _)| (*id).to_owned())
            .collect(),
    })
}

fn by_id(set: &RuleSet) -> BTreeMap<&str, &Rule> {
    set.rules().map(|rule| (&*rule.id, rule)).collect()
}

fn describe(difference: &Difference) -> String {
    let Difference {
        from,
        to,
        rules,
        text,
    } = difference;
    if text.is_empty() {
        return format!("{from} and {to} are the same");
    }
    let mut told = Vec::new();
    match rules {
        None => told.push("(this build cannot read both: rules are not compared)".to_owned()),
        Some(rules) => {
            let kinds = [
                ("added", &rules.added),
                ("removed", &rules.removed),
                ("changed", &rules.changed),
            ];
            let some = kinds.into_iter().filter(|(_, ids)| !ids.is_empty());
            told.extend(some.map(|(kind, ids)| format!("rules {kind}: {}", ids.join(", "))));
        }
    }
    told.extend(text.lines().map(printable));
    told.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rules: &[(&str, &str)]) -> String {
        let rule = |(id, phrase): &(&str, &str)| {
            format!("- {{id: {id}, why: w, phrases: [\"{phrase}\"], action: reject}}\n")
        };
        let test = |(id, _): &(&str, &str)| format!("- {{rule: {id}, should_pass: x}}\n");
        let rules_text: String = rules.iter().map(rule).collect();
        let tests: String = rules.iter().map(test).collect();
        format!("ruleset: s\nversion: 1\nmode: enforce\nrules:\n{rules_text}tests:\n{tests}")
    }

    #[test]
    fn rules_are_compared_by_what_they_say_not_by_where_they_stand() {
        let before = set(&[("a", "one"), ("b", "two"), ("c", "three")]);
        let after = set(&[("d", "four"), ("b", "2"), ("a", "one")]);
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let expected = RuleChanges {
            added: ids(&["d"]),
            removed: ids(&["c"]),
            changed: ids(&["b"]),
        };
        assert_eq!(rule_changes(&before, &after), Some(expected));
        assert_eq!(rule_changes(&before, "ruleset: ["), None);
    }
}
