//! The harness alone, without the server: builds in a minute where `portcullis` takes many.
//!
//!     cargo run -p portcullis-bench --example bench -- serve --url http://127.0.0.1:8000

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use portcullis_bench::args::BenchCommand;

#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    command: BenchCommand,
}

fn main() -> ExitCode {
    match portcullis_bench::run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
