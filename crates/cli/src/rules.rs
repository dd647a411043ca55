//! `portcullis rules`: check rule files here, push and bind them on a running server.

mod envelope;
mod explain;
mod life;
mod sign;
mod test;
mod transcript;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use portcullis_gate::{Diagnostic, RuleSet};
use portcullis_sign::MEDIA_TYPE;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api_client::{ApiClient, Refused, RuleMistake};
use crate::args::signing::SignersCommand;
use crate::args::{
    RuleSetName, RulesBindArgs, RulesCheckArgs, RulesCommand, RulesListArgs, RulesPushArgs,
    RulesUnbindArgs, ServerArgs, TargetArgs,
};
use crate::env::Environment;
use crate::output::{self, printable, table, utc};
use envelope::Pushed;

/// The format of rule files, as editors read it.
const SCHEMA: &str = include_str!("../../../rules/ruleset.schema.json");

/// Runs a subcommand.
///
/// # Errors
/// It could not be done.
pub(crate) async fn run(command: RulesCommand, environment: &Environment) -> Result<ExitCode> {
    let server = |args: &ServerArgs| ApiClient::new(args, environment);
    match command {
        RulesCommand::Check(args) => return check(&args),
        RulesCommand::Test(args) => return test::run(&args),
        RulesCommand::Explain(args) => return explain::run(&args),
        RulesCommand::Schema => output::line(SCHEMA.trim_end())?,
        RulesCommand::Keygen(args) => sign::keygen(&args)?,
        RulesCommand::Sign(args) => return sign::sign(&args),
        RulesCommand::Approve(args) => sign::approve(&server(&args.server)?, &args).await?,
        RulesCommand::Activate(args) => life::activate(&server(&args.server)?, &args).await?,
        RulesCommand::Retire(args) => life::retire(&server(&args.server)?, &args).await?,
        RulesCommand::Diff(args) => life::diff(&server(&args.server)?, &args).await?,
        RulesCommand::History(args) => life::history(&server(&args.server)?, &args).await?,
        RulesCommand::Signers(command) => signers(command, environment).await?,
        RulesCommand::Push(args) => return push(&server(&args.server)?, &args).await,
        RulesCommand::Bind(args) => bind(&server(&args.server)?, &args).await?,
        RulesCommand::Unbind(args) => unbind(&server(&args.server)?, &args).await?,
        RulesCommand::List(args) => list(&server(&args.server)?, &args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn signers(command: SignersCommand, environment: &Environment) -> Result<()> {
    let server = |args: &ServerArgs| ApiClient::new(args, environment);
    match command {
        SignersCommand::Add(args) => sign::add_signer(&server(&args.server)?, &args).await,
        SignersCommand::List(args) => sign::list_signers(&server(&args.server)?, &args).await,
        SignersCommand::Revoke(args) => sign::revoke_signer(&server(&args.server)?, &args).await,
    }
}

/// Name and version, where both are needed.
fn version_of(ruleset: &RuleSetName) -> Result<(&str, String)> {
    match (&ruleset.name, ruleset.version) {
        (name, Some(version)) => Ok((name, version.to_string())),
        (name, None) => bail!("say which version: {name}@1"),
    }
}

/// What was found in one file.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ruleset: Option<CheckedSet>,
    /// The file could not even be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    mistakes: Vec<RuleMistake>,
}

#[derive(Debug, Serialize)]
struct CheckedSet {
    name: String,
    version: u32,
    mode: &'static str,
    rules: usize,
    digest: String,
}

fn check(args: &RulesCheckArgs) -> Result<ExitCode> {
    let reports: Vec<Report> = args.files.iter().map(|file| check_file(file)).collect();
    args.output.show(&reports, |reports| {
        reports.iter().map(describe).collect::<Vec<_>>().join("\n")
    })?;
    let all_ok = reports.iter().all(|report| report.ok);
    Ok(if all_ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The rule set of a file; `None` once its mistakes are told.
fn load(path: &Path) -> Result<Option<RuleSet>> {
    let file = path.display().to_string();
    let source = std::fs::read(path).with_context(|| format!("{file} cannot be read"))?;
    match RuleSet::load(&source) {
        Ok(set) => Ok(Some(set)),
        Err(errors) => {
            let mistakes: Vec<_> = errors.0.into_iter().map(RuleMistake::from).collect();
            output::line(mistakes_in(&file, &mistakes))?;
            Ok(None)
        }
    }
}

fn check_file(path: &Path) -> Report {
    let file = path.display().to_string();
    let nothing = Report {
        file,
        ok: false,
        ruleset: None,
        error: None,
        mistakes: Vec::new(),
    };
    let source = match std::fs::read(path) {
        Ok(source) => source,
        Err(error) => {
            return Report {
                error: Some(format!("cannot be read: {error}")),
                ..nothing
            };
        }
    };
    match RuleSet::load(&source) {
        Ok(set) => Report {
            ok: true,
            ruleset: Some((&set).into()),
            ..nothing
        },
        Err(errors) => Report {
            mistakes: errors.0.into_iter().map(RuleMistake::from).collect(),
            ..nothing
        },
    }
}

impl From<&RuleSet> for CheckedSet {
    fn from(set: &RuleSet) -> Self {
        Self {
            name: set.name().to_owned(),
            version: set.version(),
            mode: set.mode().as_str(),
            rules: set.rules().count(),
            digest: set.digest().to_owned(),
        }
    }
}

impl From<Diagnostic> for RuleMistake {
    fn from(
        Diagnostic {
            line,
            column,
            message,
            mend,
        }: Diagnostic,
    ) -> Self {
        Self {
            line,
            column,
            message,
            mend,
        }
    }
}

fn describe(report: &Report) -> String {
    if let Some(CheckedSet {
        name,
        version,
        mode,
        rules,
        digest,
    }) = &report.ruleset
    {
        let rules = if *rules == 1 {
            "1 rule".to_owned()
        } else {
            format!("{rules} rules")
        };
        return format!(
            "{}: ok: {name}@{version}, {mode}, {rules}, tests passed, {digest}",
            report.file
        );
    }
    if let Some(error) = &report.error {
        return format!("{}: {error}", report.file);
    }
    mistakes_in(&report.file, &report.mistakes)
}

/// In the form that editors jump to: `file:line:column: message`, then the mend.
fn mistakes_in(file: &str, mistakes: &[RuleMistake]) -> String {
    let describe = |RuleMistake {
                        line,
                        column,
                        message,
                        mend,
                    }: &RuleMistake| {
        format!(
            "{file}:{line}:{column}: {}\n  {}",
            printable(message),
            printable(mend)
        )
    };
    mistakes.iter().map(describe).collect::<Vec<_>>().join("\n")
}

/// A rule set as the server tells of it.
#[derive(Debug, Deserialize, Serialize)]
struct Registered {
    name: String,
    version: u32,
    digest: String,
    state: String,
    signatures: Vec<Signature>,
    mode: String,
    rules: usize,
}

/// Who signed a version, as what.
#[derive(Debug, Deserialize, Serialize)]
struct Signature {
    key: String,
    name: Option<String>,
    role: Option<String>,
}

async fn push(server: &ApiClient, args: &RulesPushArgs) -> Result<ExitCode> {
    let file = args.file.display().to_string();
    let (body, media_type) = match Pushed::read(&args.file)? {
        Pushed::Signed(envelope) => (envelope.to_json().into_bytes(), MEDIA_TYPE),
        Pushed::Unsigned(source) => (source, "application/yaml"),
    };
    let answer = server
        .post_file::<Registered>(&["v1", "rulesets"], body, media_type)
        .await;
    let (status, set) = match answer {
        Ok(answer) => answer,
        Err(error) => return told_mistakes(&file, error),
    };
    args.output.show(
        &set,
        |Registered {
             name,
             version,
             digest,
             state,
             signatures,
             mode,
             rules,
         }| {
            let news = if status == StatusCode::CREATED {
                "registered"
            } else {
                "was there already"
            };
            format!(
                "{name}@{version} {news}: {mode}, rules: {rules}, signatures: {}, {state}, \
                 {digest}\n\
                 It holds once it is activated, for what {name} is bound to: \
                 portcullis rules activate {name}@{version}; \
                 portcullis rules bind {name} --deployment NAME",
                signatures.len()
            )
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The mistakes that the server found in the file are told as `check` tells them.
fn told_mistakes(file: &str, error: anyhow::Error) -> Result<ExitCode> {
    match error.downcast_ref::<Refused>() {
        Some(refused) if !refused.mistakes.is_empty() => {
            output::line(mistakes_in(file, &refused.mistakes))?;
            Ok(ExitCode::FAILURE)
        }
        _ => Err(error),
    }
}

/// What a rule set is bound to.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Binding {
    ruleset: String,
    /// `None` follows the active one.
    version: Option<u32>,
    observe: bool,
    key: Option<String>,
    deployment: Option<String>,
}

impl Binding {
    fn target(&self) -> String {
        let note = if self.observe { " (observed)" } else { "" };
        match (&self.key, &self.deployment) {
            (Some(key), _) => format!("key {key}{note}"),
            (None, Some(deployment)) => format!("deployment {deployment}{note}"),
            (None, None) => "nothing".to_owned(),
        }
    }
}

async fn bind(server: &ApiClient, args: &RulesBindArgs) -> Result<()> {
    let RulesBindArgs {
        ruleset,
        observe,
        target: TargetArgs { key, deployment },
        ..
    } = args;
    let fields = json!({
        "key": key, "deployment": deployment, "version": ruleset.version, "observe": observe,
    });
    let path = ["v1", "rulesets", &ruleset.name, "bindings"];
    let binding: Binding = server.post(&path, &fields).await?;
    args.output.show(&binding, |binding| {
        let version = match binding.version {
            Some(version) => format!("version {version}"),
            None => "the active version".to_owned(),
        };
        let verb = if binding.observe { "is there" } else { "holds" };
        format!(
            "{version} of {} {verb} for {} from the next call on",
            binding.ruleset,
            binding.target()
        )
    })
}

async fn unbind(server: &ApiClient, args: &RulesUnbindArgs) -> Result<()> {
    let RulesUnbindArgs {
        name,
        observe,
        target: TargetArgs { key, deployment },
        ..
    } = args;
    let mut query: Vec<(&str, &str)> = [("key", key), ("deployment", deployment)]
        .into_iter()
        .filter_map(|(kind, id)| Some((kind, id.as_deref()?)))
        .collect();
    if *observe {
        query.push(("observe", "true"));
    }
    server
        .delete(&["v1", "rulesets", name, "bindings"], &query)
        .await?;
    let gone = Binding {
        ruleset: name.clone(),
        version: None,
        observe: *observe,
        key: key.clone(),
        deployment: deployment.clone(),
    };
    args.output.show(&gone, |gone| {
        format!("{name} holds for {} no more", gone.target())
    })
}

#[derive(Debug, Deserialize)]
struct List<T> {
    data: Vec<T>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Listed {
    name: String,
    version: u32,
    digest: String,
    state: String,
    signatures: Vec<Signature>,
    created: i64,
    /// Filled in from a second answer.
    #[serde(default)]
    bindings: Vec<Binding>,
}

async fn list(server: &ApiClient, args: &RulesListArgs) -> Result<()> {
    let mut sets = server.get::<List<Listed>>(&["v1", "rulesets"]).await?.data;
    sets.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
    for of_name in sets.chunk_by_mut(|a, b| a.name == b.name) {
        let path = ["v1", "rulesets", &of_name[0].name, "bindings"];
        let bindings = server.get::<List<Binding>>(&path).await?.data;
        for set in of_name {
            let is_active = set.state == "active";
            let holds =
                |binding: &&Binding| binding.version.map_or(is_active, |v| v == set.version);
            set.bindings = bindings.iter().filter(holds).cloned().collect();
        }
    }
    args.output.show(&sets, |sets| {
        let rows = sets.iter().map(|set| {
            let targets: Vec<_> = set.bindings.iter().map(Binding::target).collect();
            [
                set.name.clone(),
                set.version.to_string(),
                set.state.clone(),
                signed_by(set),
                utc(set.created),
                targets.join(", "),
            ]
        });
        let if_empty = "no rule sets; register one with `portcullis rules push FILE`";
        table(
            [
                "NAME",
                "VERSION",
                "STATE",
                "SIGNED BY",
                "REGISTERED (UTC)",
                "HOLDS FOR",
            ],
            rows,
            if_empty,
        )
    })
}

fn signed_by(set: &Listed) -> String {
    let who = |signature: &Signature| match (&signature.name, &signature.role) {
        (Some(name), Some(role)) => format!("{name} ({role})"),
        _ => format!("unknown key {}", signature.key),
    };
    let all: Vec<_> = set.signatures.iter().map(who).collect();
    all.join(", ")
}
