//! The corpus: every op's device code against its plain loops, on the emulation always and on a
//! card where the tests are compiled with `cuda`.

mod add_rms_norm;
mod block_copy;
mod check;
mod embedding;
mod linear;
mod mixture;
mod paged_attention;
mod rope_kv_write;
mod route;
mod sampling;
mod silu_mul;
#[path = "../cases/uniform.rs"]
mod uniform;
