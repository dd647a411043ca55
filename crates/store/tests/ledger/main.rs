//! The ledger in SQLite files, below the recorder that writes it.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod common;
mod erasing;
mod full;
mod listing;
mod log;
mod opening;
mod scale;
mod usage;
