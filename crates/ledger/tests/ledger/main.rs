//! The ledger from its public face: what the recorder writes, and what the auditor finds.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod export;
mod folder_forger;
mod forger;
mod log;
mod making;
mod memory;
mod properties;
mod record;
mod recorder;
