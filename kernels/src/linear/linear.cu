// x wᵀ for up to eight rows of x, as a step of decoding has them: its time is that of reading the
// weights, each once. One launch multiplies with several weights.
//
// A sum is made in an order that the length of the row alone decides: which rows or weights a launch
// has besides changes no bit of it.
#include "device.cuh"

// A weight and its product.
template <typename T> struct LinearPart {
  // [size_out, size_in]
  Span<const T> weight;
  // [size_out], or nothing to be added.
  Span<const T> bias;
  // [num_rows, size_out]
  Span<T> out;
  uint32_t size_out;
  uint32_t padding;
};

constexpr int LINEAR_PARTS = 3;

template <typename T> struct Linear {
  // [num_rows, size_in]
  Span<const T> x;
  // Where a launch has fewer, the last ones have no features.
  LinearPart<T> parts[LINEAR_PARTS];
  uint32_t num_rows;
  uint32_t size_in;
};

constexpr int LINEAR_THREADS = 256;
constexpr int LINEAR_WARPS = LINEAR_THREADS / WARP;
// Rows of x at most.
constexpr int LINEAR_ROWS = 8;
// Loads of a row of a weight that a lane has under way.
constexpr int LINEAR_DEPTH = 4;

// What a block computes: features of one weight, from `first` on.
template <typename T> struct LinearTile {
  LinearPart<T> part;
  uint32_t first;
};

// A part's tiles follow those of the part before it.
template <uint32_t FEATURES, typename T> __device__ LinearTile<T> tile_of_block(const Linear<T> &p) {
  LinearTile<T> tile = {p.parts[0], blockIdx.x * FEATURES};
  UNROLL for (int i = 1; i < LINEAR_PARTS; i++) {
    const uint32_t end = (tile.part.size_out + FEATURES - 1) / FEATURES * FEATURES;
    if (tile.first >= end)
      tile = {p.parts[i], tile.first - end};
  }
  return tile;
}

// Rounded before the bias too, as where that is added to a product.
template <typename T>
__device__ void store_product(const LinearPart<T> &part, uint32_t row, uint32_t feature, float sum) {
  T product = from_float<T>(sum);
  if (part.bias.len > 0)
    product = from_float<T>(to_float(product) + to_float(part.bias[feature]));
  part.out[uint64_t(row) * part.size_out + feature] = product;
}

// ---- bf16 and f16: by matrix instructions, 16 features by 8 rows of x a block.
//
// They multiply with the rows of x that are missing, as zeros, at no cost. Instructions of the plain
// kind, with the conversions that they need, are for eight rows about as many as a card can issue
// while it reads the weights.
//
// The warps of a block take turns along the rows, so that few features are still work for many warps.
// x is read through the first level of cache, which the blocks of a multiprocessor share and go along
// together: eight rows of 14336 are more than a block can have of shared memory.

constexpr uint32_t LINEAR_FEATURES = 16;
constexpr uint32_t LINEAR_TILE = LINEAR_ROWS * LINEAR_FEATURES;

// The warp's share of the sums.
template <typename T>
__device__ void multiply_share(const Linear<T> &p, const LinearTile<T> &tile, float (&sums)[4]) {
  const uint32_t warp = threadIdx.x / WARP, row = threadIdx.x % WARP / 4, column = threadIdx.x % 4 * 8;
  const bool has_low = tile.first + row < tile.part.size_out, has_high = tile.first + row + 8 < tile.part.size_out;
  const bool has_x = row < p.num_rows;
  const uint64_t low_row = uint64_t(tile.first + row) * p.size_in, high_row = low_row + uint64_t(8) * p.size_in;
  const uint64_t x_row = uint64_t(row) * p.size_in;
  constexpr uint32_t STEP = LINEAR_DEPTH * STRETCH;
  for (uint32_t first = warp * STEP; first < p.size_in; first += LINEAR_WARPS * STEP) {
    uint32_t low[LINEAR_DEPTH][4], high[LINEAR_DEPTH][4], x[LINEAR_DEPTH][4];
    UNROLL for (int i = 0; i < LINEAR_DEPTH; i++) {
      const uint32_t k = first + i * STRETCH + column;
      const bool inside = k < p.size_in;
      load_words_once(low[i], tile.part.weight, low_row + k, inside && has_low);
      load_words_once(high[i], tile.part.weight, high_row + k, inside && has_high);
      load_words(x[i], p.x, x_row + k, inside && has_x);
    }
    // Else the assembler moves each load down to where it is used, and few are under way.
    sync_warp();
    UNROLL for (int i = 0; i < LINEAR_DEPTH; i++)
      multiply_stretch<T>(sums, low[i], high[i], x[i]);
  }
}

template <typename T> __device__ void linear_short(const Linear<T> &p) {
  const LinearTile<T> tile = tile_of_block<LINEAR_FEATURES>(p);
  const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  float sums[4] = {};
  multiply_share(p, tile, sums);
  const Span<float> shares = shared_memory<float>(0, LINEAR_WARPS * LINEAR_TILE);
  UNROLL for (int i = 0; i < 4; i++) {
    const uint32_t row = lane % 4 * 2 + i % 2, feature = lane / 4 + i / 2 * 8;
    shares[warp * LINEAR_TILE + row * LINEAR_FEATURES + feature] = sums[i];
  }
  __syncthreads();
  const uint32_t row = threadIdx.x / LINEAR_FEATURES, feature = tile.first + threadIdx.x % LINEAR_FEATURES;
  if (row >= p.num_rows || feature >= tile.part.size_out)
    return;
  float sum = 0.0f;
  for (uint32_t share = 0; share < LINEAR_WARPS; share++)
    sum += shares[share * LINEAR_TILE + threadIdx.x];
  store_product(tile.part, row, feature, sum);
}

KERNEL(linear_bf16, LINEAR_THREADS, linear_short, Linear<bf16>)
KERNEL(linear_f16, LINEAR_THREADS, linear_short, Linear<f16>)

// ---- f32: a warp a feature, its lanes taking turns along the row.

__device__ void linear_plain(const Linear<float> &p) {
  constexpr uint32_t LEN = Pack<float>::LEN, STEP = WARP * LEN;
  const LinearTile<float> tile = tile_of_block<LINEAR_WARPS>(p);
  const uint32_t lane = threadIdx.x % WARP, feature = tile.first + threadIdx.x / WARP;
  if (feature >= tile.part.size_out)
    return;
  float sums[LINEAR_ROWS] = {};
  for (uint32_t first = 0; first < p.size_in; first += LINEAR_DEPTH * STEP) {
    uint32_t weight[LINEAR_DEPTH][LEN];
    UNROLL for (int i = 0; i < LINEAR_DEPTH; i++) {
      const uint32_t k = first + i * STEP + lane * LEN;
      load_words_once(weight[i], tile.part.weight, uint64_t(feature) * p.size_in + k, k < p.size_in);
    }
    sync_warp();
    UNROLL for (int i = 0; i < LINEAR_DEPTH; i++) {
      const uint32_t k = first + i * STEP + lane * LEN;
      UNROLL for (int row = 0; row < LINEAR_ROWS; row++) {
        if (row >= int(p.num_rows))
          continue;
        uint32_t x[LEN];
        load_words(x, p.x, uint64_t(row) * p.size_in + k, k < p.size_in);
        UNROLL for (uint32_t j = 0; j < LEN; j++)
          sums[row] += float_of(weight[i][j]) * float_of(x[j]);
      }
    }
  }
  UNROLL for (int row = 0; row < LINEAR_ROWS; row++) {
    if (row >= int(p.num_rows))
      continue;
    const float sum = reduce_warp(sums[row], Sum());
    if (lane == 0)
      store_product(tile.part, row, feature, sum);
  }
}

KERNEL(linear_f32, LINEAR_THREADS, linear_plain, Linear<float>)
