//! The binary `portcullis`: reads the command line, runs the command, tells how it went.

mod api_client;
mod args;
mod audit;
mod bench;
mod clock;
mod config;
mod data_dir;
mod demo;
mod doctor;
mod embedding;
mod engine;
mod env;
mod keys;
mod kv_plan;
mod ledger;
mod log;
mod machine;
mod model;
mod model_digests;
mod models;
mod output;
mod rules;
mod serve;
mod welcome;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use mimalloc::MiMalloc;
use tokio::runtime::Runtime;

use args::{Cli, Command};
use env::Environment;
use portcullis_bench::error::BenchError;

/// Threads come and go with the work, and the system's allocator keeps an arena for each that was
/// ever there: memory would grow for hours before it is flat.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What is wrong is how the command was used or configured, as clap exits for bad flags.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    run(command, &Environment::capture()).unwrap_or_else(|error| {
        output::error(&error);
        let of_bench = error.downcast_ref::<BenchError>();
        let is_usage = error.is::<config::Mistakes>() || of_bench.is_some_and(BenchError::is_usage);
        if is_usage {
            ExitCode::from(EXIT_USAGE)
        } else {
            ExitCode::FAILURE
        }
    })
}

fn run(command: Command, environment: &Environment) -> Result<ExitCode> {
    let runtime = || Runtime::new().context("cannot start threads");
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Serve(args) => serve::run(&args, environment).map(done),
        Command::Rules(command) => runtime()?.block_on(rules::run(command, environment)),
        Command::Keys(command) => runtime()?
            .block_on(keys::run(command, environment))
            .map(done),
        Command::Audit(command) => runtime()?.block_on(audit::run(command, environment)),
        Command::Models(command) => models::run(&command, environment).map(done),
        Command::Bench(command) => bench::run(&command, environment).map(done),
        Command::Doctor(args) => doctor::run(&args, environment, &runtime()?),
    }
}
