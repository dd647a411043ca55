//! The launches of block_copy.cu.

use candle_core::{Result, Tensor};

use super::NAME;
use crate::device::{Backend, Launch, Params, Span, wide};

/// `BLOCK_COPY_THREADS` of the kernel.
const THREADS: usize = 256;
/// Bytes that a thread copies.
const LOAD_BYTES: usize = 16;
/// Bytes of the words that the kernel counts in.
const WORD_BYTES: usize = 4;

/// `BlockCopy` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct BlockCopy {
    cache: Span,
    pairs: Span,
    block_len: u32,
    padding: u32,
}

// SAFETY: the struct of the kernel, field by field.
#[expect(unsafe_code, reason = "the kernel reads the struct's bytes")]
unsafe impl Params for BlockCopy {}

/// A launch copies its pairs at once, so a pair that must come after another waits for the next.
pub(super) fn block_copy(
    backend: &dyn Backend,
    cache: &Tensor,
    pairs: &[(u32, u32)],
    block_len: usize,
) -> Result<()> {
    wide(NAME, "a block", block_len, cache.dtype())?;
    let mut rest = pairs;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(independent(rest));
        launch(backend, cache, now, block_len)?;
        rest = later;
    }
    Ok(())
}

/// How many of the first pairs neither read nor write what another of them writes.
fn independent(pairs: &[(u32, u32)]) -> usize {
    let meet = |a: &(u32, u32), b: &(u32, u32)| a.1 == b.0 || a.1 == b.1 || a.0 == b.1;
    let waits = |&n: &usize| pairs[..n].iter().any(|earlier| meet(earlier, &pairs[n]));
    (1..pairs.len()).find(waits).unwrap_or(pairs.len())
}

fn launch(
    backend: &dyn Backend,
    cache: &Tensor,
    pairs: &[(u32, u32)],
    block_len: usize,
) -> Result<()> {
    let flat: Vec<u32> = pairs.iter().flat_map(|&(from, to)| [from, to]).collect();
    let table = Tensor::new(flat, cache.device())?;
    let block_bytes = block_len * cache.dtype().size_in_bytes();
    let mut words = backend.span_mut(cache)?;
    words.len = words.len * cache.dtype().size_in_bytes() as u64 / WORD_BYTES as u64;
    let params = BlockCopy {
        cache: words,
        pairs: backend.span(&table)?,
        block_len: (block_bytes / WORD_BYTES) as u32,
        padding: 0,
    };
    let columns = block_bytes.div_ceil(THREADS * LOAD_BYTES);
    let grid = [pairs.len() as u32, columns as u32, 1];
    let launch = Launch::new(NAME, NAME.into(), grid, THREADS as u32, &params);
    // SAFETY: the pairs were checked against the cache, whose blocks are whole loads, and no two
    // of them meet; the tensors live on.
    #[expect(unsafe_code, reason = "runs a kernel")]
    unsafe {
        backend.launch(&launch)
    }
}
