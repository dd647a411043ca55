//! `portcullis bench`, as people type it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use portcullis_bench::args as of_servers;
use portcullis_bench::in_process::RunArgs;

use super::{EngineSettings, SettingArgs};
use crate::config::Flags;

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    #[command(flatten)]
    OfServers(of_servers::BenchCommand),
    /// Measure the engine in this process, without HTTP: all requests at once
    Throughput(EngineBenchArgs),
    /// Measure one stream at a time in this process
    Latency(EngineBenchArgs),
    /// Measure in this process what rule sets cost: off, observed and enforced, in turns
    Gate(GateBenchArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct EngineBenchArgs {
    #[command(flatten)]
    engine: SettingArgs<EngineSettings>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}

impl EngineBenchArgs {
    pub(crate) fn flags(&self) -> &Flags {
        &self.engine.flags
    }
}

#[derive(Debug, Args)]
pub(crate) struct GateBenchArgs {
    /// Rule files that hold together [default: the demo's]
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub(crate) rules: Vec<PathBuf>,
    /// Turns, each of all three in another order
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub(crate) rounds: usize,
    #[command(flatten)]
    pub(crate) of: EngineBenchArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SamplingArgs {
    /// Sampling temperature
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    pub(crate) temperature: f32,
    /// Let answers end where the model ends them, before --output-len
    #[arg(long)]
    pub(crate) heed_eos: bool,
}
