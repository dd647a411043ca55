//! Plain copies, row by row and head by head.

use candle_core::{CpuStorage, Layout, Result};

use super::{NAME, Shape};
use crate::{
    BLOCK_TOKENS,
    element::{Element, elements, elements_mut},
};

pub(super) fn write<T: Element>(
    shape: Shape,
    cache: (&mut CpuStorage, &Layout),
    new: (&CpuStorage, &Layout),
    slots: &[u32],
) -> Result<()> {
    let cache = elements_mut::<T>(NAME, cache.0, cache.1)?;
    let new = elements::<T>(NAME, new.0, new.1)?;
    let Shape { kv_heads, head_dim } = shape;
    for (row, &slot) in new.chunks_exact(kv_heads * head_dim).zip(slots) {
        let (block, offset) = (slot as usize / BLOCK_TOKENS, slot as usize % BLOCK_TOKENS);
        for (head, values) in row.chunks_exact(head_dim).enumerate() {
            let at = ((block * kv_heads + head) * BLOCK_TOKENS + offset) * head_dim;
            cache[at..at + head_dim].copy_from_slice(values);
        }
    }
    Ok(())
}
