//! Memory for what is read from end to end again and again.

use std::marker::PhantomData;

use candle_core::{Error, Result};
use memmap2::MmapMut;

/// Elements in pages of their own: in large ones where the system has them, so that a pass over
/// them does not wait for a page's address every few microseconds.
pub(super) struct Pages<T> {
    bytes: MmapMut,
    elements: PhantomData<T>,
}

/// Of which every pattern of bits is one.
///
/// # Safety
/// So it must be, without padding, and aligned to less than a page.
#[expect(unsafe_code, reason = "a promise about memory")]
pub(super) unsafe trait Plain: Copy + Send + Sync {}

impl<T: Plain> Pages<T> {
    /// All bits zero.
    pub(super) fn zeroed(count: usize) -> Result<Self> {
        // No mapping is empty.
        let bytes = MmapMut::map_anon((count * size_of::<T>()).max(1)).map_err(Error::wrap)?;
        #[cfg(target_os = "linux")]
        // A wish; small pages do as well.
        drop(bytes.advise(memmap2::Advice::HugePage));
        Ok(Self {
            bytes,
            elements: PhantomData,
        })
    }

    pub(super) fn elements(&self) -> &[T] {
        // SAFETY: `Plain` says that any bytes are elements; a mapping is aligned to pages.
        #[expect(unsafe_code, reason = "bytes as elements")]
        let (before, elements, _) = unsafe { self.bytes.align_to() };
        debug_assert!(before.is_empty());
        elements
    }

    pub(super) fn elements_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "bytes as elements")]
        let (before, elements, _) = unsafe { self.bytes.align_to_mut() };
        debug_assert!(before.is_empty());
        elements
    }
}
