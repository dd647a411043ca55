//! The gate through its public face.

mod actions;
mod checkpoints;
mod demo;
mod diagnostics;
mod evasion;
mod greedy;
mod law;
mod oracle;
mod stream;
