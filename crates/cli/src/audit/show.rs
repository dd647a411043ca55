//! `portcullis audit show`: records for people.

use anyhow::{Result, anyhow};
use portcullis_ledger::{
    CallEnd, Checks, Closed, EntryProof, Opened, Predicate, RecordId, RecordProof, peek,
};

use super::source::{Listed, Source};
use crate::args::audit::ShowArgs;
use crate::env::Environment;
use crate::output::{printable, table};

pub(super) async fn run(args: &ShowArgs, environment: &Environment) -> Result<()> {
    let source = Source::find(&args.log, environment).await?;
    match &args.record {
        Some(id) => {
            let id = RecordId::parse(id).ok_or_else(|| anyhow!("{id:?} is no record id"))?;
            let proof = source.record(&id).await?;
            args.output.show(&proof, describe)
        }
        None => {
            let newest = source.newest(args.limit).await?;
            args.output.show(&newest, |newest| list(newest))
        }
    }
}

fn list(records: &[Listed]) -> String {
    let rows = records.iter().map(|record| {
        [
            record.id.clone(),
            record.opened_at.to_string(),
            record.outcome.clone(),
            record.rulesets.join(" "),
            record.usage.released.to_string(),
            record.attempts.to_string(),
        ]
    });
    table(
        [
            "RECORD",
            "OPENED",
            "OUTCOME",
            "RULE SETS",
            "TOKENS",
            "ATTEMPTS",
        ],
        rows,
        "no records yet; every call makes one",
    )
}

fn describe(proof: &RecordProof) -> String {
    let mut lines = vec![line("record", &proof.record_id)];
    match said(&proof.opened) {
        Some(Predicate::Opened(opened)) => describe_opened(&opened, &mut lines),
        _ => lines.push(line("opened", "cannot be read")),
    }
    match proof.closed.as_ref().map(said) {
        Some(Some(Predicate::Closed(closed))) => describe_closed(&closed, &mut lines),
        Some(_) => lines.push(line("closed", "cannot be read")),
        None => lines.push(line("closed", "not yet")),
    }
    let entries = [
        Some(proof.opened.index),
        proof.closed.as_ref().map(|it| it.index),
    ];
    let entries: Vec<_> = entries.iter().flatten().map(u64::to_string).collect();
    lines.push(line("entries", entries.join(" and ")));
    lines.push(
        "This is what the record says; `portcullis audit verify` says what it is worth.".into(),
    );
    lines.join("\n")
}

fn said(entry: &EntryProof) -> Option<Predicate> {
    let bytes = serde_json::to_vec(&entry.envelope).ok()?;
    Some(peek(&bytes).ok()?.predicate)
}

fn describe_opened(opened: &Opened, lines: &mut Vec<String>) {
    let Opened {
        head,
        opened_at,
        call,
    } = opened;
    lines.push(line("opened", opened_at));
    lines.push(line(
        "request",
        format!(
            "{} {}",
            call.endpoint,
            call.request_id
                .as_deref()
                .unwrap_or("(named by the client)")
        ),
    ));
    let key = head.key_id_hash.as_deref().unwrap_or("none");
    lines.push(line(
        "key",
        format!("sha256:{key}, call {} of it", head.seq + 1),
    ));
    lines.push(line(
        "model",
        format!("{} sha256:{}", call.deployment, call.digests.model_digest),
    ));
    lines.push(line("server", &call.engine_build));
    for set in &call.rulesets {
        let text = format!(
            "{}@{} {}, {}, signed by {}",
            set.name,
            set.version,
            set.digest,
            set.mode,
            signers(&set.signers)
        );
        lines.push(line("rule set", text));
    }
    let drawn = &call.sampling;
    let text = format!(
        "temperature {}, top_p {}, seed {}",
        drawn.temperature,
        drawn.top_p,
        drawn.seeds.join(" ")
    );
    lines.push(line("sampling", text));
}

/// The beginning of each key's id.
fn signers(ids: &[String]) -> String {
    let ids: Vec<_> = ids.iter().map(|id| id.get(..16).unwrap_or(id)).collect();
    match ids.is_empty() {
        true => "nobody".to_owned(),
        false => ids.join(" and "),
    }
}

fn describe_closed(closed: &Closed, lines: &mut Vec<String>) {
    let end: &CallEnd = &closed.end;
    lines.push(line(
        "closed",
        format!("{}, {}", closed.closed_at, end.outcome),
    ));
    if let Some(by) = &end.refused_by {
        let rule = by.rule.as_deref().unwrap_or("the rule set itself");
        lines.push(line(
            "refused",
            format!("by {}@{}, {rule}", by.ruleset, by.version),
        ));
    }
    for (n, choice) in end.choices.iter().enumerate() {
        let reason = choice.finish_reason.as_deref().unwrap_or("not told");
        let text = format!("{n}: {} bytes released, {reason}", choice.released_bytes);
        lines.push(line("choice", text));
    }
    lines.extend(
        end.checks
            .iter()
            .map(|checks| line("checks", describe_checks(checks))),
    );
    for found in &end.findings {
        let (place, action) = (&found.place, word(&found.action));
        let whose = match place.input {
            Some(input) => format!("text {input} of the prompt"),
            None => format!("choice {}", place.choice.unwrap_or(0)),
        };
        let text = format!(
            "{}@{} {}: {action}, {whose}, bytes {} to {}, attempt {}",
            found.ruleset, found.version, found.rule, place.start, place.end, place.attempt
        );
        lines.push(line("found", text));
    }
    if let Some(resampling) = &end.resampling {
        lines.push(line(
            "resampled",
            format!("{} times: {}", resampling.attempts, word(&resampling.claim)),
        ));
    }
    let usage = &end.usage;
    let text = format!(
        "{} of the prompt ({} cached), {} released, {} discarded",
        usage.prompt, usage.cached, usage.released, usage.discarded
    );
    lines.push(line("tokens", text));
}

/// `demo-bank@1 output: 3 pass, 1 fail (no-guarantee)`
fn describe_checks(checks: &Checks) -> String {
    let passed = checks.pass.len() as u64 + checks.pass_unlisted;
    let mut parts = vec![format!("{passed} pass")];
    let unlisted = [
        (checks.fail_unlisted, "fail or error"),
        (checks.not_run_unlisted, "not run"),
    ];
    let unlisted = unlisted.iter().filter(|(number, _)| *number > 0);
    parts.extend(unlisted.map(|(number, status)| format!("{number} {status} that are not listed")));
    for (status, rules) in [
        ("fail", &checks.fail),
        ("error", &checks.error),
        ("not run", &checks.not_run),
    ] {
        if !rules.is_empty() {
            parts.push(format!("{} {status} ({})", rules.len(), rules.join(", ")));
        }
    }
    let (ruleset, version, on) = (&checks.ruleset, checks.version, word(&checks.on));
    format!("{ruleset}@{version} {on}: {}", parts.join(", "))
}

/// As the record writes it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn line(about: &str, text: impl ToString) -> String {
    format!("{about:<10} {}", printable(text.to_string()))
}
