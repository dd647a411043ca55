// A thread takes 16 bytes of the lower half of a head and the same of the upper half: of a head of
// q, then of k, then of v, in this order over the blocks of a token.
#include "device.cuh"

template <typename T> struct RopeKvWrite {
  Span<const T> q;
  Span<const T> k;
  Span<const T> v;
  Span<const float> cos;
  Span<const float> sin;
  Span<const uint32_t> positions;
  Span<const uint32_t> slots;
  Span<T> rotated;
  Span<T> k_cache;
  Span<T> v_cache;
  uint32_t heads;
  uint32_t kv_heads;
  uint32_t head_dim;
  uint32_t padding;
};

constexpr int ROPE_KV_WRITE_THREADS = 128;
constexpr uint32_t BLOCK_TOKENS = 32;
// The slot of a row that writes nothing into the cache.
constexpr uint32_t NO_SLOT = UINT32_MAX;

// The two elements of a pair, for some pairs side by side.
template <typename T> struct Pairs {
  Pack<T> low, high;
};

template <typename T> __device__ Pairs<T> load_pairs(Span<const T> from, uint64_t index, uint32_t half) {
  return {load16(from, index), load16(from, index + half)};
}

template <typename T> __device__ void store_pairs(Span<T> to, uint64_t index, uint32_t half, const Pairs<T> &pairs) {
  store16(to, index, pairs.low);
  store16(to, index + half, pairs.high);
}

// Turns each pair by its angle; that of the first is at `index`.
template <typename T>
__device__ void rotate(Pairs<T> &pairs, Span<const float> cosines, Span<const float> sines, uint64_t index) {
  for (int first = 0; first < Pack<T>::LEN; first += Pack<float>::LEN) {
    const Pack<float> cos = load16(cosines, index + first), sin = load16(sines, index + first);
    for (int i = 0; i < Pack<float>::LEN; i++) {
      T &low = pairs.low.values[first + i], &high = pairs.high.values[first + i];
      const float x = to_float(low), y = to_float(high);
      low = from_float<T>(x * cos.values[i] - y * sin.values[i]);
      high = from_float<T>(x * sin.values[i] + y * cos.values[i]);
    }
  }
}

template <typename T> __device__ void rope_kv_write(const RopeKvWrite<T> &p) {
  const uint32_t half = p.head_dim / 2, packs = half / Pack<T>::LEN;
  const uint32_t item = blockIdx.y * blockDim.x + threadIdx.x;
  const uint32_t head = item / packs, first = item % packs * Pack<T>::LEN;
  if (head >= p.heads + 2 * p.kv_heads)
    return;
  const uint64_t token = blockIdx.x, angles = uint64_t(p.positions[token]) * half + first;
  if (head < p.heads) {
    const uint64_t index = (token * p.heads + head) * p.head_dim + first;
    Pairs<T> pairs = load_pairs(p.q, index, half);
    rotate(pairs, p.cos, p.sin, angles);
    store_pairs(p.rotated, index, half, pairs);
    return;
  }
  const bool is_k = head < p.heads + p.kv_heads;
  const uint32_t kv_head = head - p.heads - (is_k ? 0 : p.kv_heads);
  const uint64_t slot = p.slots[token];
  if (slot == NO_SLOT)
    return;
  const uint64_t row = (slot / BLOCK_TOKENS * p.kv_heads + kv_head) * BLOCK_TOKENS + slot % BLOCK_TOKENS;
  Pairs<T> pairs = load_pairs(is_k ? p.k : p.v, (token * p.kv_heads + kv_head) * p.head_dim + first, half);
  if (is_k)
    rotate(pairs, p.cos, p.sin, angles);
  store_pairs(is_k ? p.k_cache : p.v_cache, row * p.head_dim + first, half, pairs);
}

KERNEL(rope_kv_write_f32, ROPE_KV_WRITE_THREADS, rope_kv_write, RopeKvWrite<float>)
KERNEL(rope_kv_write_bf16, ROPE_KV_WRITE_THREADS, rope_kv_write, RopeKvWrite<bf16>)
KERNEL(rope_kv_write_f16, ROPE_KV_WRITE_THREADS, rope_kv_write, RopeKvWrite<f16>)
