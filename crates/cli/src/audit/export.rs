//! `portcullis audit export`: the whole log, or one record, as files that verify without a server.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use portcullis_ledger::{
    Export, ExportWriter, Predicate, RecordId, RecordProof, TrustedKeys, peek,
};
use serde::Serialize;

use super::source::Source;
use crate::args::audit::ExportArgs;
use crate::env::Environment;

#[derive(Serialize)]
struct Exported {
    path: String,
    entries: u64,
    rulesets: usize,
    /// Rule sets, and keys of who signed them, that records name and that are not there any more.
    missing: Vec<String>,
}

pub(super) async fn run(args: &ExportArgs, environment: &Environment) -> Result<()> {
    let source = Source::find(&args.log, environment).await?;
    match &args.record {
        Some(id) => export_record(&source, id, args).await,
        None => export_log(&source, args).await,
    }
}

async fn export_record(source: &Source, id: &str, args: &ExportArgs) -> Result<()> {
    let id = RecordId::parse(id).ok_or_else(|| anyhow!("{id:?} is no record id"))?;
    let proof: RecordProof = source.record(&id).await?;
    let json = serde_json::to_string_pretty(&proof)? + "\n";
    write_new(&args.out, &json)?;
    args.output.show(&proof, |_| {
        let path = args.out.display();
        format!(
            "{id} is in {path}\nverify it: portcullis audit verify {path} --record-key PEM --log-key PEM"
        )
    })
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    let place = path.display();
    let mut file = fs::File::create_new(path)
        .with_context(|| format!("{place} cannot be made; an export never writes over a file"))?;
    std::io::Write::write_all(&mut file, text.as_bytes())
        .with_context(|| format!("{place} cannot be written"))
}

async fn export_log(source: &Source, args: &ExportArgs) -> Result<()> {
    let (checkpoint, keys) = source.checkpoint(&TrustedKeys::default()).await?;
    let entries = checkpoint.size;
    let mut export = Export::create(&args.out, checkpoint, &keys)?;
    let mut named = Named::default();
    source
        .each_entry(entries, |entry| {
            if let Ok(Predicate::Opened(opened)) = peek(entry).map(|statement| statement.predicate)
            {
                for set in opened.call.rulesets {
                    named.rulesets.insert((set.name, set.version));
                    named.signers.extend(set.signers);
                }
            }
            Ok(export.entry(entry)?)
        })
        .await?;
    let mut missing = export_rulesets(source, &named, &export).await?;
    let rulesets = named.rulesets.len() - missing.len();
    missing.extend(export_signers(source, &named, &export).await?);
    export.finish()?;
    let exported = Exported {
        path: args.out.display().to_string(),
        entries,
        rulesets,
        missing,
    };
    args.output.show(&exported, describe)
}

/// What the records of a log name.
#[derive(Default)]
struct Named {
    rulesets: BTreeSet<(String, u32)>,
    /// Ids of keys.
    signers: BTreeSet<String>,
}

/// Those that are not there are returned.
async fn export_rulesets(
    source: &Source,
    named: &Named,
    export: &ExportWriter,
) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (name, version) in &named.rulesets {
        match source.ruleset(name, *version).await? {
            Some((bytes, envelope)) => export.ruleset(name, *version, &bytes, Some(&envelope))?,
            None => missing.push(format!("{name}@{version}")),
        }
    }
    Ok(missing)
}

/// Those that are not there are returned.
async fn export_signers(
    source: &Source,
    named: &Named,
    export: &ExportWriter,
) -> Result<Vec<String>> {
    if named.signers.is_empty() {
        return Ok(Vec::new());
    }
    let known = source.signers().await?.into_iter();
    let known: BTreeMap<_, _> = known.map(|key| (key.id().to_string(), key)).collect();
    let mut missing = Vec::new();
    for id in &named.signers {
        match known.get(id) {
            Some(key) => export.signer(key)?,
            None => missing.push(format!("the key {id} of a signer")),
        }
    }
    Ok(missing)
}

fn describe(exported: &Exported) -> String {
    let Exported {
        path,
        entries,
        rulesets,
        missing,
    } = exported;
    let mut text = format!("{entries} entries and {rulesets} rule sets are in {path}");
    if !missing.is_empty() {
        text += &format!("\nnot found: {}", missing.join(", "));
    }
    text + &format!("\nverify it: portcullis audit verify {path}")
}
