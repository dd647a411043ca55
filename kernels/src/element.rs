//! The element types of cache and activations.

use std::ops::Deref;

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, WithDType, bail};
use half::{bf16, f16};

/// A type that the ops compute with: widened to f32 for the arithmetic, narrowed to be stored.
pub(crate) trait Element: WithDType + Send + Sync {
    fn widen(self) -> f32;

    /// To the nearest, ties to even.
    fn narrow(value: f32) -> Self;

    /// The elements of a storage of this type.
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
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

    // As `from_f32`, without a branch, for the same reason.
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
        // A bit that keeps a NaN from becoming an infinity.
        let nan = bits >> 16 | 0x40;
        Self::from_bits(if value.is_nan() { nan } else { rounded } as u16)
    }

    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::BF16(values) => Some(values),
            _ => None,
        }
    }
}

impl Element for f16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F16(values) => Some(values),
            _ => None,
        }
    }
}

/// Evaluates an expression with `T` as the element type of a tensor, whose dtype
/// [`check_dtype`] has found to be one of ours.
macro_rules! with_elements {
    ($tensor:expr, $T:ident => $body:expr) => {
        match $tensor.dtype() {
            candle_core::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            candle_core::DType::F16 => {
                type $T = half::f16;
                $body
            }
            _ => {
                type $T = f32;
                $body
            }
        }
    };
}
pub(crate) use with_elements;

/// A tensor of the shape of `x`, made from the elements of `x` and `y`, all in the host's memory.
pub(crate) fn map2<T: Element>(
    op: &str,
    x: &Tensor,
    y: &Tensor,
    compute: impl FnOnce(&[T], &[T]) -> Vec<T>,
) -> Result<Tensor> {
    Tensor::from_vec(with_both(op, x, y, compute)?, x.shape(), x.device())
}

/// What is computed from the elements of two tensors in the host's memory.
pub(crate) fn with_both<T: Element, R>(
    op: &str,
    x: &Tensor,
    y: &Tensor,
    compute: impl FnOnce(&[T], &[T]) -> R,
) -> Result<R> {
    let (x, y) = (host(x), host(y));
    Ok(compute(x.elements(op)?, y.elements(op)?))
}

/// A tensor held for reading, in the host's memory.
pub(crate) struct Host<'a, S> {
    storage: S,
    layout: &'a Layout,
}

/// Holds a tensor for reading.
pub(crate) fn host(tensor: &Tensor) -> Host<'_, impl Deref<Target = Storage>> {
    let (storage, layout) = tensor.storage_and_layout();
    Host { storage, layout }
}

impl<S: Deref<Target = Storage>> Host<'_, S> {
    /// Its contiguous elements.
    pub(crate) fn elements<T: WithDType>(&self, op: &str) -> Result<&[T]> {
        match &*self.storage {
            Storage::Cpu(storage) => elements(op, storage, self.layout),
            _ => bail!("{op}: all tensors must be on one device"),
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
        DType::F32 | DType::BF16 | DType::F16 => Ok(()),
        other => bail!("{op}: {what} is {other:?}, only f32, bf16 and f16 are supported"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_narrowed_as_its_library_does() {
        for high in 0..=u16::MAX {
            for low in [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF] {
                let value = f32::from_bits(u32::from(high) << 16 | low);
                let (found, expected) = (<bf16 as Element>::narrow(value), bf16::from_f32(value));
                assert_eq!(found.to_bits(), expected.to_bits(), "{value:?}");
            }
        }
    }
}
