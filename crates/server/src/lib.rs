//! HTTP and wire JSON: the only crate that knows them.
//!
//! [`router`] is the whole server as a function of [`AppState`]; a [`Door`] puts it on a listener,
//! answers before it is there, and drains it. A handler reads like the path of a request: parse,
//! authorise, validate, gate, submit, answer. Read `routes/inference.rs` first.
//!
//! What is absent on purpose: tensors, scheduling, and any way to text other than
//! [`portcullis_gate::Admitted`].

mod activity;
mod answer;
mod ask;
mod auth;
mod body;
mod budget;
mod config;
mod connection;
mod cors;
mod door;
mod embeddings;
mod error;
mod form;
mod guarded;
mod health;
mod ids;
mod limits;
mod metrics;
mod middleware;
mod params;
mod prompt;
mod record;
mod routes;
mod rules;
mod sending;
mod serve;
mod shape;
mod state;
mod stream;
mod tally;
mod tls;
mod tools;
mod trace;
mod trust;
mod validate;
mod vocabulary;
mod wire;

pub use budget::KeyQuota;
pub use config::{ConnectionLimits, SamplingDefaults, ServedEmbedder, ServedModel, ServerConfig};
pub use cors::{Cors, NoOrigins};
pub use door::Door;
pub use record::{Ledger, Prices, TextPolicy};
pub use routes::router;
pub use serve::Serving;
pub use state::{AppState, WallClock};
pub use tls::{Tls, TlsError, TlsFiles};
pub use trust::{Distrust, RULESET_TYPE, RuleSignatures, check_signatures};
