//! Decisions read from bytes: what a fuzzer changes and a property test shrinks.

/// Past the last byte every decision is the first, so that fewer bytes mean a simpler case.
pub(crate) struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let bytes = bytes.iter();
        Self { bytes }
    }

    /// A number below `bound`, which is at most 256.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.bytes.next().copied().unwrap_or(0)) % bound
    }

    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// True once in `one_in` times; false when the bytes are used up.
    pub(crate) fn sometimes(&mut self, one_in: usize) -> bool {
        self.below(one_in) == one_in - 1
    }

    /// At least `least` and at most `most` items.
    pub(crate) fn many<T>(
        &mut self,
        least: usize,
        most: usize,
        mut item: impl FnMut(&mut Self) -> T,
    ) -> Vec<T> {
        let count = least + self.below(most - least + 1);
        (0..count).map(|_| item(self)).collect()
    }

    /// Whether bytes are left.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.len() == 0
    }
}
