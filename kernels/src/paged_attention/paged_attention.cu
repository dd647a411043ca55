// Attention over a paged cache. A block computes one row of the batch, up to HEADS query heads of
// one K/V head and one split of the context: SPLIT tokens at positions that are multiples of it,
// whatever else is in the batch. The combine kernel adds the splits up in order, so a row's bits
// depend on its own context alone.
//
// Each split leaves, for every query head, the largest score, the sum of the weights
// exp2(score - largest) and the sum of the weighted values, all in f32; scores are in units of
// log2(e), so that exp2 does.
//
// Source: FlashAttention-2, arXiv:2307.08691; the split over the context is Flash-Decoding's.
#include "device.cuh"

template <typename T> struct PagedAttention {
  // [rows of the batch, query heads, head_dim]; so is `out`.
  Span<const T> q;
  // [blocks, kv_heads, PAGE, head_dim]
  Span<const T> k_cache;
  Span<const T> v_cache;
  Span<T> out;
  // [sequences, max_blocks]
  Span<const uint32_t> block_tables;
  // [rows to compute, 3]: the row in the batch, its sequence, its context with itself. A row without
  // context is padding: it sees nothing, and its result is zeros.
  Span<const uint32_t> rows;
  // [rows to compute, query heads, splits, head_dim]
  Span<float> partials;
  // [rows to compute, query heads, splits, 2]: largest score, sum of the weights.
  Span<float> stats;
  uint32_t kv_heads;
  // Query heads of a K/V head.
  uint32_t group;
  uint32_t head_dim;
  uint32_t max_blocks;
  uint32_t splits;
  // Tokens that a row sees, itself the last.
  uint32_t window;
  // The scale of the scores times log2(e).
  float scale;
};

constexpr uint32_t THREADS = 128;
constexpr uint32_t WARPS = THREADS / WARP;
// Tokens of a cache block, which are a tile.
constexpr uint32_t PAGE = 32;
constexpr uint32_t SPLIT = 256;
// Query heads of a block: the rows of a matrix instruction.
constexpr uint32_t HEADS = 16;

template <typename T> __device__ __forceinline__ Span<const T> reading(Span<T> span) { return {span.data, span.len}; }

// The positions that a row sees, and the part of the scratch that is its own.
struct Row {
  // Among the rows to compute, and in the batch.
  uint32_t index, row, sequence;
  uint32_t first, context;

  template <typename T> __device__ __forceinline__ Row(const PagedAttention<T> &p, uint32_t index) : index(index) {
    row = p.rows[3 * index];
    sequence = p.rows[3 * index + 1];
    context = p.rows[3 * index + 2];
    first = context > p.window ? context - p.window : 0;
  }
};

// What one block computes.
struct Work : Row {
  uint32_t kv_head;
  // Query heads first_head .. first_head + heads of the model.
  uint32_t first_head, heads;
  // The split's first position, and the positions begin .. end of it that the row sees.
  uint32_t start, begin, end;

  template <typename T>
  __device__ __forceinline__ Work(const PagedAttention<T> &p, uint32_t packs)
      : Row(p, blockIdx.x / packs / p.kv_heads) {
    const uint32_t pack = blockIdx.x % packs;
    kv_head = blockIdx.x / packs % p.kv_heads;
    first_head = kv_head * p.group + pack * HEADS;
    heads = p.group - pack * HEADS < HEADS ? p.group - pack * HEADS : HEADS;
    start = (first / SPLIT + blockIdx.y) * SPLIT;
    begin = start < first ? first : start;
    end = start + SPLIT < context ? start + SPLIT : context;
  }
};

template <typename T> __device__ __forceinline__ Work work_of(const PagedAttention<T> &p) {
  return Work(p, (p.group + HEADS - 1) / HEADS);
}

// Where the query of one of the block's heads lies.
template <typename T>
__device__ __forceinline__ uint64_t query_index(const PagedAttention<T> &p, const Work &work, uint32_t head) {
  return (uint64_t(work.row) * p.kv_heads * p.group + work.first_head + head) * p.head_dim;
}

// Where the split of one of the block's heads lies in the scratch, in splits.
template <typename T>
__device__ __forceinline__ uint64_t split_index(const PagedAttention<T> &p, const Work &work, uint32_t head) {
  return (uint64_t(work.index) * p.kv_heads * p.group + work.first_head + head) * p.splits + blockIdx.y;
}

template <typename T>
__device__ __forceinline__ void store_stats(const PagedAttention<T> &p, uint64_t split, float max, float sum) {
  p.stats[2 * split] = max;
  p.stats[2 * split + 1] = sum;
}

template <typename T>
__device__ __forceinline__ uint32_t block_of(const PagedAttention<T> &p, const Work &work, uint32_t tile) {
  return p.block_tables[uint64_t(work.sequence) * p.max_blocks + tile];
}

// Where a token's K or V lies within a block of the cache.
template <typename T>
__device__ __forceinline__ uint64_t cache_index(const PagedAttention<T> &p, const Work &work, uint32_t block,
                                                uint32_t token) {
  return ((uint64_t(block) * p.kv_heads + work.kv_head) * PAGE + token) * p.head_dim;
}

// ---- On tensor cores: head dimensions that are known when this is compiled.
//
// The tiles of a split are dealt out to the warps, each with an online softmax of its own, so the
// loop has no barrier of the block; the warps' results are added up at the end.

constexpr uint32_t TILES_A_WARP = SPLIT / PAGE / WARPS;
// Tiles of K or V that a warp has under way or in work.
constexpr uint32_t STAGES = 3;

// A tile in shared memory: rows of HEAD_DIM elements in chunks of 16 bytes, the chunks of a row
// swapped by an exclusive or with the row's number. So the eight rows of one chunk, which a matrix
// load takes at once, lie in eight different sixteenths of the 128 bytes that all banks hold.
template <uint32_t HEAD_DIM> struct Tile {
  static constexpr uint32_t CHUNKS = HEAD_DIM / 8;
  // Rows that share 128 bytes, and the chunks that can be told apart by them.
  static constexpr uint32_t ROWS_A_LINE = CHUNKS < 8 ? 8 / CHUNKS : 1;
  static constexpr uint32_t LINE_CHUNKS = CHUNKS < 8 ? CHUNKS : 8;
  static constexpr uint32_t LEN = PAGE * HEAD_DIM;

  static __device__ __forceinline__ uint32_t index(uint32_t row, uint32_t chunk) {
    return row * HEAD_DIM + (chunk ^ (row / ROWS_A_LINE % LINE_CHUNKS)) * 8;
  }
};

// The tiles of one warp, K and V in turns, on their way through STAGES places of shared memory.
template <uint32_t HEAD_DIM, typename T> struct Ring {
  const PagedAttention<T> &p;
  const Work &work;
  Span<T> places;
  // The block of the split's tile `lane`.
  uint32_t block;
  uint32_t warp, lane;

  __device__ __forceinline__ Ring(const PagedAttention<T> &p, const Work &work, uint32_t offset)
      : p(p), work(work), warp(threadIdx.x / WARP), lane(threadIdx.x % WARP) {
    constexpr uint32_t LEN = STAGES * Tile<HEAD_DIM>::LEN;
    places = shared_memory<T>(offset + warp * LEN * sizeof(T), LEN);
    block = lane < SPLIT / PAGE && is_seen(lane) ? block_of(p, work, work.start / PAGE + lane) : 0;
  }

  // Whether the row sees any token of a tile of the split.
  __device__ __forceinline__ bool is_seen(uint32_t tile) const {
    const uint32_t position = work.start + tile * PAGE;
    return position < work.end && position + PAGE > work.begin;
  }

  // The split's tile that is this warp's n-th.
  __device__ __forceinline__ uint32_t tile(uint32_t n) const { return n * WARPS + warp; }

  __device__ __forceinline__ Span<T> place(uint32_t item) const {
    return places.from(item % STAGES * Tile<HEAD_DIM>::LEN);
  }

  // Starts the copy of K (even items) or V (odd ones) of tile `item` / 2. What the row does not
  // see becomes zeros: it may be anything, and a weight of zero would not keep a NaN out.
  __device__ __forceinline__ void fetch(uint32_t item) const {
    const uint32_t tile = this->tile(item / 2);
    if (item < 2 * TILES_A_WARP && is_seen(tile)) {
      constexpr uint32_t CHUNKS = Tile<HEAD_DIM>::CHUNKS;
      const uint64_t from = cache_index(p, work, shuffle(block, tile), 0);
      UNROLL for (uint32_t i = 0; i < CHUNKS; i++) {
        const uint32_t chunk = i * WARP + lane, row = chunk / CHUNKS;
        const uint32_t position = work.start + tile * PAGE + row;
        copy_async16(place(item), Tile<HEAD_DIM>::index(row, chunk % CHUNKS), item % 2 == 0 ? p.k_cache : p.v_cache,
                     from + chunk * 8, position >= work.begin && position < work.end);
      }
    }
    copy_async_commit();
  }

  // Waits for an item, all items up to `item` + STAGES - 1 having been fetched.
  __device__ __forceinline__ Span<T> wait(uint32_t item) const {
    copy_async_wait<STAGES - 1>();
    sync_warp();
    return place(item);
  }

  // Gives an item's place to the next.
  __device__ __forceinline__ void release(uint32_t item) const {
    sync_warp();
    fetch(item + STAGES);
  }
};

// The online softmax of a warp. A lane holds of the query heads lane / 4 and lane / 4 + 8, which
// are the halves below, the columns that multiply_add_16x8x16 gives it.
template <uint32_t HEAD_DIM> struct Softmax {
  float max[2] = {-INFINITY, -INFINITY};
  // Of the tokens of this lane.
  float sum[2] = {0, 0};
  float out[HEAD_DIM / 8][4] = {};

  // Makes the scores of a tile weights.
  __device__ __forceinline__ void weigh(float (&scores)[PAGE / 8][4], const Work &work, uint32_t position,
                                        float scale) {
    UNROLL for (uint32_t half = 0; half < 2; half++) {
      float largest = max[half];
      UNROLL for (uint32_t i = 0; i < PAGE / 4; i++) {
        const uint32_t token = position + i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2;
        float &score = scores[i / 2][half * 2 + i % 2];
        score = token >= work.begin && token < work.end ? score * scale : -INFINITY;
        largest = Max()(largest, score);
      }
      largest = Max()(largest, shuffle_xor(largest, 1));
      largest = Max()(largest, shuffle_xor(largest, 2));
      rescale(half, exp2f(max[half] - largest));
      max[half] = largest;
      UNROLL for (uint32_t i = 0; i < PAGE / 4; i++) {
        float &score = scores[i / 2][half * 2 + i % 2];
        score = exp2f(score - largest);
        sum[half] += score;
      }
    }
  }

  __device__ __forceinline__ void rescale(uint32_t half, float factor) {
    sum[half] *= factor;
    UNROLL for (uint32_t n = 0; n < HEAD_DIM / 8; n++) {
      out[n][half * 2] *= factor;
      out[n][half * 2 + 1] *= factor;
    }
  }

  // Adds up the lanes' sums.
  __device__ __forceinline__ void finish() {
    UNROLL for (uint32_t half = 0; half < 2; half++) {
      sum[half] += shuffle_xor(sum[half], 1);
      sum[half] += shuffle_xor(sum[half], 2);
    }
  }
};

// The queries as the left side of the product, heads beyond the last as zeros.
template <uint32_t HEAD_DIM, typename T>
__device__ __forceinline__ void fetch_queries(const PagedAttention<T> &p, const Work &work, Span<T> tile) {
  constexpr uint32_t CHUNKS = Tile<HEAD_DIM>::CHUNKS;
  for (uint32_t i = threadIdx.x; i < HEADS * CHUNKS; i += THREADS) {
    const uint32_t head = i / CHUNKS, chunk = i % CHUNKS;
    copy_async16(tile, Tile<HEAD_DIM>::index(head, chunk), p.q, query_index(p, work, head) + chunk * 8,
                 head < work.heads);
  }
  copy_async_commit();
}

template <uint32_t HEAD_DIM, typename T>
__device__ __forceinline__ void load_queries(uint32_t (&q)[HEAD_DIM / 16][4], Span<T> tile) {
  const uint32_t lane = threadIdx.x % WARP;
  UNROLL for (uint32_t step = 0; step < HEAD_DIM / 16; step++) {
    load_matrices(q[step], tile, Tile<HEAD_DIM>::index(lane / 8 % 2 * 8 + lane % 8, step * 2 + lane / 16));
  }
}

// scores = q kᵀ: a matrix load brings 16 tokens of 16 columns.
template <uint32_t HEAD_DIM, typename T>
__device__ __forceinline__ void multiply_keys(float (&scores)[PAGE / 8][4], const uint32_t (&q)[HEAD_DIM / 16][4],
                                              Span<T> keys) {
  const uint32_t lane = threadIdx.x % WARP;
  UNROLL for (uint32_t step = 0; step < HEAD_DIM / 16; step++) {
    UNROLL for (uint32_t pair = 0; pair < PAGE / 16; pair++) {
      uint32_t k[4];
      load_matrices(k, keys,
                    Tile<HEAD_DIM>::index(pair * 16 + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2));
      multiply_add_16x8x16<T>(scores[pair * 2], q[step], {k[0], k[1]});
      multiply_add_16x8x16<T>(scores[pair * 2 + 1], q[step], {k[2], k[3]});
    }
  }
}

// out += weights v: where the scores of two products lie is where the left side of the next one is
// wanted, so the weights stay in registers, rounded to T.
template <uint32_t HEAD_DIM, typename T>
__device__ __forceinline__ void multiply_values(float (&out)[HEAD_DIM / 8][4], const float (&weights)[PAGE / 8][4],
                                                Span<T> values) {
  const uint32_t lane = threadIdx.x % WARP;
  UNROLL for (uint32_t step = 0; step < PAGE / 16; step++) {
    const float(&low)[4] = weights[step * 2], (&high)[4] = weights[step * 2 + 1];
    const uint32_t a[4] = {pack2<T>(low[0], low[1]), pack2<T>(low[2], low[3]), pack2<T>(high[0], high[1]),
                           pack2<T>(high[2], high[3])};
    UNROLL for (uint32_t pair = 0; pair < HEAD_DIM / 16; pair++) {
      uint32_t v[4];
      load_matrices_transposed(
          v, values, Tile<HEAD_DIM>::index(step * 16 + lane / 8 % 2 * 8 + lane % 8, pair * 2 + lane / 16));
      multiply_add_16x8x16<T>(out[pair * 2], a, {v[0], v[1]});
      multiply_add_16x8x16<T>(out[pair * 2 + 1], a, {v[2], v[3]});
    }
  }
}

// A warp's result in shared memory, over its ring: rows padded by eight so that those of a matrix
// fragment start in different banks, then the largest scores and the sums.
template <uint32_t HEAD_DIM> struct WarpResult {
  static constexpr uint32_t STRIDE = HEAD_DIM + 8;
  static constexpr uint32_t MAX = HEADS * STRIDE, SUM = MAX + HEADS, LEN = SUM + HEADS;

  template <typename T>
  static __device__ __forceinline__ Span<float> of(uint32_t ring_offset, uint32_t warp) {
    constexpr uint32_t RING_BYTES = STAGES * Tile<HEAD_DIM>::LEN * sizeof(T);
    static_assert(LEN * sizeof(float) <= RING_BYTES, "a result takes the place of its ring");
    return shared_memory<float>(ring_offset + warp * RING_BYTES, LEN);
  }

  static __device__ __forceinline__ void store(Span<float> result, const Softmax<HEAD_DIM> &softmax) {
    const uint32_t lane = threadIdx.x % WARP;
    UNROLL for (uint32_t half = 0; half < 2; half++) {
      const uint32_t head = lane / 4 + half * 8;
      UNROLL for (uint32_t n = 0; n < HEAD_DIM / 8; n++) {
        result[head * STRIDE + n * 8 + lane % 4 * 2] = softmax.out[n][half * 2];
        result[head * STRIDE + n * 8 + lane % 4 * 2 + 1] = softmax.out[n][half * 2 + 1];
      }
      if (lane % 4 == 0) {
        result[MAX + head] = softmax.max[half];
        result[SUM + head] = softmax.sum[half];
      }
    }
  }
};

// Adds up the warps' results, in their order.
template <uint32_t HEAD_DIM, typename T>
__device__ __forceinline__ void merge(const PagedAttention<T> &p, const Work &work, uint32_t ring_offset) {
  using Result = WarpResult<HEAD_DIM>;
  constexpr uint32_t PACKS = HEAD_DIM / 4;
  for (uint32_t i = threadIdx.x; i < work.heads * PACKS; i += THREADS) {
    const uint32_t head = i / PACKS, column = i % PACKS * 4;
    float max = -INFINITY, sum = 0;
    UNROLL for (uint32_t warp = 0; warp < WARPS; warp++)
      max = Max()(max, Result::template of<T>(ring_offset, warp)[Result::MAX + head]);
    Pack<float> out = {};
    UNROLL for (uint32_t warp = 0; warp < WARPS; warp++) {
      const Span<const float> result = reading(Result::template of<T>(ring_offset, warp));
      const float factor = exp2f(result[Result::MAX + head] - max);
      const Pack<float> part = load16(result, head * Result::STRIDE + column);
      sum += factor * result[Result::SUM + head];
      UNROLL for (int c = 0; c < 4; c++)
        out.values[c] += factor * part.values[c];
    }
    const uint64_t split = split_index(p, work, head);
    store16(p.partials, split * HEAD_DIM + column, out);
    if (column == 0)
      store_stats(p, split, max, sum);
  }
}

template <uint32_t HEAD_DIM, typename T> __device__ void attend(const PagedAttention<T> &p) {
  const Work work = work_of(p);
  if (work.begin >= work.end)
    return;
  constexpr uint32_t RING_OFFSET = HEADS * HEAD_DIM * sizeof(T);
  const Span<T> q_tile = shared_memory<T>(0, HEADS * HEAD_DIM);
  const Ring<HEAD_DIM, T> ring(p, work, RING_OFFSET);
  fetch_queries<HEAD_DIM>(p, work, q_tile);
  UNROLL for (uint32_t item = 0; item < STAGES; item++)
    ring.fetch(item);
  copy_async_wait<STAGES>();
  __syncthreads();
  uint32_t q[HEAD_DIM / 16][4];
  load_queries<HEAD_DIM>(q, q_tile);

  Softmax<HEAD_DIM> softmax;
  UNROLL for (uint32_t n = 0; n < TILES_A_WARP; n++) {
    float scores[PAGE / 8][4] = {};
    const Span<T> keys = ring.wait(2 * n);
    if (ring.is_seen(ring.tile(n)))
      multiply_keys<HEAD_DIM>(scores, q, keys);
    ring.release(2 * n);
    const Span<T> values = ring.wait(2 * n + 1);
    if (ring.is_seen(ring.tile(n))) {
      softmax.weigh(scores, work, work.start + ring.tile(n) * PAGE, p.scale);
      multiply_values<HEAD_DIM>(softmax.out, scores, values);
    }
    ring.release(2 * n + 1);
  }
  softmax.finish();
  WarpResult<HEAD_DIM>::store(WarpResult<HEAD_DIM>::template of<T>(RING_OFFSET, threadIdx.x / WARP), softmax);
  __syncthreads();
  merge<HEAD_DIM>(p, work, RING_OFFSET);
}

// ---- Without tensor cores: any head dimension of whole loads, and f32.

// Shared memory of a block, in f32.
template <typename T> struct PlainShared {
  // [HEADS, head_dim], scaled.
  Span<float> q;
  // [HEADS, SPLIT]: scores, then weights.
  Span<float> weights;
  // [THREADS, Pack<T>::LEN]
  Span<float> sums;

  __device__ __forceinline__ explicit PlainShared(uint32_t head_dim) {
    q = shared_memory<float>(0, HEADS * head_dim);
    weights = shared_memory<float>(HEADS * head_dim * sizeof(float), HEADS * SPLIT);
    sums = shared_memory<float>(HEADS * (head_dim + SPLIT) * sizeof(float), THREADS * Pack<T>::LEN);
  }
};

template <typename T>
__device__ void widen_queries(const PagedAttention<T> &p, const Work &work, const PlainShared<T> &shared) {
  const uint32_t packs = p.head_dim / Pack<T>::LEN;
  for (uint32_t i = threadIdx.x; i < work.heads * packs; i += THREADS) {
    const uint32_t head = i / packs, column = i % packs * Pack<T>::LEN;
    const Pack<T> q = load16(p.q, query_index(p, work, head) + column);
    UNROLL for (int c = 0; c < Pack<T>::LEN; c++)
      shared.q[head * p.head_dim + column + c] = to_float(q.values[c]) * p.scale;
  }
}

// A thread a token: its K is read once, for all heads.
template <typename T>
__device__ void score(const PagedAttention<T> &p, const Work &work, const PlainShared<T> &shared) {
  for (uint32_t position = work.begin + threadIdx.x; position < work.end; position += THREADS) {
    const uint64_t row = cache_index(p, work, block_of(p, work, position / PAGE), position % PAGE);
    float scores[HEADS] = {};
    for (uint32_t column = 0; column < p.head_dim; column += Pack<T>::LEN) {
      const Pack<T> k = load16(p.k_cache, row + column);
      UNROLL for (uint32_t head = 0; head < HEADS; head++) {
        if (head < work.heads) {
          UNROLL for (int c = 0; c < Pack<T>::LEN; c++)
            scores[head] += shared.q[head * p.head_dim + column + c] * to_float(k.values[c]);
        }
      }
    }
    UNROLL for (uint32_t head = 0; head < HEADS; head++) {
      if (head < work.heads)
        shared.weights[head * SPLIT + position - work.begin] = scores[head];
    }
  }
}

// A warp a head.
template <typename T>
__device__ void weigh(const PagedAttention<T> &p, const Work &work, const PlainShared<T> &shared) {
  const uint32_t lane = threadIdx.x % WARP, tokens = work.end - work.begin;
  for (uint32_t head = threadIdx.x / WARP; head < work.heads; head += WARPS) {
    const Span<float> weights = shared.weights.from(head * SPLIT);
    float max = -INFINITY, sum = 0;
    for (uint32_t token = lane; token < tokens; token += WARP)
      max = Max()(max, weights[token]);
    max = reduce_warp(max, Max());
    for (uint32_t token = lane; token < tokens; token += WARP) {
      weights[token] = exp2f(weights[token] - max);
      sum += weights[token];
    }
    sum = reduce_warp(sum, Sum());
    if (lane == 0)
      store_stats(p, split_index(p, work, head), max, sum);
  }
}

// A thread a head and 16 bytes of its columns; where threads are left over, several share these,
// each with every `parts`-th token.
template <typename T>
__device__ void mix(const PagedAttention<T> &p, const Work &work, const PlainShared<T> &shared) {
  constexpr uint32_t LEN = Pack<T>::LEN;
  const uint32_t packs = p.head_dim / LEN, pairs = work.heads * packs;
  const uint32_t parts = pairs < THREADS ? THREADS / pairs : 1, in_turn = pairs < THREADS ? pairs : THREADS;
  for (uint32_t first = 0; first < pairs; first += in_turn) {
    const uint32_t part = threadIdx.x / in_turn, pair = first + threadIdx.x % in_turn;
    const uint32_t head = pair / packs, column = pair % packs * LEN;
    float sums[LEN] = {};
    if (part < parts && pair < pairs) {
      for (uint32_t position = work.begin + part; position < work.end; position += parts) {
        const uint64_t row = cache_index(p, work, block_of(p, work, position / PAGE), position % PAGE);
        const Pack<T> v = load16(p.v_cache, row + column);
        const float weight = shared.weights[head * SPLIT + position - work.begin];
        UNROLL for (uint32_t c = 0; c < LEN; c++)
          sums[c] += weight * to_float(v.values[c]);
      }
    }
    UNROLL for (uint32_t c = 0; c < LEN; c++)
      shared.sums[threadIdx.x * LEN + c] = sums[c];
    __syncthreads();
    if (part == 0 && pair < pairs) {
      for (uint32_t other = 1; other < parts; other++) {
        UNROLL for (uint32_t c = 0; c < LEN; c++)
          sums[c] += shared.sums[(other * in_turn + threadIdx.x) * LEN + c];
      }
      UNROLL for (uint32_t c = 0; c < LEN; c += 4)
        store16(p.partials, split_index(p, work, head) * p.head_dim + column + c,
                Pack<float>{{sums[c], sums[c + 1], sums[c + 2], sums[c + 3]}});
    }
    __syncthreads();
  }
}

template <typename T> __device__ void attend_plain(const PagedAttention<T> &p) {
  const Work work = work_of(p);
  if (work.begin >= work.end)
    return;
  const PlainShared<T> shared(p.head_dim);
  widen_queries(p, work, shared);
  __syncthreads();
  score(p, work, shared);
  __syncthreads();
  weigh(p, work, shared);
  __syncthreads();
  mix(p, work, shared);
}

// ---- The splits of a row, in their order. A thread a query head and 16 bytes of its result.

template <typename T> __device__ void combine(const PagedAttention<T> &p) {
  constexpr uint32_t LEN = Pack<T>::LEN;
  const uint32_t packs = p.head_dim / LEN, heads = p.kv_heads * p.group;
  const uint64_t i = uint64_t(blockIdx.x) * THREADS + threadIdx.x, head = i / packs;
  if (head >= p.rows.len / 3 * heads)
    return;
  const Row row(p, uint32_t(head / heads));
  const uint32_t column = uint32_t(i % packs) * LEN;
  const uint32_t splits = (row.context + SPLIT - 1) / SPLIT - row.first / SPLIT;
  float max = -INFINITY, sum = 0;
  for (uint32_t split = 0; split < splits; split++)
    max = Max()(max, p.stats[2 * (head * p.splits + split)]);
  float out[LEN] = {};
  for (uint32_t split = 0; split < splits; split++) {
    const uint64_t index = head * p.splits + split;
    const float factor = exp2f(p.stats[2 * index] - max);
    sum += factor * p.stats[2 * index + 1];
    UNROLL for (uint32_t c = 0; c < LEN; c += 4) {
      const Pack<float> part = load16(reading(p.partials), index * p.head_dim + column + c);
      UNROLL for (uint32_t d = 0; d < 4; d++)
        out[c + d] += factor * part.values[d];
    }
  }
  Pack<T> result;
  UNROLL for (uint32_t c = 0; c < LEN; c++)
    result.values[c] = from_float<T>(splits == 0 ? 0.0f : out[c] / sum);
  store16(p.out, (uint64_t(row.row) * heads + head % heads) * p.head_dim + column, result);
}

KERNEL(paged_attention_32_bf16, THREADS, attend<32>, PagedAttention<bf16>)
KERNEL(paged_attention_64_bf16, THREADS, attend<64>, PagedAttention<bf16>)
KERNEL(paged_attention_128_bf16, THREADS, attend<128>, PagedAttention<bf16>)
KERNEL(paged_attention_32_f16, THREADS, attend<32>, PagedAttention<f16>)
KERNEL(paged_attention_64_f16, THREADS, attend<64>, PagedAttention<f16>)
KERNEL(paged_attention_128_f16, THREADS, attend<128>, PagedAttention<f16>)

KERNEL(paged_attention_plain_f32, THREADS, attend_plain, PagedAttention<float>)
KERNEL(paged_attention_plain_bf16, THREADS, attend_plain, PagedAttention<bf16>)
KERNEL(paged_attention_plain_f16, THREADS, attend_plain, PagedAttention<f16>)

KERNEL(paged_attention_combine_f32, THREADS, combine, PagedAttention<float>)
KERNEL(paged_attention_combine_bf16, THREADS, combine, PagedAttention<bf16>)
KERNEL(paged_attention_combine_f16, THREADS, combine, PagedAttention<f16>)
