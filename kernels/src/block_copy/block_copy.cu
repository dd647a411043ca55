// Whole blocks from one place of the cache to another: a column of the grid a pair. Elements are not
// looked into, so any type is copied as words.
#include "device.cuh"

struct BlockCopy {
  // [num_blocks, block_len]
  Span<uint32_t> cache;
  // [pairs, 2]: from, to. No pair reads or writes what another writes.
  Span<const uint32_t> pairs;
  // Words, a multiple of four.
  uint32_t block_len;
};

constexpr int BLOCK_COPY_THREADS = 256;

__device__ void copy_pair(const BlockCopy &p) {
  const uint64_t from = uint64_t(p.pairs[2 * blockIdx.x]) * p.block_len;
  const uint64_t to = uint64_t(p.pairs[2 * blockIdx.x + 1]) * p.block_len;
  const Span<const uint32_t> source = {p.cache.data, p.cache.len};
  const uint32_t word = (blockIdx.y * BLOCK_COPY_THREADS + threadIdx.x) * Pack<uint32_t>::LEN;
  if (word < p.block_len)
    store16(p.cache, to + word, load16(source, from + word));
}

KERNEL(block_copy, BLOCK_COPY_THREADS, copy_pair, BlockCopy)
