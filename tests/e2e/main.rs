//! The real binary end to end: what the server promises, seen from outside.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod audit;
mod bench;
mod calls;
mod crash;
mod disk;
mod durable;
mod edge;
mod embeddings;
mod ends;
mod gate;
mod ledger;
mod masks;
mod path;
mod rng;
mod server;
mod told;
