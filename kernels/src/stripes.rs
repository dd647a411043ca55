//! A matrix that several threads write at once, each its own part of it.

use std::marker::PhantomData;
use std::ops::Range;

use crate::team;

/// `[rows, columns]`.
pub(crate) struct Stripes<'a, T> {
    first: *mut T,
    len: usize,
    columns: usize,
    elements: PhantomData<&'a mut [T]>,
}

// SAFETY: it gives out parts of a `&mut [T]`, and no part twice.
#[expect(unsafe_code, reason = "parts of one slice on several threads")]
unsafe impl<T: Send> Sync for Stripes<'_, T> {}

impl<'a, T> Stripes<'a, T> {
    pub(crate) fn new(elements: &'a mut [T], columns: usize) -> Self {
        Self {
            first: elements.as_mut_ptr(),
            len: elements.len(),
            columns,
            elements: PhantomData,
        }
    }

    /// Some columns of a row.
    ///
    /// # Safety
    /// Nobody else has any of these elements at the same time.
    #[expect(unsafe_code, reason = "a promise about the others")]
    #[expect(
        clippy::mut_from_ref,
        reason = "each part is given out once, as the caller promises"
    )]
    pub(crate) unsafe fn part(&self, row: usize, columns: Range<usize>) -> &mut [T] {
        let start = row * self.columns + columns.start;
        assert!(columns.end <= self.columns && start + columns.len() <= self.len);
        // SAFETY: within the slice, and nobody else's by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), columns.len()) }
    }
}

/// Calls `work` with the index of each chunk of `len` elements and the chunk, on several threads.
pub(crate) fn for_each_chunk<T: Send>(
    elements: &mut [T],
    len: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if elements.is_empty() {
        return;
    }
    let total = elements.len();
    let all = Stripes::new(elements, total);
    team::run(total.div_ceil(len), |chunk| {
        let range = chunk * len..total.min((chunk + 1) * len);
        // SAFETY: each chunk is worked on once, and chunks do not overlap.
        #[expect(unsafe_code, reason = "parts of one slice on several threads")]
        let part = unsafe { all.part(0, range) };
        work(chunk, part);
    });
}
