//! `portcullis doctor`: looks at everything that a server needs, and says what to do about what is
//! missing.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use bytesize::ByteSize;
use portcullis_gate::RuleSet;
use portcullis_models::ModelError;
use portcullis_runner::DeviceChoice;
use portcullis_server::{RuleSignatures, check_signatures};
use portcullis_store::{DATABASE_FILE, Role, RuleSetState, SqliteStore, Store, StoredRuleSet};
use serde::Serialize;

use crate::api_client::ApiClient;
use crate::args::DoctorArgs;
use crate::clock::unix_now;
use crate::config::Config;
use crate::data_dir::is_in_use;
use crate::demo;
use crate::env::Environment;
use crate::kv_plan;
use crate::machine::Machine;
use crate::model::{Model, may_be_on_hub};
use crate::output::table;

/// Less free memory than this is worth a word.
const LITTLE_MEMORY_BYTES: u64 = 1 << 30;

/// Looks, and tells.
///
/// # Errors
/// It cannot be told.
pub(crate) fn run(
    args: &DoctorArgs,
    environment: &Environment,
    runtime: &tokio::runtime::Runtime,
) -> Result<ExitCode> {
    let findings = match Config::load(args.flags(), environment) {
        Ok(config) => examine(&config, args, environment, runtime),
        Err(mistakes) => vec![Finding::fail(
            "configuration",
            mistakes,
            "mend these, then look again",
        )],
    };
    args.output.show(&findings, |findings| describe(findings))?;
    let failed = findings
        .iter()
        .any(|finding| finding.status == Status::Fail);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// What was found out about one thing.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    status: Status,
    found: String,
    /// What to do; nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Fail,
}

impl Finding {
    fn ok(check: &'static str, found: impl ToString) -> Self {
        Self {
            check,
            status: Status::Ok,
            found: found.to_string(),
            mend: None,
        }
    }

    fn warn(check: &'static str, found: impl ToString, mend: impl Into<String>) -> Self {
        Self {
            check,
            status: Status::Warn,
            found: found.to_string(),
            mend: Some(mend.into()),
        }
    }

    fn fail(check: &'static str, found: impl ToString, mend: impl Into<String>) -> Self {
        Self {
            check,
            status: Status::Fail,
            found: found.to_string(),
            mend: Some(mend.into()),
        }
    }
}

fn examine(
    config: &Config,
    args: &DoctorArgs,
    environment: &Environment,
    runtime: &tokio::runtime::Runtime,
) -> Vec<Finding> {
    let machine = Machine::look();
    let mut findings = vec![
        Finding::ok("configuration", "sound"),
        device(config.model.device),
        Finding::ok("cores", machine.cores),
        memory(machine),
        data_dir(&config.data_dir),
    ];
    findings.extend(model(config, machine));
    findings.extend(runtime.block_on(stored(config)));
    findings.push(runtime.block_on(server(args, environment)));
    findings
}

fn memory(machine: Machine) -> Finding {
    let found = format!(
        "{} free of {}",
        ByteSize(machine.available_bytes),
        ByteSize(machine.memory_bytes)
    );
    match machine.available_bytes < LITTLE_MEMORY_BYTES {
        true => Finding::warn("memory", found, "only small models fit; end other programs"),
        false => Finding::ok("memory", found),
    }
}

fn data_dir(path: &Path) -> Finding {
    const CHECK: &str = "data directory";
    let place = path.display();
    let Some(there) = path.ancestors().find(|ancestor| ancestor.exists()) else {
        return Finding::fail(
            CHECK,
            format!("{place} cannot be made"),
            "choose another with --data-dir",
        );
    };
    // The one way to know: a file with a name of its own, gone again at once.
    let probe = there.join(format!(".portcullis-doctor-{}", std::process::id()));
    if let Err(error) = fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)) {
        let found = format!("{} cannot be written: {error}", there.display());
        return Finding::fail(
            CHECK,
            found,
            "mend its permissions, or choose another with --data-dir",
        );
    }
    match is_in_use(path) {
        _ if there != path => Finding::ok(CHECK, format!("{place}, made at the first start")),
        Ok(true) => Finding::ok(CHECK, format!("{place}, used by a running server")),
        Ok(false) => Finding::ok(CHECK, format!("{place}, writable")),
        Err(error) => Finding::fail(CHECK, format!("{place}: {error}"), "mend its permissions"),
    }
}

fn model(config: &Config, machine: Machine) -> Vec<Finding> {
    const CHECK: &str = "model";
    if config.model.name.is_none() && !demo::model_dir(&config.data_dir).is_dir() {
        return vec![Finding::ok(
            CHECK,
            "the bundled demo, unpacked at the first start",
        )];
    }
    // Looking is no reason to fetch.
    let mut offline = config.clone();
    offline.hub.is_offline = true;
    let model = match Model::find(&offline) {
        Ok(model) => model,
        Err(error) => return vec![no_model(config, &error)],
    };
    let mut findings = vec![Finding::ok(
        CHECK,
        format!("{}: {}", model.root, model.summary()),
    )];
    if model.template.is_none() {
        let mend = "take a chat or instruct model, or use /v1/completions alone";
        findings.push(Finding::warn(
            "chat template",
            "none: chat completions are refused",
            mend,
        ));
    }
    findings.push(kv_cache(config, &model, machine));
    findings
}

fn no_model(config: &Config, error: &anyhow::Error) -> Finding {
    const CHECK: &str = "model";
    let is_absent = matches!(error.downcast_ref(), Some(ModelError::Hub { .. }));
    match config
        .model
        .name
        .as_deref()
        .filter(|name| is_absent && may_be_on_hub(name))
    {
        Some(name) if !config.hub.is_offline => {
            let mend = format!("the first start fetches it, or now: portcullis models pull {name}");
            Finding::warn(CHECK, format!("{name} is not here yet"), mend)
        }
        _ => {
            let mend = "give a folder in the Hugging Face layout or a name on the hub with --model";
            Finding::fail(CHECK, format!("{error:#}"), mend)
        }
    }
}

fn device(choice: DeviceChoice) -> Finding {
    const CHECK: &str = "device";
    let open = || -> Result<Option<u64>> {
        let device = portcullis_runner::open(choice)?;
        Ok(portcullis_runner::free_bytes(&device)?)
    };
    match (choice, open()) {
        (DeviceChoice::Cpu, _) => Finding::ok(CHECK, "cpu"),
        (DeviceChoice::Cuda(ordinal), Ok(free)) => {
            let free = ByteSize(free.unwrap_or_default());
            Finding::ok(CHECK, format!("cuda:{ordinal}, {free} of its memory free"))
        }
        (DeviceChoice::Cuda(_), Err(error)) => {
            let mend = "look at nvidia-smi, or serve with --device cpu";
            Finding::fail(CHECK, format!("{error:#}"), mend)
        }
    }
}

fn kv_cache(config: &Config, model: &Model, machine: Machine) -> Finding {
    const CHECK: &str = "KV cache";
    if let Err(error) = model.check_len(&config.engine) {
        return Finding::fail(CHECK, error, "lower --max-model-len");
    }
    if config.model.device != DeviceChoice::Cpu && config.engine.kv_cache_bytes.is_none() {
        return Finding::ok(
            CHECK,
            "what the weights leave of the card's memory; see the log of a start",
        );
    }
    match model.plan_kv(&config.engine, kv_plan::usual_bytes(machine)) {
        Ok(plan) => {
            let (bytes, tokens) = (ByteSize(plan.bytes), plan.tokens);
            let len = plan.max_model_len;
            let found = format!("{bytes} for {tokens} tokens, of which one call may have {len}");
            Finding::ok(CHECK, found)
        }
        Err(error) => Finding::fail(
            CHECK,
            error,
            "lower --max-model-len, or raise --kv-cache-memory",
        ),
    }
}

/// Rule sets and keys, where there is a database.
async fn stored(config: &Config) -> Vec<Finding> {
    let data_dir = &config.data_dir;
    if !data_dir.join(DATABASE_FILE).exists() {
        return vec![Finding::ok(
            "rule sets and keys",
            "none yet: the first start makes the database",
        )];
    }
    let examined = async {
        let store = SqliteStore::open(data_dir).await?;
        anyhow::Ok(vec![
            rule_sets(&store, config.rule_signatures).await?,
            keys(&store).await?,
        ])
    };
    examined.await.unwrap_or_else(|error| {
        vec![Finding::fail(
            "rule sets and keys",
            format!("{error:#}"),
            "mend what it names; while a server runs, it alone writes there",
        )]
    })
}

async fn rule_sets(store: &SqliteStore, needed: RuleSignatures) -> Result<Finding> {
    const CHECK: &str = "rule sets";
    let (sets, bindings) = (store.list_rulesets().await?, store.all_bindings().await?);
    let mut broken: Vec<String> = sets.iter().filter_map(does_not_load).collect();
    broken.extend(bound_and_not_signed(store, needed).await?);
    if !broken.is_empty() {
        let mend = "calls that these hold for are refused: sign them with `portcullis rules \
                    approve`, or bind versions that are signed and that this build reads";
        return Ok(Finding::fail(CHECK, broken.join("; "), mend));
    }
    let found = format!("{} versions, {} bindings", sets.len(), bindings.len());
    Ok(match bindings.is_empty() {
        true => {
            let mend = "no rule holds: portcullis rules bind NAME --deployment NAME";
            Finding::warn(CHECK, found, mend)
        }
        false => Finding::ok(CHECK, found),
    })
}

/// The bound versions that no call gets past, each with what its signatures lack.
///
/// # Errors
/// The store cannot be used.
pub(crate) async fn bound_and_not_signed(
    store: &dyn Store,
    needed: RuleSignatures,
) -> Result<Vec<String>> {
    let (sets, bindings) = (store.list_rulesets().await?, store.all_bindings().await?);
    let signers = store.list_signers().await?;
    let is_bound = |set: &&StoredRuleSet| {
        let is_active = set.state == RuleSetState::Active;
        bindings.iter().any(|binding| {
            binding.ruleset == set.name && binding.version.map_or(is_active, |v| v == set.version)
        })
    };
    let not_signed = sets.iter().filter(is_bound).filter_map(|set| {
        let distrust = check_signatures(set, &signers, needed).err()?;
        Some(format!("{}@{}: {distrust}", set.name, set.version))
    });
    Ok(not_signed.collect())
}

fn does_not_load(set: &StoredRuleSet) -> Option<String> {
    let errors = RuleSet::load(&set.source).err()?;
    let first = errors
        .0
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    Some(format!(
        "{}@{} does not load: {first}",
        set.name, set.version
    ))
}

async fn keys(store: &SqliteStore) -> Result<Finding> {
    const CHECK: &str = "keys";
    let keys = store.list_keys().await?;
    let usable = keys.iter().filter(|key| key.is_usable(unix_now()));
    let admins = usable.clone().filter(|key| key.role == Role::Admin).count();
    let found = format!("{} usable, {admins} of them admin", usable.count());
    Ok(match admins {
        0 => Finding::warn(
            CHECK,
            found,
            "portcullis keys create --role admin --name NAME --data-dir DIR",
        ),
        _ => Finding::ok(CHECK, found),
    })
}

async fn server(args: &DoctorArgs, environment: &Environment) -> Finding {
    const CHECK: &str = "server";
    let client = match ApiClient::new(&args.server, environment) {
        Ok(client) => client,
        Err(error) => return Finding::fail(CHECK, error, "mend --url or PORTCULLIS_URL"),
    };
    match client.get::<serde_json::Value>(&["health"]).await {
        Ok(_) => Finding::ok(CHECK, format!("ready at {}", client.url())),
        Err(error) => Finding::warn(CHECK, error, "nothing to do, if none is meant to run"),
    }
}

fn describe(findings: &[Finding]) -> String {
    let rows = findings.iter().map(|finding| {
        let status = match finding.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        };
        let found = finding.found.replace('\n', " ");
        let mend = finding
            .mend
            .as_ref()
            .map(|mend| format!(" -> {mend}"))
            .unwrap_or_default();
        [
            status.to_owned(),
            finding.check.to_owned(),
            format!("{found}{mend}"),
        ]
    });
    table(["STATUS", "CHECK", "FOUND"], rows, "")
}
