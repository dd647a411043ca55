//! Plain loops, row by row and head by head.

use candle_core::{CpuStorage, Layout, Result};

use super::{NAME, Write};
use crate::{
    BLOCK_TOKENS,
    element::{Element, elements, elements_mut},
};

/// `rows` is `[positions, heads, head_dim]`.
pub(super) fn rotate<T: Element>(
    rows: &[T],
    positions: &[u32],
    (cos, sin): (&[f32], &[f32]),
    (heads, head_dim): (usize, usize),
) -> Vec<T> {
    let mut out = rows.to_vec();
    rotate_rows(&mut out, positions, (cos, sin), (heads, head_dim));
    out
}

#[inline(always)]
pub(super) fn rotate_rows<T: Element>(
    rows: &mut [T],
    positions: &[u32],
    (cos, sin): (&[f32], &[f32]),
    (heads, head_dim): (usize, usize),
) {
    let pairs = head_dim / 2;
    for (row, &position) in rows.chunks_exact_mut(heads * head_dim).zip(positions) {
        let angles = position as usize * pairs..(position as usize + 1) * pairs;
        for head in row.chunks_exact_mut(head_dim) {
            rotate_head(head, &cos[angles.clone()], &sin[angles.clone()]);
        }
    }
}

#[inline(always)]
fn rotate_head<T: Element>(head: &mut [T], cos: &[f32], sin: &[f32]) {
    let (low, high) = head.split_at_mut(cos.len());
    let pairs = low.iter_mut().zip(high);
    for ((low, high), (cos, sin)) in pairs.zip(cos.iter().zip(sin)) {
        let (x, y) = (low.widen(), high.widen());
        *low = T::narrow(x * cos - y * sin);
        *high = T::narrow(x * sin + y * cos);
    }
}

pub(super) fn write<T: Element>(
    &Write { kv_heads, head_dim }: &Write,
    cache: (&mut CpuStorage, &Layout),
    new: (&CpuStorage, &Layout),
    slots: &[u32],
) -> Result<()> {
    let cache = elements_mut::<T>(NAME, cache.0, cache.1)?;
    let new = elements::<T>(NAME, new.0, new.1)?;
    for (row, &slot) in new.chunks_exact(kv_heads * head_dim).zip(slots) {
        let (block, offset) = (slot as usize / BLOCK_TOKENS, slot as usize % BLOCK_TOKENS);
        for (head, values) in row.chunks_exact(head_dim).enumerate() {
            let at = ((block * kv_heads + head) * BLOCK_TOKENS + offset) * head_dim;
            cache[at..at + head_dim].copy_from_slice(values);
        }
    }
    Ok(())
}
