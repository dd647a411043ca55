//! Tensor operations of our own, each with its CPU twin.
//!
//! One folder an op: `mod.rs` says what it computes (shapes, units, errors, source) and checks the
//! arguments, `cpu.rs` computes it with plain loops, `OP.cu` on a card, and `cuda.rs` launches that.
//!
//! Device code is compiled with the feature `cuda`, by nvcc, and with `emulation`, by a C++ compiler:
//! then `emulate` runs it on the CPU, bounds checked, so that one corpus of cases (`tests/corpus`)
//! holds every kernel to its plain loops with and without a card. `cuda/device.cuh` is the language
//! that kernels are written in.
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
