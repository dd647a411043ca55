//! `portcullis audit verify`: what an auditor asks of a log, without a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use portcullis_ledger::{
    Audit, CHECKPOINT_BYTES_MAX, Export, Fault, KeyKind, KeyUse, LogReport, RecordProof,
    RecordReport, Remark, TrustedKeys, read_text_bounded, verify_record,
};
use portcullis_sign::PublicKey;
use portcullis_store::LEDGER_FILE;
use serde::Serialize;
use serde_json::Value;

use super::source::Source;
use crate::args::audit::AuditVerifyArgs;
use crate::output::printable;

/// Two entries and the way to the root, and what a server tells besides.
const RECORD_BYTES_MAX: usize = 4 << 20;

/// A key in PEM, and what people write around it.
const KEY_BYTES_MAX: usize = 64 << 10;

pub(super) async fn run(args: &AuditVerifyArgs) -> Result<ExitCode> {
    let keys = TrustedKeys::pinned(read_keys(&args.record_keys)?, read_keys(&args.log_keys)?);
    let is_sound = match (args.path.is_dir(), args.path.join(LEDGER_FILE).exists()) {
        (true, true) => verify_data_dir(args, &keys).await?,
        (true, false) => verify_export(args, &keys)?,
        (false, _) => verify_one(args, &keys)?,
    };
    Ok(match is_sound {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// A report as programs read it.
#[derive(Serialize)]
struct Told<R> {
    /// As the exit code says.
    sound: bool,
    #[serde(flatten)]
    report: R,
}

/// The log where a server writes it.
async fn verify_data_dir(args: &AuditVerifyArgs, pinned: &TrustedKeys) -> Result<bool> {
    let source = Source::in_directory(&args.path).await?;
    let (checkpoint, keys) = source.checkpoint(pinned).await?;
    let mut audit = Audit::new(&checkpoint.note, &keys);
    for path in &args.witnesses {
        audit.witnessed(&read(path, CHECKPOINT_BYTES_MAX)?);
    }
    source
        .each_entry(checkpoint.size, |entry| {
            audit.entry(entry);
            Ok(())
        })
        .await?;
    conclude(args, audit.finish())
}

fn verify_export(args: &AuditVerifyArgs, keys: &TrustedKeys) -> Result<bool> {
    let witnesses = args
        .witnesses
        .iter()
        .map(|path| read(path, CHECKPOINT_BYTES_MAX));
    let witnesses = witnesses.collect::<Result<Vec<_>>>()?;
    conclude(args, Export::open(&args.path)?.verify(keys, &witnesses))
}

fn conclude(args: &AuditVerifyArgs, report: LogReport) -> Result<bool> {
    let sound = report.is_sound();
    let told = Told { sound, report };
    args.output.show(&told, |told| describe_log(&told.report))?;
    Ok(sound)
}

fn verify_one(args: &AuditVerifyArgs, keys: &TrustedKeys) -> Result<bool> {
    let place = args.path.display();
    let json = read(&args.path, RECORD_BYTES_MAX)?;
    let proof = read_record(&json)
        .with_context(|| format!("{place} is neither the folder of an export nor one record"))?;
    for (kind, flag) in [
        (KeyKind::Record, "--record-key"),
        (KeyKind::Log, "--log-key"),
    ] {
        if keys.of(kind).is_empty() {
            bail!("a record has no keys with it; give the operator's with {flag} PEM");
        }
    }
    if !args.witnesses.is_empty() {
        bail!("one record does not show how its log began; --witness needs an export");
    }
    let report = verify_record(&proof, keys);
    // Whoever would hide how a call ended, takes the end out and leaves all else as it is.
    let sound = report.is_sound() && (report.closed.is_some() || args.allow_open);
    let told = Told { sound, report };
    args.output
        .show(&told, |told| describe_record(&told.report))?;
    Ok(sound)
}

/// A record as it is exported, or as a server answers it.
fn read_record(json: &str) -> serde_json::Result<RecordProof> {
    let mut value: Value = serde_json::from_str(json)?;
    let proof = value.get_mut("proof").map(Value::take);
    serde_json::from_value(proof.unwrap_or(value))
}

pub(super) fn read_keys(paths: &[PathBuf]) -> Result<Vec<PublicKey>> {
    let keys = paths.iter().map(|path| {
        let pem = read(path, KEY_BYTES_MAX)?;
        PublicKey::from_pem(&pem).with_context(|| format!("{} cannot be used", path.display()))
    });
    keys.collect()
}

fn read(path: &Path, bytes_max: usize) -> Result<String> {
    read_text_bounded(path, bytes_max).with_context(|| format!("{} cannot be read", path.display()))
}

fn describe_log(report: &LogReport) -> String {
    let mut lines = Lines::default();
    let origin = report.origin.as_deref().unwrap_or("not known");
    lines.add("log", origin);
    lines.add(
        "entries",
        format!("{}, root {}", report.entries, report.root),
    );
    if let (Some(first), Some(last)) = (report.first_at, report.last_at) {
        lines.add("time", format!("{first} to {last}"));
    }
    lines.add("calls", calls(report));
    for set in &report.rulesets {
        let (name, version, digest) = (&set.name, set.version, &set.digest);
        let calls = set.calls;
        lines.add(
            "rule set",
            format!("{name}@{version} {digest}, calls: {calls}"),
        );
    }
    lines.conclude(
        &report.keys,
        &report.remarks,
        &report.faults,
        report.faults_unlisted,
        verdict(&report.remarks),
    )
}

/// `5: 2 finished, 1 crashed, 1 under way`
fn calls(report: &LogReport) -> String {
    let ended = report.outcomes.iter();
    let ended = ended.map(|(outcome, calls)| format!("{calls} {outcome}"));
    let under_way = format!("{} under way", report.under_way);
    let parts: Vec<_> = ended.chain([under_way]).collect();
    format!("{}: {}", report.calls, parts.join(", "))
}

fn describe_record(report: &RecordReport) -> String {
    let mut lines = Lines::default();
    lines.add("record", report.record_id.as_str());
    lines.add("log", report.origin.as_deref().unwrap_or("not known"));
    if let Some(opened) = &report.opened {
        lines.add("opened", opened.opened_at.to_string());
        for set in &opened.call.rulesets {
            let (name, version, mode) = (&set.name, set.version, &set.mode);
            lines.add(
                "rule set",
                format!("{name}@{version} {} {mode}", set.digest),
            );
        }
    }
    if let Some(closed) = &report.closed {
        let (at, outcome) = (closed.closed_at, closed.end.outcome);
        lines.add("closed", format!("{at}, {outcome}"));
    }
    let verdict = match &report.closed {
        Some(_) => verdict(&report.remarks),
        None => "Sound as far as it goes: how the call ended is not shown.",
    };
    lines.conclude(&report.keys, &report.remarks, &report.faults, 0, verdict)
}

/// What it comes to if nothing is wrong.
fn verdict(remarks: &[Remark]) -> &'static str {
    let unpinned = |remark: &Remark| matches!(remark, Remark::NotPinned { .. });
    match remarks.iter().any(unpinned) {
        false => "Sound: signed by the keys that you gave.",
        true => "Sound in itself; whose keys these are is for you to find out.",
    }
}

/// What is told to people, each line with what it is about in front of it.
#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, about: &str, text: impl AsRef<str>) {
        self.0.push(format!("{about:<9} {}", printable(text)));
    }

    fn conclude(
        mut self,
        keys: &[KeyUse],
        remarks: &[Remark],
        faults: &[Fault],
        unlisted: u64,
        if_sound: &str,
    ) -> String {
        for key in keys {
            let (kind, id, signatures) = (key.kind.as_str(), &key.id, key.signatures);
            let whose = match key.pinned {
                true => "given by you",
                false => "not given by you",
            };
            self.add(
                "key",
                format!("{kind} {id}, {whose}, signatures: {signatures}"),
            );
        }
        for remark in remarks {
            self.add("note", remark.to_string());
        }
        for fault in faults {
            self.add("WRONG", fault.to_string());
        }
        if unlisted > 0 {
            self.add("WRONG", format!("and {unlisted} more"));
        }
        let verdict = match faults {
            [] => if_sound,
            _ => "Not sound.",
        };
        self.0.push(verdict.to_owned());
        self.0.join("\n")
    }
}
