//! The server from outside: over its router, and on a real listener.

mod administration;
mod bad_input;
mod chat;
mod common;
mod gate;
mod listener;
mod probes;
