//! The real binary end to end: what the server promises, seen from outside.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod audit;
mod durable;
mod gate;
mod masks;
mod path;
mod server;
