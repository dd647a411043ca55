//! The built binary, used as people use it.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod audit;
mod doctor;
mod explain;
mod keys;
mod life;
mod logs;
mod models;
mod rules;
mod running;
mod serve;
mod transcripts;
mod usage;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The binary with nothing in its environment that could change what it does.
fn portcullis() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.env_clear().env("HOME", "/nonexistent");
    command
}

fn run(args: &[&str]) -> Output {
    portcullis().args(args).output().expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error} in {:?}; stderr {:?}",
            stdout(output),
            stderr(output)
        )
    })
}

/// A file or folder of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of plain characters")
}
