// A mixture of experts in four launches: the pairs of a token and one of its experts are sorted by
// expert; gate, up and their gated product are computed for each; then down; then each token's
// sum. Nobody on the host knows how many rows an expert gets: grids are as large as could be
// needed, and blocks without work leave at once.
//
// Few rows and many take different kernels, which agree in every bit: both give the same elements
// of a row to the same matrix instructions in the same order.
#include "device.cuh"

// ---- Sorting.

struct MixtureSort {
  // Of each pair, token by token.
  Span<const uint32_t> experts;
  // The pairs, ordered by expert, those of one expert as they came. A place in it is a slot.
  Span<uint32_t> order;
  // Where each expert's slots start, and behind them where the last one's end.
  Span<uint32_t> starts;
  uint32_t num_pairs;
  uint32_t num_experts;
};

constexpr int MIXTURE_SORT_THREADS = 256;

// Calls `use` with each pair of an expert and the number of those before it; returns how many
// there are. A warp's work.
template <typename Use> __device__ uint32_t each_pair_of(const MixtureSort &p, uint32_t expert, const Use &use) {
  const uint32_t lane = threadIdx.x % WARP;
  uint32_t before = 0;
  for (uint32_t first = 0; first < p.num_pairs; first += WARP) {
    const uint32_t pair = first + lane;
    const bool found = pair < p.num_pairs && p.experts[pair] == expert;
    const uint32_t lanes = ballot_warp(found);
    if (found)
      use(pair, before + count_ones(lanes & ((1u << lane) - 1)));
    before += count_ones(lanes);
  }
  return before;
}

__device__ void sort_pairs(const MixtureSort &p) {
  const auto starts = shared_memory<uint32_t>(0, p.num_experts);
  const uint32_t warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  for (uint32_t expert = warp; expert < p.num_experts; expert += warps) {
    const uint32_t count = each_pair_of(p, expert, [](uint32_t, uint32_t) {});
    if (threadIdx.x % WARP == 0)
      starts[expert] = count;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    uint32_t start = 0;
    for (uint32_t expert = 0; expert < p.num_experts; expert++) {
      const uint32_t count = starts[expert];
      starts[expert] = p.starts[expert] = start;
      start += count;
    }
    p.starts[p.num_experts] = start;
  }
  __syncthreads();
  for (uint32_t expert = warp; expert < p.num_experts; expert += warps) {
    const uint32_t start = starts[expert];
    each_pair_of(p, expert, [&](uint32_t pair, uint32_t before) { p.order[start + before] = pair; });
  }
}

KERNEL(mixture_sort, MIXTURE_SORT_THREADS, sort_pairs, MixtureSort)

// ---- Products.

// GATED: silu(gate x) * (up x) of the token of each slot, written by slot. Otherwise down times
// what that gave, written by pair.
template <typename T, bool GATED> struct Product {
  // [tokens, size_in] if GATED, else [slots, size_in].
  Span<const T> x;
  // [num_experts, size_out, size_in]: the gate's if GATED, else down's.
  Span<const T> weight;
  // The same of up, if GATED.
  Span<const T> up;
  Span<const uint32_t> order;
  Span<const uint32_t> starts;
  // [slots or pairs, size_out]
  Span<T> out;
  uint32_t num_experts;
  uint32_t experts_per_token;
  uint32_t size_in;
  uint32_t size_out;
};

constexpr int PRODUCT_THREADS = 128;
constexpr int PRODUCT_WARPS = PRODUCT_THREADS / WARP;

// Where the row of x starts that a slot takes.
template <typename T, bool GATED> __device__ uint64_t x_row(const Product<T, GATED> &p, uint32_t slot) {
  return uint64_t(GATED ? p.order[slot] / p.experts_per_token : slot) * p.size_in;
}

// Where a row of an expert's weight starts.
template <typename T, bool GATED>
__device__ uint64_t weight_row(const Product<T, GATED> &p, uint32_t expert, uint32_t feature) {
  return (uint64_t(expert) * p.size_out + feature) * p.size_in;
}

// Rounds a product, with up's if GATED, and writes it.
template <typename T, bool GATED>
__device__ void store_feature(const Product<T, GATED> &p, uint32_t slot, uint32_t feature, float sum, float up) {
  T value = from_float<T>(sum);
  if (GATED)
    value = from_float<T>(silu(to_float(value)) * to_float(from_float<T>(up)));
  const uint64_t row = GATED ? slot : p.order[slot];
  p.out[row * p.size_out + feature] = value;
}

// ---- Products of f32: a warp a feature, its lanes taking turns along the row.

constexpr int PLAIN_SLOTS = 4;

template <bool GATED>
__device__ void plain_slots(const Product<float, GATED> &p, uint32_t expert, uint32_t feature, uint32_t slot,
                            uint32_t end) {
  const uint32_t lane = threadIdx.x % WARP, slots = end - slot < PLAIN_SLOTS ? end - slot : PLAIN_SLOTS;
  const uint64_t row = weight_row(p, expert, feature);
  float sums[PLAIN_SLOTS] = {}, up_sums[PLAIN_SLOTS] = {};
  for (uint32_t k = lane * Pack<float>::LEN; k < p.size_in; k += WARP * Pack<float>::LEN) {
    const Pack<float> weight = load16(p.weight, row + k), up = GATED ? load16(p.up, row + k) : weight;
    UNROLL for (int i = 0; i < PLAIN_SLOTS; i++) {
      if (i >= int(slots))
        continue;
      const Pack<float> x = load16(p.x, x_row(p, slot + i) + k);
      UNROLL for (int j = 0; j < Pack<float>::LEN; j++) {
        sums[i] += weight.values[j] * x.values[j];
        up_sums[i] += up.values[j] * x.values[j];
      }
    }
  }
  UNROLL for (int i = 0; i < PLAIN_SLOTS; i++) {
    const float sum = reduce_warp(sums[i], Sum()), up = GATED ? reduce_warp(up_sums[i], Sum()) : 0.0f;
    if (lane == 0 && i < int(slots))
      store_feature(p, slot + i, feature, sum, up);
  }
}

template <bool GATED> __device__ void product_plain(const Product<float, GATED> &p) {
  const uint32_t feature = blockIdx.x * PRODUCT_WARPS + threadIdx.x / WARP, expert = blockIdx.y;
  if (feature >= p.size_out)
    return;
  const uint32_t end = p.starts[expert + 1];
  for (uint32_t slot = p.starts[expert]; slot < end; slot += PLAIN_SLOTS)
    plain_slots(p, expert, feature, slot, end);
}

// ---- Products by matrix instructions: 16 features by 8 slots.

// Writes the sums of 16 features by 8 slots.
template <typename T, bool GATED>
__device__ void store_sums(const Product<T, GATED> &p, uint32_t first_slot, uint32_t end, uint32_t first_feature,
                           const float (&sums)[4], const float (&up)[4]) {
  const uint32_t lane = threadIdx.x % WARP;
  UNROLL for (int i = 0; i < 4; i++) {
    const uint32_t slot = first_slot + lane % 4 * 2 + i % 2, feature = first_feature + lane / 4 + i / 2 * 8;
    if (slot < end && feature < p.size_out)
      store_feature(p, slot, feature, sums[i], up[i]);
  }
}

// ---- Few rows: weights go from memory into registers, each once for eight slots.

// 16 features by 8 slots. Sixteen loads of weights are under way in each lane.
template <typename T, bool GATED>
__device__ void stream_features(const Product<T, GATED> &p, uint32_t expert, uint32_t feature, uint32_t slot,
                                uint32_t end) {
  constexpr int MATRICES = GATED ? 2 : 1, DEPTH = 8 / MATRICES;
  const uint32_t lane = threadIdx.x % WARP, row = lane / 4, column = lane % 4 * 8;
  const uint64_t low_row = weight_row(p, expert, feature + row), high_row = low_row + uint64_t(8) * p.size_in;
  const bool has_low = feature + row < p.size_out, has_high = feature + row + 8 < p.size_out;
  const bool has_x = slot + row < end;
  const uint64_t from_row = has_x ? x_row(p, slot + row) : 0;
  float sums[MATRICES][4] = {};
  for (uint32_t first = column; first < p.size_in + column; first += DEPTH * STRETCH) {
    uint32_t low[DEPTH][MATRICES][4], high[DEPTH][MATRICES][4], x[DEPTH][4];
    UNROLL for (int i = 0; i < DEPTH; i++) {
      const uint32_t k = first + i * STRETCH;
      const bool inside = k < p.size_in;
      UNROLL for (int matrix = 0; matrix < MATRICES; matrix++) {
        const Span<const T> weight = matrix == 0 ? p.weight : p.up;
        load_words(low[i][matrix], weight, low_row + k, inside && has_low);
        load_words(high[i][matrix], weight, high_row + k, inside && has_high);
      }
      load_words(x[i], p.x, from_row + k, inside && has_x);
    }
    // Else the assembler moves each load down to where it is used, and few are under way.
    sync_warp();
    UNROLL for (int i = 0; i < DEPTH; i++) {
      UNROLL for (int matrix = 0; matrix < MATRICES; matrix++)
        multiply_stretch<T>(sums[matrix], low[i][matrix], high[i][matrix], x[i]);
    }
  }
  store_sums(p, slot, end, feature, sums[0], sums[MATRICES - 1]);
}

template <typename T, bool GATED> __device__ void product_few(const Product<T, GATED> &p) {
  const uint32_t feature = (blockIdx.x * PRODUCT_WARPS + threadIdx.x / WARP) * 16, expert = blockIdx.y;
  if (feature >= p.size_out)
    return;
  const uint32_t end = p.starts[expert + 1];
  for (uint32_t slot = p.starts[expert]; slot < end; slot += 8)
    stream_features(p, expert, feature, slot, end);
}

// ---- Many rows: tiles of slots by features, stretch by stretch through shared memory.
//
// A block has 128 rows of weights, its warps two by two each 64 of them (if GATED, 32 features of
// the gate and the same of up) by half of the slots. A stretch of a row is 64 bytes, so the loads
// of a fragment fall into all banks alike.

constexpr int TILE_ROWS = 128;
constexpr int STAGES = 4;

template <bool GATED> constexpr uint32_t FEATURES = GATED ? TILE_ROWS / 2 : TILE_ROWS;

struct Tile {
  uint32_t expert, slot, end;
};

// The n-th of the tiles of `slots`, no tile having two experts; beyond the last, one without slots.
template <typename T, bool GATED> __device__ Tile nth_tile(const Product<T, GATED> &p, uint32_t n, uint32_t slots) {
  for (uint32_t expert = 0; expert < p.num_experts; expert++) {
    const uint32_t start = p.starts[expert], end = p.starts[expert + 1];
    const uint32_t tiles = (end - start + slots - 1) / slots;
    if (n < tiles)
      return {expert, start + n * slots, end};
    n -= tiles;
  }
  return {0, 0, 0};
}

// Starts the copy of a stretch of the tile's weights, 32 rows at a time: of the gate and of up in
// turns if GATED.
template <typename T, bool GATED>
__device__ void copy_weights(const Product<T, GATED> &p, uint32_t expert, uint32_t first_feature, uint32_t stretch,
                             Span<T> to) {
  const uint32_t row = threadIdx.x / 4, column = threadIdx.x % 4 * 8, k = stretch * STRETCH + column;
  UNROLL for (uint32_t i = 0; i < TILE_ROWS / 32; i++) {
    const uint32_t feature = first_feature + (GATED ? i / 2 : i) * 32 + row;
    const bool valid = k < p.size_in && feature < p.size_out;
    copy_async16(to, (i * 32 + row) * STRETCH + column, GATED && i % 2 == 1 ? p.up : p.weight,
                 weight_row(p, expert, feature) + k, valid);
  }
}

// The rows of x that a thread copies a part of.
template <int COUNT> struct XRows {
  uint64_t starts[COUNT];
  bool valid[COUNT];
};

template <int COUNT, typename T, bool GATED>
__device__ XRows<COUNT> x_rows(const Product<T, GATED> &p, const Tile &tile) {
  XRows<COUNT> rows;
  UNROLL for (int i = 0; i < COUNT; i++) {
    const uint32_t slot = tile.slot + i * 32 + threadIdx.x / 4;
    rows.valid[i] = slot < tile.end;
    rows.starts[i] = rows.valid[i] ? x_row(p, slot) : 0;
  }
  return rows;
}

template <int COUNT, typename T, bool GATED>
__device__ void copy_x(const Product<T, GATED> &p, const XRows<COUNT> &rows, uint32_t stretch, Span<T> to) {
  const uint32_t row = threadIdx.x / 4, column = threadIdx.x % 4 * 8, k = stretch * STRETCH + column;
  UNROLL for (int i = 0; i < COUNT; i++)
    copy_async16(to, (i * 32 + row) * STRETCH + column, p.x, rows.starts[i] + k, rows.valid[i] && k < p.size_in);
}

// Adds the products of a stretch of 64 rows of weights with 8 SLOT_TILES slots.
template <int SLOT_TILES, typename T>
__device__ void multiply_tile(float (&sums)[4][SLOT_TILES][4], Span<const T> weights, Span<const T> x) {
  const uint32_t lane = threadIdx.x % WARP, at = lane / 4 * STRETCH + lane % 4 * 8;
  uint32_t low[4][4], high[4][4];
  UNROLL for (int i = 0; i < 4; i++) {
    load_words(low[i], weights, i * 16 * STRETCH + at, true);
    load_words(high[i], weights, (i * 16 + 8) * STRETCH + at, true);
  }
  UNROLL for (int j = 0; j < SLOT_TILES; j++) {
    uint32_t slots[4];
    load_words(slots, x, j * 8 * STRETCH + at, true);
    UNROLL for (int i = 0; i < 4; i++)
      multiply_stretch<T>(sums[i][j], low[i], high[i], slots);
  }
}

template <int SLOT_TILES, typename T, bool GATED>
__device__ void store_tile(const Product<T, GATED> &p, const float (&sums)[4][SLOT_TILES][4], uint32_t slot,
                           uint32_t end, uint32_t feature) {
  UNROLL for (int j = 0; j < SLOT_TILES; j++) {
    UNROLL for (int i = 0; i < (GATED ? 2 : 4); i++)
      store_sums(p, slot + j * 8, end, feature + i * 16, sums[i][j], sums[GATED ? i + 2 : i][j]);
  }
}

// Tiles of 16 SLOT_TILES slots.
template <int SLOT_TILES, typename T, bool GATED> __device__ void product_tiled(const Product<T, GATED> &p) {
  constexpr uint32_t SLOTS = 16 * SLOT_TILES, X_AT = TILE_ROWS * STRETCH, STAGE = X_AT + SLOTS * STRETCH;
  const Tile tile = nth_tile(p, blockIdx.x, SLOTS);
  if (tile.slot == tile.end)
    return;
  const uint32_t first_feature = blockIdx.y * FEATURES<GATED>, warp = threadIdx.x / WARP;
  const uint32_t slot = tile.slot + warp / 2 * (SLOTS / 2), feature = first_feature + warp % 2 * (FEATURES<GATED> / 2);
  const auto rows = x_rows<SLOTS / 32>(p, tile);
  const Span<T> shared = shared_memory<T>(0, STAGES * STAGE);
  const uint32_t stretches = (p.size_in + STRETCH - 1) / STRETCH;
  const auto copy = [&](uint32_t stretch) {
    if (stretch < stretches) {
      const Span<T> to = shared.from(stretch % STAGES * STAGE);
      copy_weights(p, tile.expert, first_feature, stretch, to);
      copy_x(p, rows, stretch, to.from(X_AT));
    }
    copy_async_commit();
  };
  float sums[4][SLOT_TILES][4] = {};
  for (uint32_t stretch = 0; stretch < STAGES - 1; stretch++)
    copy(stretch);
  for (uint32_t stretch = 0; stretch < stretches; stretch++) {
    copy_async_wait<STAGES - 2>();
    __syncthreads();
    // Into the stage that every warp has left, before the barrier.
    copy(stretch + STAGES - 1);
    const Span<const T> stage = {shared.data + stretch % STAGES * STAGE, STAGE};
    if (slot < tile.end)
      multiply_tile<SLOT_TILES>(sums, stage.from(warp % 2 * 64 * STRETCH),
                                stage.from(X_AT + warp / 2 * (SLOTS / 2) * STRETCH));
  }
  store_tile<SLOT_TILES>(p, sums, slot, tile.end, feature);
}

#define PRODUCTS(stage, gated)                                                                     \
  KERNEL(mixture_##stage##_plain_f32, PRODUCT_THREADS, product_plain, Product<float, gated>)       \
  KERNEL(mixture_##stage##_few_bf16, PRODUCT_THREADS, product_few, Product<bf16, gated>)           \
  KERNEL(mixture_##stage##_few_f16, PRODUCT_THREADS, product_few, Product<f16, gated>)             \
  KERNEL(mixture_##stage##_tiled32_bf16, PRODUCT_THREADS, product_tiled<2>, Product<bf16, gated>)  \
  KERNEL(mixture_##stage##_tiled32_f16, PRODUCT_THREADS, product_tiled<2>, Product<f16, gated>)    \
  KERNEL(mixture_##stage##_tiled128_bf16, PRODUCT_THREADS, product_tiled<8>, Product<bf16, gated>) \
  KERNEL(mixture_##stage##_tiled128_f16, PRODUCT_THREADS, product_tiled<8>, Product<f16, gated>)

PRODUCTS(gated, true)
PRODUCTS(down, false)

// ---- Each token's sum.

template <typename T> struct MixtureCombine {
  // [pairs, hidden]
  Span<const T> products;
  Span<const uint32_t> experts;
  Span<const float> weights;
  Span<T> out;
  uint32_t num_experts;
  uint32_t experts_per_token;
  uint32_t hidden;
  uint32_t padding;
};

constexpr int MIXTURE_COMBINE_THREADS = 128;

// The first of a token's pairs, by expert and then by place, whose rank is at least `bound`.
template <typename T> __device__ uint64_t next_pair(const MixtureCombine<T> &p, uint64_t first, uint64_t bound) {
  uint64_t best = ~uint64_t(0);
  for (uint32_t i = 0; i < p.experts_per_token; i++) {
    const uint64_t rank = uint64_t(p.experts[first + i]) << 32 | i;
    if (rank >= bound && rank < best)
      best = rank;
  }
  return best;
}

template <typename T> __device__ void mixture_combine(const MixtureCombine<T> &p) {
  const uint32_t column = (blockIdx.y * blockDim.x + threadIdx.x) * Pack<T>::LEN;
  if (column >= p.hidden)
    return;
  const uint64_t first = uint64_t(blockIdx.x) * p.experts_per_token;
  float sums[Pack<T>::LEN] = {};
  for (uint64_t rank = next_pair(p, first, 0); rank >> 32 < p.num_experts; rank = next_pair(p, first, rank + 1)) {
    const uint64_t pair = first + uint32_t(rank);
    const float weight = p.weights[pair];
    const Pack<T> product = load16(p.products, pair * p.hidden + column);
    for (int i = 0; i < Pack<T>::LEN; i++)
      sums[i] += weight * to_float(product.values[i]);
  }
  Pack<T> out;
  for (int i = 0; i < Pack<T>::LEN; i++)
    out.values[i] = from_float<T>(sums[i]);
  store16(p.out, uint64_t(blockIdx.x) * p.hidden + column, out);
}

KERNEL(mixture_combine_f32, MIXTURE_COMBINE_THREADS, mixture_combine, MixtureCombine<float>)
KERNEL(mixture_combine_bf16, MIXTURE_COMBINE_THREADS, mixture_combine, MixtureCombine<bf16>)
KERNEL(mixture_combine_f16, MIXTURE_COMBINE_THREADS, mixture_combine, MixtureCombine<f16>)
