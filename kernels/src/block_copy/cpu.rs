//! One `memmove` a block.

pub(super) fn copy<T: Copy>(cache: &mut [T], pairs: &[(u32, u32)], block_len: usize) {
    for &(from, to) in pairs {
        let from = from as usize * block_len;
        cache.copy_within(from..from + block_len, to as usize * block_len);
    }
}
