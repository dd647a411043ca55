//! Tensor operations of our own, each with its CPU twin.
//!
//! One folder an op: `mod.rs` says what it computes (shapes, units, errors, source) and checks the
//! arguments, `cpu.rs` computes it with plain loops, `OP.cu` on a card, and `cuda.rs` launches that.
//! Where plain loops are too slow to serve with, `fast.rs` has others, in vector registers (`lanes`)
//! and on several threads (`team`), and the CPU runs those.
//!
//! Device code is compiled with the feature `cuda`, by nvcc, and with `emulation`, by a C++ compiler:
//! then `emulate` runs it on the CPU, bounds checked, so that one corpus of cases (`tests/corpus`)
//! holds every kernel, and the fast loops, to the plain ones with and without a card.
//! `cuda/device.cuh` is the language that kernels are written in.
//!
//! The paged cache of one layer is two tensors, K and V, each
//! `[num_blocks, kv_heads, BLOCK_TOKENS, head_dim]`, contiguous, f32, bf16 or f16.

mod add_rms_norm;
mod batch;
mod block_copy;
mod decode_tables;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod device;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod device_batch;
mod element;
mod embedding;
mod lanes;
mod linear;
mod mixture;
mod paged_attention;
mod plain;
mod rope_kv_write;
mod route;
mod sampling;
mod silu_mul;
mod stripes;
mod team;

pub use add_rms_norm::{add_rms_norm, rms_norm};
pub use batch::{BatchError, PagedBatch, SequenceSpan};
pub use block_copy::block_copy;
pub use decode_tables::{DecodeShape, DecodeTables};
#[cfg(feature = "emulation")]
pub use device::emulation::{Order, emulate, launches_of};
#[cfg(feature = "emulation")]
pub use device::recording::{Recording, record};
pub use embedding::embedding;
pub use linear::{LinearWeight, linear, linears};
pub use mixture::mixture;
pub use paged_attention::{AttentionParams, SPLIT_TOKENS, decode_scratch_bytes, paged_attention};
#[cfg(feature = "emulation")]
pub use plain::with_plain_loops;
pub use rope_kv_write::rope_kv_write;
pub use route::{Routing, route};
pub use sampling::{DrawFailure, DrawRow, Drawn, TOP_LOGPROBS_MAX, sample, sample_row};
pub use silu_mul::silu_mul;

/// Tokens in one block of the paged cache.
///
/// 32 satisfies FlashAttention's paged kernels, which want pages of a multiple of 32.
pub const BLOCK_TOKENS: usize = 32;

/// The slot of a row that writes nothing into the cache: `NO_SLOT` of the kernels.
pub(crate) const NO_SLOT: u32 = u32::MAX;
