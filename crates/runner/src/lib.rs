//! The model runner on Candle: a paged KV cache, one forward pass for the rows of a step, and the
//! sampler.
//!
//! [`CandleRunner`] implements the engine's `ModelRunner`, [`CandleEmbedder`] its `Embedder`. What is absent on purpose: scheduling,
//! text, rules. It sees tokens, block tables and draws.

mod candle;
mod device;
mod embedder;
mod graphs;
mod sampler;
mod warm_up;

pub use candle::{CandleRunner, GraphLimits, Model, RunnerOptions};
pub use device::{DeviceChoice, DeviceError, free_bytes, is_out_of_memory, open};
pub use embedder::CandleEmbedder;
pub use sampler::sample;
pub use warm_up::warm_up;
