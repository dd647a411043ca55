//! Decoder definitions over kernels, and their weights.
//!
//! [`Config`] is a checked `config.json`, [`Decoder`] the model, [`KvCache`] its memory, [`Batch`]
//! one step's work. One decoder covers Llama, Mistral, Mixtral, Qwen2 and Qwen3: they differ in a
//! few fields of the configuration.

mod config;
mod decoder;
mod encoder;
mod error;
mod generation;
mod hub;
mod kv_cache;
mod mistakes;
mod weights;

pub use config::{Architecture, Config, Experts, RopeScaling};
pub use decoder::{Batch, Decoder, LoadFormat, LoadOptions, decode_rows};
pub use encoder::{Encoder, EncoderConfig, Pooling};
pub use error::ModelError;
pub use generation::GenerationDefaults;
pub use hub::{HubOptions, fetch, fetch_encoder};
pub use kv_cache::KvCache;
pub use portcullis_kernels::{BLOCK_TOKENS, DecodeShape, DecodeTables, SequenceSpan};
