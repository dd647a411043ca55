//! The model runner on Candle: a paged KV cache, one forward pass for the rows of a step, and the
//! sampler.
//!
//! [`CandleRunner`] implements the engine's `ModelRunner`. What is absent on purpose: scheduling,
//! text, rules. It sees tokens, block tables and draws.

mod candle;
mod philox;
mod sampler;

pub use candle::CandleRunner;
pub use sampler::sample;
