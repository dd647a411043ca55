//! `portcullis serve`: puts the parts together, serves, and takes them apart again.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use portcullis_engine::{Clock, EmbeddingThread, EngineHandle, SystemClock};
use portcullis_ledger::ModelDigests;
use portcullis_server::{
    AppState, ConnectionLimits, Door, Ledger, ServedEmbedder, ServedModel, ServerConfig, Serving,
    Tls,
};
use portcullis_store::{DeploymentName, SqliteStore, Store};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::args::ServeArgs;
use crate::clock::unix_now;
use crate::config::{Config, misspelt_variables};
use crate::data_dir::DataDir;
use crate::embedding::EmbeddingModel;
use crate::env::Environment;
use crate::model::Model;
use crate::welcome::{Keys, Welcome};
use crate::{doctor, engine, ledger, log, model_digests, output};

/// Files that are open besides connections: the store, the log, weights, threads.
const FILES_BESIDE: u64 = 256;
/// How long tasks may take to notice that it is over.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until it is told to stop.
///
/// # Errors
/// It could not start, or the listener failed.
pub(crate) fn run(args: &ServeArgs, environment: &Environment) -> Result<()> {
    let config = Config::load(args.flags(), environment)?;
    let _logging = log::start(&config.log)?;
    warn_of_misspelt_variables(environment);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let runtime = Runtime::new().context("cannot start threads")?;
    let data_dir = DataDir::take(&config.data_dir)?;
    let door = runtime.block_on(open_door(&config))?;
    let store = Arc::new(runtime.block_on(SqliteStore::open(data_dir.path()))?);

    let model = Model::find(&config)?;
    let deployment = deployment(&config, &model)?;
    let embedding = EmbeddingModel::find(&config, &deployment)?;
    let keys = runtime.block_on(Keys::prepare(&config, &*store, &deployment))?;
    runtime.block_on(warn_of_unsigned_rules(&config, &*store))?;
    let embedding = embedding.map(|model| model.start(&config)).transpose()?;
    let (embedder, embedding_thread) = embedding.unzip();
    let (running, digests) = std::thread::scope(|scope| {
        // Reading the weights and hashing them share the disk's cache.
        let digests = scope.spawn(|| digests(&config, &model));
        let running = engine::start(&config, &model, &clock)?;
        let digests = digests.join();
        Ok::<_, anyhow::Error>((
            running,
            digests.map_err(|_| anyhow!("hashing the model failed"))??,
        ))
    })?;
    let ledger = ledger::open(&config, &deployment, digests, model.engine_build());
    let ledger = runtime.block_on(ledger)?;
    let num_entries = ledger.as_ref().map(|it| it.recorder.checkpoint().size);
    let parts = Parts {
        engine: running.engine,
        max_model_len: running.max_model_len,
        embedder: embedder.clone(),
        ledger,
    };
    let state = app_state(&config, &model, &deployment, parts, &store, &clock)?;

    let signals = runtime.block_on(async { Signals::listen() })?;
    let address = door.address();
    let started_in = clock.now();
    let welcome = Welcome {
        address,
        started_in,
        model: &model,
        deployment: &deployment,
        embedder: embedder.as_ref(),
        keys: &keys,
        config: &config,
        num_entries,
    };
    // Who reads the welcome may call at once.
    let serving = door.lead_to(state);
    output::line(welcome)?;
    // Its thread ends with the last handle.
    drop(embedder);

    runtime.block_on(until_stopped(serving, signals))?;
    runtime.block_on(store.close());
    runtime.shutdown_timeout(END_TIMEOUT);
    if !running.thread.join() {
        bail!("the engine had failed; the log says why");
    }
    if !embedding_thread.is_none_or(EmbeddingThread::join) {
        bail!("the embedding model had failed; the log says why");
    }
    tracing::info!("stopped");
    Ok(())
}

fn warn_of_misspelt_variables(environment: &Environment) {
    for (name, meant) in misspelt_variables(environment) {
        tracing::warn!("{name} is set and means nothing; did you mean {meant}?");
    }
}

/// Calls that these hold for are refused, one by one: better told before the first of them.
async fn warn_of_unsigned_rules(config: &Config, store: &dyn Store) -> Result<()> {
    for set in doctor::bound_and_not_signed(store, config.rule_signatures).await? {
        tracing::error!("{set}; calls that it holds for are refused until it has it");
    }
    Ok(())
}

/// Before anything slow: a port in use is told at once, and probes find out that the model loads.
async fn open_door(config: &Config) -> Result<Door> {
    let tls = config.server.tls.clone().map(Tls::load).transpose()?;
    if let Some(tls) = tls.clone() {
        tokio::spawn(reload_on_hangup(tls, signals(SignalKind::hangup())?));
    }
    provide_files(config.server.connections);
    let listener = listen(config.server.bind).await?;
    let door = Door::open(listener, config.server.connections, tls)?;
    tracing::info!("listening on {}", door.address());
    Ok(door)
}

/// Every connection takes a file, and most systems let a process raise its own limit.
fn provide_files(limits: ConnectionLimits) {
    let max_connections = u64::from(limits.max_connections);
    let wanted = max_connections + FILES_BESIDE;
    // Where it cannot be raised, what there is has to do.
    let files = rlimit::increase_nofile_limit(wanted).unwrap_or_default();
    if files < wanted {
        tracing::warn!(
            "this process may open {files} files, too few for {max_connections} connections: raise \
             `ulimit -n`, or lower --max-connections"
        );
    }
}

/// What renews certificates often sends SIGHUP.
async fn reload_on_hangup(tls: Tls, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        tls.reload();
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let port = address.port();
        let mend = match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "port {port} is in use; stop the program that has it, or choose another with \
                 --bind {}:{}",
                address.ip(),
                port.wrapping_add(1)
            ),
            io::ErrorKind::PermissionDenied => format!(
                "this user may not listen on port {port}; choose one above 1023 with --bind"
            ),
            io::ErrorKind::AddrNotAvailable => {
                format!(
                    "this machine has no address {}; choose another with --bind",
                    address.ip()
                )
            }
            _ => format!("cannot listen on {address}"),
        };
        anyhow!(error).context(mend)
    })
}

fn digests(config: &Config, model: &Model) -> Result<ModelDigests> {
    if !config.ledger.is_on {
        return Ok(ModelDigests::default());
    }
    let dummy = model.dummy_weights();
    model_digests::of_model(&model.dir, dummy.as_deref(), &config.data_dir)
}

fn deployment(config: &Config, model: &Model) -> Result<DeploymentName> {
    match &config.model.deployment {
        Some(name) => Ok(name.clone()),
        None => model
            .default_deployment
            .parse()
            .context("give a name with --deployment"),
    }
}

/// What runs beside the server.
struct Parts {
    engine: EngineHandle,
    max_model_len: usize,
    embedder: Option<ServedEmbedder>,
    ledger: Option<Ledger>,
}

fn app_state(
    config: &Config,
    model: &Model,
    deployment: &DeploymentName,
    parts: Parts,
    store: &Arc<SqliteStore>,
    clock: &Arc<dyn Clock>,
) -> Result<AppState> {
    let served = ServedModel {
        deployment: deployment.clone(),
        root: model.root.clone(),
        max_model_len: parts.max_model_len,
        vocab_size: model.shape.vocab_size,
        end_tokens: model.end_tokens(),
        defaults: model.sampling_defaults(),
        created_unix: unix_now(),
    };
    let server = ServerConfig {
        body_timeout: config.server.body_timeout,
        drain_timeout: config.server.drain_timeout,
        tool_format: config.model.tool_format,
        cors: config.server.cors.clone(),
        quota: config.quota,
        key_quota: config.key_quota,
        rule_signatures: config.rule_signatures,
        ..ServerConfig::default()
    };
    Ok(AppState::new(
        server,
        served,
        parts.engine,
        model.tokenizer.clone(),
        model.template.clone(),
        parts.embedder,
        Arc::clone(store) as Arc<dyn Store>,
        parts.ledger,
        Arc::clone(clock),
        Arc::new(unix_now),
    ))
}

/// The first signal drains, the second cuts off what still runs.
async fn until_stopped(serving: Serving, mut signals: Signals) -> Result<()> {
    let (first, drain) = oneshot::channel();
    let (second, cut_off) = oneshot::channel();
    // A sender that is gone means that it is over too.
    let told = |signal: oneshot::Receiver<()>| async { drop(signal.await) };
    let serving = serving.until(told(drain), told(cut_off));
    let listening = async {
        signals.next().await;
        tracing::info!("stopping: running calls may finish; a second signal ends them");
        // The server may have failed meanwhile; then its error is what counts.
        let _ = first.send(());
        signals.next().await;
        tracing::warn!("stopped at once by a second signal");
        let _ = second.send(());
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        served = serving => served.context("the server failed"),
        never = listening => match never {},
    }
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signals(SignalKind::interrupt())?,
            terminate: signals(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn signals(kind: SignalKind) -> Result<Signal> {
    signal(kind).context("cannot listen to signals")
}
