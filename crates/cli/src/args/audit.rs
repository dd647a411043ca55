//! The command line of audits, as people type it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{OutputArgs, ServerArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Verify a log or one record without a server
    ///
    /// Take the keys from the operator by another way than the export: whoever made up an export
    /// has made up the keys in it too.
    Verify(AuditVerifyArgs),
    /// Write the log, or one record, as files that verify without a server
    Export(ExportArgs),
    /// Show what a record says; without one, list the newest
    Show(ShowArgs),
    /// Keep the log's checkpoint here, and see that the log begins with the one kept before
    Witness(WitnessArgs),
    /// Make new keys for a ledger whose server is stopped; the old public ones stay with it
    Rotate(RotateArgs),
}

/// Where a log is: behind a server, or in a data directory that one may read.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Read this data directory instead of asking a server
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "api_key"])]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// New folder for a log; new file for a record
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
    /// One record alone
    #[arg(long, value_name = "ID")]
    pub(crate) record: Option<String>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Record, as an answer names it
    #[arg(value_name = "RECORD")]
    pub(crate) record: Option<String>,
    /// Records to list
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WitnessArgs {
    /// Where the checkpoint is kept, and each one with its time in FILE.history: out of reach of
    /// whoever runs the server
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Public key that may have signed checkpoints; may be given again [default: those of the server]
    #[arg(long = "log-key", value_name = "PEM")]
    pub(crate) log_keys: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// Data directory of the server
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AuditVerifyArgs {
    /// Folder of an export, data directory of a server, or a file with one record as JSON
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Public key that may have signed entries; may be given again [default: those in the export]
    #[arg(long = "record-key", value_name = "PEM")]
    pub(crate) record_keys: Vec<PathBuf>,
    /// Public key that may have signed the checkpoint; may be given again [default: those in the export]
    #[arg(long = "log-key", value_name = "PEM")]
    pub(crate) log_keys: Vec<PathBuf>,
    /// Older checkpoint of the same log, kept elsewhere, with which the log must begin; may be given again
    #[arg(long = "witness", value_name = "FILE")]
    pub(crate) witnesses: Vec<PathBuf>,
    /// Take one record as sound that does not show how its call ended
    #[arg(long)]
    pub(crate) allow_open: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
