// A block a row.
#include "device.cuh"

template <typename T> struct Embedding {
  Span<const uint32_t> ids;
  Span<const T> table;
  Span<T> out;
  uint32_t vocab;
  uint32_t hidden;
};

constexpr int EMBEDDING_THREADS = 256;

template <typename T> __device__ void embedding(const Embedding<T> &p) {
  const uint32_t id = p.ids[blockIdx.x];
  const uint64_t from = uint64_t(id) * p.hidden, to = uint64_t(blockIdx.x) * p.hidden;
  for (uint32_t column = threadIdx.x * Pack<T>::LEN; column < p.hidden; column += blockDim.x * Pack<T>::LEN) {
    Pack<T> row;
    memset(&row, 0, sizeof row);
    if (id < p.vocab)
      row = load16(p.table, from + column);
    store16(p.out, to + column, row);
  }
}

KERNEL(embedding_f32, EMBEDDING_THREADS, embedding, Embedding<float>)
KERNEL(embedding_bf16, EMBEDDING_THREADS, embedding, Embedding<bf16>)
KERNEL(embedding_f16, EMBEDDING_THREADS, embedding, Embedding<f16>)
