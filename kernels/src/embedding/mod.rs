//! The rows of the embedding table that tokens name.

mod cpu;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod cuda;

use candle_core::{DType, Result, Tensor, bail};

use crate::element::{check_dtype, host, with_elements};

const NAME: &str = "embedding";

/// The row of `table`, `[vocab, hidden]`, for each of `ids`, u32 `[num_tokens]`:
/// `[num_tokens, hidden]`.
///
/// The table is f32, bf16 or f16; both are contiguous.
///
/// # Errors
/// Shapes or dtypes that do not fit; on a card, a `hidden` that is no multiple of 16 bytes. An id
/// beyond the vocabulary is an error on the CPU. On a card, where nobody waits for the ids to be
/// looked at, such a token gets a row of zeros, and nothing outside the table is read.
pub fn embedding(ids: &Tensor, table: &Tensor) -> Result<Tensor> {
    let num_tokens = ids.dims1()?;
    let (_, hidden) = table.dims2()?;
    check_dtype(NAME, "the table", table.dtype())?;
    if ids.dtype() != DType::U32 {
        bail!("{NAME}: the ids are {:?}, not u32", ids.dtype());
    }
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    if let Some(backend) = crate::device::backend_of(table) {
        return cuda::embedding(&*backend, ids, table);
    }
    let (ids, rows) = (host(ids), host(table));
    with_elements!(table, T => {
        let out = cpu::embedding::<T>(ids.elements(NAME)?, rows.elements(NAME)?, hidden)?;
        Tensor::from_vec(out, (num_tokens, hidden), table.device())
    })
}
