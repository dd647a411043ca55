//! The gate through its public face.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

mod actions;
mod attacks;
mod checkpoints;
mod cost;
mod demo;
mod diagnostics;
mod docs;
mod evasion;
mod explain;
mod greedy;
mod injection;
mod json;
mod law;
mod packs;
mod peers;
mod pii;
mod proof;
mod statuses;
mod stop;
mod stream;
mod whole;
