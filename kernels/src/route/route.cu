// A warp a token: the largest logit, then the largest of those behind it, and so on. A chosen one
// needs no mark, since logit and index together put all in one order.
#include "device.cuh"

template <typename T> struct Route {
  Span<const T> logits;
  Span<uint32_t> experts;
  Span<float> weights;
  uint32_t num_tokens;
  uint32_t num_experts;
  uint32_t experts_per_token;
  uint32_t padding;
};

constexpr int ROUTE_THREADS = 128;

// Greater for a greater logit, of equal ones for the lower index; never 0.
__device__ __forceinline__ uint64_t rank_of(float logit, uint32_t expert) {
  const uint32_t bits = bits_of(logit);
  const uint32_t ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
  return uint64_t(ordered) << 32 | ~expert;
}

__device__ __forceinline__ uint32_t expert_of(uint64_t rank) { return ~uint32_t(rank); }

// The highest rank up to `bound` among the experts of a token; each lane gets it.
template <typename T> __device__ uint64_t next_rank(const Route<T> &p, uint64_t row, uint64_t bound) {
  uint64_t best = 0;
  for (uint32_t expert = threadIdx.x % WARP; expert < p.num_experts; expert += WARP) {
    const uint64_t rank = rank_of(to_float(p.logits[row + expert]), expert);
    if (rank <= bound && rank > best)
      best = rank;
  }
  return reduce_warp(best, Max());
}

template <typename T> __device__ void route(const Route<T> &p) {
  const uint32_t token = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
  if (token >= p.num_tokens)
    return;
  const uint64_t row = uint64_t(token) * p.num_experts;
  uint64_t rank = next_rank(p, row, ~uint64_t(0));
  const float largest = to_float(p.logits[row + expert_of(rank)]);
  // Lane i keeps what belongs to the i-th expert.
  uint32_t expert = 0;
  float exponential = 0, sum = 0;
  for (uint32_t i = 0; i < p.experts_per_token; i++) {
    const float e = expf(to_float(p.logits[row + expert_of(rank)]) - largest);
    sum += e;
    if (lane == i) {
      expert = expert_of(rank);
      exponential = e;
    }
    rank = next_rank(p, row, rank - 1);
  }
  if (lane < p.experts_per_token) {
    const uint64_t out = uint64_t(token) * p.experts_per_token + lane;
    p.experts[out] = expert;
    p.weights[out] = exponential / sum;
  }
}

KERNEL(route_f32, ROUTE_THREADS, route, Route<float>)
KERNEL(route_bf16, ROUTE_THREADS, route, Route<bf16>)
KERNEL(route_f16, ROUTE_THREADS, route, Route<f16>)
