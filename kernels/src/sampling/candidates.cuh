// Candidates of a draw, and what a block finds out about them.
//
// They are compared by keys, which hold a logit's bits in an order of their own and the token: so no
// two are equal, a cut is one number, and nothing is sorted. Sums are in f64 and in an order that
// depends on the vocabulary alone.
#pragma once

#include "device.cuh"

// Of the block of a row; a survey's are no more.
constexpr int SAMPLING_THREADS = 1024;
constexpr uint32_t WARPS_MAX = SAMPLING_THREADS / WARP;
constexpr uint32_t TOP_LOGPROBS_MAX = 256;
// Cuts that one pass tries.
constexpr int PIVOTS = 3;
// Candidates that shared memory takes.
constexpr uint32_t GATHERED_MAX = 4096;

// ---- Shared memory, in bytes.
constexpr int SUMS = 2 * PIVOTS;
constexpr uint32_t SUMS_AT = 0;
constexpr uint32_t MAX_AT = SUMS_AT + SUMS * (WARPS_MAX + 1) * sizeof(double);
constexpr uint32_t TOP_AT = MAX_AT + WARPS_MAX * sizeof(uint64_t);
constexpr uint32_t GATHERED_AT = TOP_AT + TOP_LOGPROBS_MAX * sizeof(uint64_t);
constexpr uint32_t COUNTER_AT = GATHERED_AT + GATHERED_MAX * sizeof(uint64_t);

// Larger for the likelier; of equals, for the lower token. 0 is no candidate's.
using Key = uint64_t;

// The largest of the block's keys, for each thread.
__device__ Key max_block(Key key) {
  const Span<Key> scratch = shared_memory<Key>(MAX_AT, WARPS_MAX);
  const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  key = reduce_warp(key, Max());
  __syncthreads();
  if (lane == 0)
    scratch[warp] = key;
  __syncthreads();
  return reduce_warp(lane < warps ? scratch[lane] : Key(0), Max());
}

// Sums each of a few numbers over the block; each thread gets the same bits.
template <int count> __device__ void sum_block(double (&values)[count]) {
  static_assert(count <= SUMS, "as the scratch memory is laid out");
  const Span<double> scratch = shared_memory<double>(SUMS_AT, SUMS * (WARPS_MAX + 1));
  const Span<double> sums = scratch.from(SUMS * WARPS_MAX);
  const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  for (int i = 0; i < count; i++) {
    const double value = reduce_warp(values[i], Sum());
    if (lane == 0)
      scratch[i * WARPS_MAX + warp] = value;
  }
  __syncthreads();
  for (uint32_t i = warp; i < count; i += warps) {
    const double value = reduce_warp(lane < warps ? scratch[i * WARPS_MAX + lane] : 0.0, Sum());
    if (lane == 0)
      sums[i] = value;
  }
  __syncthreads();
  for (int i = 0; i < count; i++)
    values[i] = sums[i];
}

// The sum of the counts of the threads before this one.
__device__ uint32_t sum_before(uint32_t count) {
  const Span<uint32_t> totals = shared_memory<uint32_t>(SUMS_AT, WARPS_MAX);
  const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  uint32_t sum = count;
  for (uint32_t step = 1; step < WARP; step *= 2) {
    const uint32_t before = shuffle(sum, lane >= step ? lane - step : lane);
    sum += lane >= step ? before : 0;
  }
  __syncthreads();
  if (lane == WARP - 1)
    totals[warp] = sum;
  __syncthreads();
  sum -= count;
  for (uint32_t before = 0; before < warp; before++)
    sum += totals[before];
  return sum;
}

// ---- Candidates.

__device__ __forceinline__ Key key_of(float logit, uint32_t token) {
  const uint32_t bits = bits_of(logit);
  const uint32_t ordered = bits & 0x80000000 ? ~bits : bits | 0x80000000;
  return Key(ordered) << 32 | ~token;
}

__device__ __forceinline__ uint32_t token_of(Key key) { return ~uint32_t(key); }

__device__ __forceinline__ float logit_of(Key key) {
  const uint32_t ordered = key >> 32;
  return float_of(ordered & 0x80000000 ? ordered & ~0x80000000 : ~ordered);
}

// The first of `count` entries of `stride` words, sorted by the token that each begins with, whose token
// is `token` or behind it; `count` where there is none.
__device__ __forceinline__ uint32_t first_from(Span<const uint32_t> entries, uint32_t stride, uint32_t count,
                                               uint32_t token) {
  uint32_t low = 0, high = count;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (entries[uint64_t(stride) * middle] < token)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

struct Weights {
  Span<const uint32_t> pairs;
  uint32_t count;

  __device__ float of(uint32_t token) const {
    const uint32_t at = first_from(pairs, 2, count, token);
    return at < count && pairs[2 * at] == token ? float_of(pairs[2 * at + 1]) : 0.0f;
  }
};

// Tokens of a row, or of a part of it, with their logits relative to `max` and under a temperature.
struct Candidates {
  Span<const float> logits;
  // Tokens from `first` on, before `end`.
  uint32_t first, end;
  float max, temperature;
  // A candidate's logit is at least this, and its key.
  float floor;
  Key cut;
  // Those of which these weights leave nothing are left out.
  Weights refused;
  // The keys of all of them, and of some below the cut, or none of them.
  Span<const Key> gathered;

  __device__ __forceinline__ float logit(uint32_t token) const {
    if (refused.count > 0 && refused.of(token) == -INFINITY)
      return -INFINITY;
    return (logits[token] - max) / temperature;
  }

  __device__ __forceinline__ bool has(float logit, uint32_t token) const {
    return logit >= floor && key_of(logit, token) >= cut;
  }

  // Hands each candidate to one of the block's threads: to the same one in every pass.
  template <typename Visit> __device__ __forceinline__ void each(Visit visit) const {
    if (gathered.len > 0) {
      for (uint32_t i = threadIdx.x; i < gathered.len; i += blockDim.x)
        if (gathered[i] >= cut)
          visit(gathered[i]);
      return;
    }
    for (uint32_t token = first + threadIdx.x; token < end; token += blockDim.x) {
      const float value = logit(token);
      if (has(value, token))
        visit(key_of(value, token));
    }
  }
};

// Gathers the candidates, `count` of them, where shared memory takes them. Their order depends on the
// vocabulary alone: by thread, and as each has met them.
__device__ void gather(Candidates &candidates, double count) {
  if (candidates.gathered.len > 0 || count > double(GATHERED_MAX))
    return;
  const Span<Key> keys = shared_memory<Key>(GATHERED_AT, GATHERED_MAX);
  uint32_t own = 0;
  candidates.each([&](Key) { own++; });
  uint32_t place = sum_before(own);
  candidates.each([&](Key key) { keys[place++] = key; });
  __syncthreads();
  candidates.gathered = {keys.data, uint64_t(count)};
}

// The largest of those that are not left out, 0 and -0 being equal; where one is NaN, infinity.
__device__ Key largest(const Candidates &all) {
  Key best = 0;
  for (uint32_t token = all.first + threadIdx.x; token < all.end; token += blockDim.x) {
    const float logit = all.logit(token);
    best = Max()(best, key_of((logit == logit ? logit : INFINITY) + 0.0f, token));
  }
  return max_block(best);
}

// A sum of exponentials, apart what is as large as the largest: so the little that a near-certain
// token leaves to the others keeps its digits.
struct Sums {
  double count, at_max, below;
  // Sum of weight * logit.
  double weighted;

  __device__ double ln() const { return log1p(at_max - 1.0 + below); }
};

__device__ Sums add_up(const Candidates &candidates) {
  double sums[4] = {};
  candidates.each([&](Key key) {
    const float logit = logit_of(key);
    const double weight = exp(double(logit));
    sums[0] += 1.0;
    sums[1] += logit == 0.0f ? weight : 0.0;
    sums[2] += logit == 0.0f ? 0.0 : weight;
    sums[3] += weight * double(logit);
  });
  sum_block(sums);
  return {sums[0], sums[1], sums[2], sums[3]};
}

// Raises the cut to the highest at which the weights of what it keeps reach `target`, and leaves it
// where they never do. `top` is the largest logit, `count` the number of candidates.
//
// Each pass narrows the interval [low, high) of cuts to one between neighbouring pivots, until one
// candidate is in it; below `low` none is wanted any more. Source: Qrita, arXiv 2602.01518, with keys in place of logits, so that ties
// are cut too.
template <typename Weight>
__device__ void raise_cut(Candidates &candidates, float top, double count, double target, Weight weight) {
  Key &low = candidates.cut;
  Key high = key_of(top, 0) + 1;
  // Of the candidates from `high` on, and the number of those from `low` on.
  double weight_above = 0, count_above = 0, count_from_low = count;
  while (high - low > 1 && count_from_low - count_above > 1) {
    gather(candidates, count_from_low);
    const Key first = low, last = high - 1, step = Max()((high - low) / (PIVOTS + 1), Key(1));
    const auto pivot = [=](int i) { return first + step * (i + 1) < last ? first + step * (i + 1) : last; };
    double sums[2 * PIVOTS] = {};
    candidates.each([&](Key key) {
      if (key < pivot(0) || key > last)
        return;
      const double added = weight(logit_of(key));
      for (int i = 0; i < PIVOTS; i++) {
        sums[i] += key >= pivot(i) ? added : 0.0;
        sums[PIVOTS + i] += key >= pivot(i) ? 1.0 : 0.0;
      }
    });
    sum_block(sums);
    for (int i = 0; i < PIVOTS; i++) {
      if (weight_above + sums[i] < target) {
        high = pivot(i);
        weight_above += sums[i];
        count_above += sums[PIVOTS + i];
        break;
      }
      low = pivot(i);
      count_from_low = count_above + sums[PIVOTS + i];
    }
  }
}
