//! `portcullis bench`: servers by their URL, or the engine in this process.

mod gate;

use std::sync::Arc;

use anyhow::{Context, Result};
use portcullis_bench::in_process::{EngineTarget, RunArgs};
use portcullis_bench::report::Environment;
use portcullis_engine::{Clock, EngineThread, Limits, SystemClock};
use portcullis_gate::Gate;
use tokio::runtime::Runtime;

use crate::args::bench::{BenchCommand, EngineBenchArgs};
use crate::config::Config;
use crate::data_dir;
use crate::env::Environment as Variables;
use crate::log::{self, Logging};
use crate::model::Model;
use crate::{engine, model_digests};

/// Requests that wait in the engine, at most; others wait before it.
const MAX_WAITING: usize = 4096;

/// Runs a subcommand.
///
/// # Errors
/// It could not be measured.
pub(crate) fn run(command: &BenchCommand, variables: &Variables) -> Result<()> {
    match command {
        BenchCommand::OfServers(command) => Ok(portcullis_bench::run(command)?),
        BenchCommand::Throughput(args) => whole(args, &args.run, variables),
        BenchCommand::Latency(args) => whole(args, &args.run.clone().one_at_a_time(), variables),
        BenchCommand::Gate(args) => gate::run(args, variables),
    }
}

/// One run of the workload, with what it says of the machine.
fn whole(args: &EngineBenchArgs, run: &RunArgs, variables: &Variables) -> Result<()> {
    let bench = EngineBench::start(args, variables)?;
    let report = run.run(bench.target(Gate::open()), bench.environment());
    bench.runtime.block_on(report)?;
    bench.end()
}

/// An engine, and what it is made of.
struct EngineBench {
    model: Model,
    engine: portcullis_engine::EngineHandle,
    thread: EngineThread,
    limits: Limits,
    digest: Option<String>,
    runtime: Runtime,
    temperature: f32,
    heeds_eos: bool,
    _logging: Logging,
}

impl EngineBench {
    fn start(args: &EngineBenchArgs, variables: &Variables) -> Result<Self> {
        // Before the weights are read.
        args.run.plan()?;
        let mut config = Config::load(args.flags(), variables)?;
        config.engine.max_waiting = MAX_WAITING;
        let logging = log::start(&config.log)?;
        // A server may have it meanwhile: what is taken from there is what it keeps for later starts.
        data_dir::make(&config.data_dir)?;
        let model = Model::find(&config)?;
        let dummy = model.dummy_weights();
        let digests = model_digests::of_model(&model.dir, dummy.as_deref(), &config.data_dir)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let engine::Running {
            engine,
            thread,
            max_model_len,
        } = engine::start(&config, &model, &clock)?;
        Ok(Self {
            limits: Limits {
                max_model_len,
                vocab_size: model.shape.vocab_size,
                max_choices: 1,
            },
            model,
            engine,
            thread,
            digest: Some(digests.model_digest),
            runtime: Runtime::new().context("cannot start threads")?,
            temperature: args.sampling.temperature,
            heeds_eos: args.sampling.heed_eos,
            _logging: logging,
        })
    }

    fn target(&self, gate: Gate) -> EngineTarget {
        EngineTarget {
            engine: self.engine.clone(),
            tokenizer: self.model.tokenizer.clone(),
            limits: self.limits.clone(),
            gate,
            end_tokens: match self.heeds_eos {
                true => self.model.end_tokens(),
                false => Vec::new(),
            },
            temperature: self.temperature,
        }
    }

    fn environment(&self) -> Environment {
        Environment {
            model: self.model.root.clone(),
            model_digest: self.digest.clone(),
            server: Some(format!("portcullis {}", self.model.engine_build())),
            ..Environment::look()
        }
    }

    /// The engine ends when nobody holds it any more.
    fn end(self) -> Result<()> {
        let Self {
            engine,
            thread,
            runtime,
            ..
        } = self;
        drop((engine, runtime));
        anyhow::ensure!(thread.join(), "the engine had failed; the log says why");
        Ok(())
    }
}
