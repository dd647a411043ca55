//! `portcullis audit`: what an auditor asks of a log, and an operator does for one.

mod export;
mod kept;
mod rotate;
mod show;
mod source;
mod verify;
mod witness;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::audit::AuditCommand;
use crate::env::Environment;

/// Runs a subcommand.
///
/// # Errors
/// It could not be done.
pub(crate) async fn run(command: AuditCommand, environment: &Environment) -> Result<ExitCode> {
    match command {
        AuditCommand::Verify(args) => return verify::run(&args).await,
        AuditCommand::Export(args) => export::run(&args, environment).await?,
        AuditCommand::Show(args) => show::run(&args, environment).await?,
        AuditCommand::Witness(args) => return witness::run(&args, environment).await,
        AuditCommand::Rotate(args) => rotate::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
