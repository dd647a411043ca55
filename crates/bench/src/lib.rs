//! The bundled harness: loads a server, any that speaks the OpenAI protocol, and measures it.
//!
//! A [`workload::Workload`] says what is asked and when, [`load::run`] asks it of a
//! [`target::Target`], [`measure`] makes figures of the [`outcome::Outcome`]s, and a
//! [`report::Report`] keeps them.

pub mod args;
pub mod bench;
pub mod clock;
mod compare;
mod environment;
pub mod error;
mod export;
mod http;
pub mod in_process;
pub mod load;
pub mod measure;
pub mod outcome;
pub mod page;
pub mod plan;
pub mod preset;
mod progress;
pub mod report;
mod serve;
mod show;
mod sweep;
pub mod target;
pub mod workload;

use tokio::runtime::Runtime;

use args::BenchCommand;
use error::BenchError;

/// Connections that a client may want at once, and more.
const OPEN_FILES_WANTED: u64 = 65_536;

/// Runs `portcullis bench …`.
///
/// # Errors
/// It could not be measured, or nothing was answered.
pub fn run(command: &BenchCommand) -> Result<(), BenchError> {
    let runtime = Runtime::new()?;
    // Where there are fewer, requests that cannot connect say so.
    let _ = rlimit::increase_nofile_limit(OPEN_FILES_WANTED);
    match command {
        BenchCommand::Serve(args) => runtime.block_on(serve::run(args)),
        BenchCommand::Sweep(args) => runtime.block_on(sweep::run(args)),
        BenchCommand::Compare(args) => compare::run(args),
        BenchCommand::Plot(args) => {
            let path = page::plot(args)?;
            show::print(format_args!("{}", path.display()))
        }
    }
}
