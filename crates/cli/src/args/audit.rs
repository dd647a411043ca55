//! The command line of audits, as people type it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OutputArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Verify an exported log, or one record, without a server
    ///
    /// Take the keys from the operator by another way than the export: whoever made up an export
    /// has made up the keys in it too.
    Verify(AuditVerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AuditVerifyArgs {
    /// Folder of an export, or a file with one record as JSON
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
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
