//! Tensor operations of our own, each with its CPU twin.
//!
//! One folder an op: `mod.rs` says what it computes (shapes, units, errors, source) and checks the
//! arguments, `cpu.rs` computes it with plain loops. The ops are candle custom ops, so that a device
//! kernel takes its place beside `cpu.rs` behind the same signature.
//!
//! The paged cache of one layer is two tensors, K and V, each
//! `[num_blocks, kv_heads, BLOCK_TOKENS, head_dim]`, contiguous, f32, bf16 or f16.

mod add_rms_norm;
mod batch;
mod block_copy;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod device;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod device_batch;
mod element;
mod embedding;
mod kv_write;
mod linear;
mod mixture;
mod paged_attention;
mod rope_kv_write;
mod route;
mod sampling;
mod silu_mul;

pub use add_rms_norm::{add_rms_norm, rms_norm};
pub use batch::{BatchError, PagedBatch, SequenceSpan};
pub use block_copy::block_copy;
#[cfg(feature = "emulation")]
pub use device::emulation::{Order, emulate};
pub use embedding::embedding;
pub use kv_write::kv_write;
pub use linear::linear;
pub use mixture::mixture;
pub use paged_attention::{AttentionParams, paged_attention};
pub use rope_kv_write::rope_kv_write;
pub use route::{Routing, route};
pub use sampling::{DrawFailure, DrawRow, Drawn, TOP_LOGPROBS_MAX, sample, sample_row};
pub use silu_mul::silu_mul;

/// Tokens in one block of the paged cache.
///
/// 32 satisfies FlashAttention's paged kernels, which want pages of a multiple of 32.
pub const BLOCK_TOKENS: usize = 32;
