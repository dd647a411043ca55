//! A copy a row.

use candle_core::{Result, bail};

use super::NAME;
use crate::element::Element;

pub(super) fn embedding<T: Element>(ids: &[u32], table: &[T], hidden: usize) -> Result<Vec<T>> {
    let mut out = Vec::with_capacity(ids.len() * hidden);
    for &id in ids {
        let first = id as usize * hidden;
        match table.get(first..first + hidden) {
            Some(row) => out.extend_from_slice(row),
            None => bail!(
                "{NAME}: token {id} is not among the {} rows",
                table.len() / hidden.max(1)
            ),
        }
    }
    Ok(out)
}
