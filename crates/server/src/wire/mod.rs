//! The JSON of requests and answers, as serde types and nothing more: what a value must be is
//! decided in `params.rs`, and in the engine's request.
//!
//! Source: OpenAI's API reference; where vLLM's server adds a field (`top_k`, `min_p`, …), vLLM's
//! name. Fields that are not here are accepted and ignored, since routers add some.

pub(crate) mod admin;
pub(crate) mod call;
pub(crate) mod chat;
pub(crate) mod completion;
pub(crate) mod embedding;
pub(crate) mod error;
pub(crate) mod life;
pub(crate) mod messages;
mod parse;
pub(crate) mod record;
pub(crate) mod responses;
pub(crate) mod tokens;
pub(crate) mod tools;
mod words;

pub(crate) use parse::parse;
