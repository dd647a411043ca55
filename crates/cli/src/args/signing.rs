//! The command line of rule sets' signatures and life, as people type it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{OutputArgs, RuleSetName, ServerArgs};

#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// Where the private key goes; the public one goes beside it, with .pub
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// Rule file; the signature goes into FILE.dsse, beside those that are there
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Private key, as `portcullis rules keygen` or `openssl genpkey -algorithm ed25519` makes it
    #[arg(long, value_name = "KEY")]
    pub(crate) key: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// Version that is on the server
    #[arg(value_name = "NAME@VERSION")]
    pub(crate) ruleset: RuleSetName,
    /// Private key
    #[arg(long, value_name = "KEY")]
    pub(crate) key: PathBuf,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A version to do something with.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Version that is on the server
    #[arg(value_name = "NAME@VERSION")]
    pub(crate) ruleset: RuleSetName,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Version before
    #[arg(value_name = "NAME@VERSION")]
    pub(crate) from: RuleSetName,
    /// Version after
    #[arg(value_name = "NAME@VERSION")]
    pub(crate) to: RuleSetName,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Rule set
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SignersCommand {
    /// Trust a public key to sign rule sets
    Add(SignersAddArgs),
    /// List whose signatures count, or did
    List(SignersListArgs),
    /// Let a key sign nothing more; what it signed stays in force, unless --distrust
    Revoke(SignersRevokeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SignersAddArgs {
    /// Public key
    #[arg(value_name = "KEY.pub")]
    pub(crate) public_key: PathBuf,
    /// Whose it is; two signatures of one person count once
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// What its signature says: author or approver
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: String,
    /// The only rule set that it may sign; may be given more than once [default: any]
    #[arg(long = "ruleset", value_name = "NAME")]
    pub(crate) rulesets: Vec<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SignersListArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SignersRevokeArgs {
    /// Id of the signer, or enough of its beginning
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// The key was in wrong hands: nothing that it ever signed counts any more
    #[arg(long)]
    pub(crate) distrust: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
