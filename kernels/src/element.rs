//! The element types of cache and activations.

use candle_core::{CpuStorage, DType, Layout, Result, WithDType, bail};
use half::bf16;

/// A type that the ops compute with: widened to f32 for the arithmetic, narrowed to be stored.
pub(crate) trait Element: WithDType + Send + Sync {
    fn widen(self) -> f32;

    /// The elements of a storage of this type.
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F32(values) => Some(values),
            _ => None,
        }
    }
}

impl Element for bf16 {
    // A shift, and nothing that would keep a loop from being vectorised.
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::BF16(values) => Some(values),
            _ => None,
        }
    }
}

/// The contiguous elements that a layout covers.
pub(crate) fn elements<'a, T: WithDType>(
    op: &str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [T]> {
    let (start, end) = contiguous(op, layout)?;
    Ok(&storage.as_slice::<T>()?[start..end])
}

/// As [`elements`], to be written.
pub(crate) fn elements_mut<'a, T: Element>(
    op: &str,
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [T]> {
    let (start, end) = contiguous(op, layout)?;
    match T::slice_mut(storage) {
        Some(values) => Ok(&mut values[start..end]),
        None => bail!("{op}: expected a tensor of {:?}", T::DTYPE),
    }
}

fn contiguous(op: &str, layout: &Layout) -> Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some(range) => Ok(range),
        None => bail!("{op}: arguments must be contiguous"),
    }
}

/// Refuses what no op here computes with.
pub(crate) fn check_dtype(op: &str, what: &str, dtype: DType) -> Result<()> {
    match dtype {
        DType::F32 | DType::BF16 => Ok(()),
        other => bail!("{op}: {what} is {other:?}, only f32 and bf16 are supported"),
    }
}
