// A block a row: one pass for each thing to be known of it, from memory that the cache holds by then.
// As soon as few enough tokens can still be drawn they are gathered in shared memory, and the passes
// that follow go over those alone.
//
// Candidates are compared by keys, which hold a logit's bits in an order of their own and the token:
// so no two are equal, a cut is one number, and nothing is sorted. Sums are in f64 and in an order
// that depends on the vocabulary alone. What decides a draw is computed in f32 by the operations of
// cpu.rs.
#include "device.cuh"

#include <cfloat>

struct Range {
  uint32_t first, count;
};

constexpr uint32_t NONE = 0xffffffff;

// One draw, of words alone; tables.rs writes them. Ranges are within `lists`.
struct Row {
  uint32_t greedy;
  // NONE keeps all.
  uint32_t top_k;
  uint32_t top_logprobs;
  // Row of `adjusted`, or NONE where nothing is to be adjusted.
  uint32_t adjusted;
  uint32_t seed_low, seed_high, position, attempt;
  float temperature, top_p;
  // The smallest scaled logit that is kept: the logarithm of min-p, or the smallest finite one.
  float floor;
  // Triples (token, Edit, operand), sorted by token, those of one token in order.
  Range edits;
  // Words of 32 tokens; `first` is NONE where all are allowed.
  Range allowed;
  // Pairs (token, weight), sorted by token.
  Range weights;
  // Sets of tokens, each by where it begins; one more place for where the last ends.
  Range sets;
};

enum Edit : uint32_t { ADD = 0, REPETITION = 1 };

struct Sampling {
  // [num_rows, vocab]
  Span<const float> logits;
  // [num_adjusted, vocab]
  Span<float> adjusted;
  Span<const Row> rows;
  Span<const uint32_t> lists;
  // [num_rows, result_words]: Status, token, log-probability, that of the draw, entropy; then
  // pairs (token, log-probability); from `masses` on, masses.
  Span<uint32_t> results;
  uint32_t vocab, result_words, masses;
};

enum Status : uint32_t { DRAWN = 0, NOT_FINITE = 1, NOTHING_LEFT = 2 };

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

template <typename T> __device__ T max_block(T value) {
  __syncthreads();
  return reduce_block(value, Max(), shared_memory<T>(MAX_AT, WARPS_MAX));
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

// Larger for the likelier; of equals, for the lower token. 0 is no candidate's.
using Key = uint64_t;

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

struct Weights {
  Span<const uint32_t> pairs;
  uint32_t count;

  __device__ float of(uint32_t token) const {
    uint32_t low = 0, high = count;
    while (low < high) {
      const uint32_t middle = (low + high) / 2;
      if (pairs[2 * middle] < token)
        low = middle + 1;
      else
        high = middle;
    }
    return low < count && pairs[2 * low] == token ? float_of(pairs[2 * low + 1]) : 0.0f;
  }
};

// Tokens of a row with their logits relative to `max` and under a temperature.
struct Candidates {
  Span<const float> logits;
  uint32_t vocab;
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
    for (uint32_t token = threadIdx.x; token < vocab; token += blockDim.x) {
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

// The largest logit of those that are not left out, 0 above -0; NaN or infinity where there is one.
__device__ float max_logit(const Candidates &all) {
  Key best = 0;
  for (uint32_t token = threadIdx.x; token < all.vocab; token += blockDim.x) {
    const float logit = all.logit(token);
    best = Max()(best, key_of(logit == logit ? logit : INFINITY, token));
  }
  return all.logit(token_of(max_block(best)));
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

// ---- The steps of a row.

__device__ bool is_allowed(const Sampling &p, const Row &row, uint32_t token) {
  if (row.allowed.first == NONE)
    return true;
  const uint32_t word = token / 32;
  return word < row.allowed.count && (p.lists[row.allowed.first + word] >> (token % 32) & 1) != 0;
}

// Logits after bias and penalties, without what may not be drawn.
__device__ Span<const float> adjust(const Sampling &p, const Row &row, Span<const float> logits) {
  if (row.adjusted == NONE)
    return logits;
  const Span<float> adjusted = p.adjusted.from(uint64_t(row.adjusted) * p.vocab);
  for (uint32_t token = threadIdx.x; token < p.vocab; token += blockDim.x)
    adjusted[token] = is_allowed(p, row, token) ? logits[token] : -INFINITY;
  __syncthreads();
  const Span<const uint32_t> edits = p.lists.from(row.edits.first);
  for (uint32_t i = threadIdx.x; i < row.edits.count; i += blockDim.x) {
    const uint32_t token = edits[3 * i];
    // One thread a token: that of its first edit.
    if (i > 0 && edits[3 * (i - 1)] == token)
      continue;
    float logit = adjusted[token];
    for (uint32_t j = i; j < row.edits.count && edits[3 * j] == token; j++) {
      const float operand = float_of(edits[3 * j + 2]);
      if (edits[3 * j + 1] == ADD)
        logit += operand;
      else
        logit = logit > 0.0f ? logit / operand : logit * operand;
    }
    adjusted[token] = logit;
  }
  __syncthreads();
  return {adjusted.data, p.vocab};
}

// Min-p is in the floor; top-k and then top-p move the cut. Gives the sums of what is kept.
__device__ Sums truncate(const Row &row, Candidates &candidates, Sums sums) {
  if (double(row.top_k) < sums.count) {
    raise_cut(candidates, 0.0f, sums.count, double(row.top_k), [](float) { return 1.0; });
    sums = add_up(candidates);
  }
  if (row.top_p < 1.0f) {
    const double log_sum = sums.ln();
    raise_cut(candidates, 0.0f, sums.count, double(row.top_p),
              [=](float logit) { return exp(double(logit) - log_sum); });
    sums = add_up(candidates);
  }
  return sums;
}

// The likeliest under the weights; 0 where they leave nothing.
__device__ Key likeliest(Span<const float> logits, uint32_t vocab, const Weights &weights) {
  Key best = 0;
  for (uint32_t token = threadIdx.x; token < vocab; token += blockDim.x) {
    const float logit = logits[token] + weights.of(token);
    if (logit > -INFINITY)
      best = Max()(best, key_of(logit, token));
  }
  return max_block(best);
}

// ---- Noise; philox.rs has the same.

struct Words {
  uint32_t values[4];
};

// Philox 4x32-10. Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
__device__ Words philox(uint32_t key0, uint32_t key1, Words counter) {
  constexpr uint32_t M0 = 0xD2511F53, M1 = 0xCD9E8D57;
  for (int round = 0; round < 10; round++) {
    const uint32_t(&c)[4] = counter.values;
    counter = {{multiply_high(M1, c[2]) ^ c[1] ^ key0, M1 * c[2], multiply_high(M0, c[0]) ^ c[3] ^ key1, M0 * c[0]}};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

__device__ float gumbel(uint32_t word) {
  const float largest = float_of(0x3f7fffff); // below 1
  const float uniform = (float(word >> 8) + 0.5f) * (1.0f / 16777216.0f);
  return -logf(-logf(uniform < largest ? uniform : largest));
}

// The candidate with the largest sum of logit, weight and noise; 0 where the weights leave nothing.
// One Philox block serves four neighbouring tokens.
__device__ Key gumbel_max(const Row &row, const Candidates &candidates, const Weights &weights) {
  Key best = 0;
  const auto noise_of = [&](uint32_t four) {
    return philox(row.seed_low, row.seed_high, {{four, row.position, row.attempt, 0}});
  };
  const auto consider = [&](float logit, uint32_t token, uint32_t word) {
    const float sum = logit + weights.of(token) + gumbel(word);
    if (sum > -INFINITY)
      best = Max()(best, key_of(sum, token));
  };
  if (candidates.gathered.len > 0) {
    candidates.each([&](Key key) {
      const uint32_t token = token_of(key);
      consider(logit_of(key), token, noise_of(token / 4).values[token % 4]);
    });
    return max_block(best);
  }
  for (uint32_t four = threadIdx.x; four * 4 < candidates.vocab; four += blockDim.x) {
    const Words noise = noise_of(four);
    for (uint32_t i = 0; i < 4 && four * 4 + i < candidates.vocab; i++) {
      const uint32_t token = four * 4 + i;
      const float logit = candidates.logit(token);
      if (candidates.has(logit, token))
        consider(logit, token, noise.values[i]);
    }
  }
  return max_block(best);
}

// ---- A row.

// What was drawn, and its log-probability before the weights.
struct Choice {
  Key key;
  double logprob;
};

__device__ Choice draw_greedy(const Candidates &all, const Sums &sums, const Weights &weights) {
  Key best = likeliest(all.logits, all.vocab, weights);
  if (best == 0)
    best = likeliest(all.logits, all.vocab, {});
  const double logprob = best == 0 ? 0 : double(all.logits[token_of(best)]) - (double(all.max) + sums.ln());
  return {best, logprob};
}

__device__ Choice draw_random(const Row &row, Candidates kept, Sums sums, const Weights &weights) {
  const Candidates all = kept;
  sums = truncate(row, kept, sums);
  Key best = gumbel_max(row, kept, weights);
  if (best == 0 && weights.count > 0) {
    Candidates beyond = all;
    beyond.refused = weights;
    beyond.max = 0;
    beyond.temperature = 1;
    beyond.max = max_logit(beyond);
    beyond.temperature = all.temperature;
    const Sums of_beyond = truncate(row, beyond, add_up(beyond));
    best = gumbel_max(row, beyond, weights);
    if (best != 0)
      return {best, double(beyond.logit(token_of(best))) - of_beyond.ln()};
    // Nothing is left beyond, so that what was gathered of `kept` still lies where it was.
    best = gumbel_max(row, kept, {});
  }
  return {best, best == 0 ? 0 : double(kept.logit(token_of(best))) - sums.ln()};
}

// The likeliest tokens under the model, each put where the likelier ones leave it.
__device__ void report_top(const Row &row, const Candidates &model, double log_sum, Span<uint32_t> pairs) {
  // As the model gave them: also those of which nothing is left.
  Candidates all = {model.logits, model.vocab, 0.0f, 1.0f, -INFINITY, 0, {}, {}};
  const uint32_t count = row.top_logprobs < all.vocab ? row.top_logprobs : all.vocab;
  if (count == 0)
    return;
  raise_cut(all, model.max, double(all.vocab), double(count), [](float) { return 1.0; });
  const Span<Key> found = shared_memory<Key>(TOP_AT, TOP_LOGPROBS_MAX);
  const Span<uint32_t> counter = shared_memory<uint32_t>(COUNTER_AT, 1);
  if (threadIdx.x == 0)
    counter[0] = 0;
  __syncthreads();
  all.each([&](Key key) { found[atomic_add(counter, 0, 1u)] = key; });
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    uint32_t likelier = 0;
    for (uint32_t j = 0; j < count; j++)
      likelier += found[j] > found[i];
    const uint32_t token = token_of(found[i]);
    pairs[2 * likelier] = token;
    pairs[2 * likelier + 1] = bits_of(float(double(all.logits[token]) - log_sum));
  }
}

// The probability under the model of each set of tokens.
__device__ void report_masses(const Sampling &p, const Row &row, Span<const float> logits, double log_sum,
                              Span<uint32_t> masses) {
  for (uint32_t set = 0; set < row.sets.count; set++) {
    const uint32_t first = p.lists[row.sets.first + set], end = p.lists[row.sets.first + set + 1];
    double mass[1] = {};
    for (uint32_t i = first + threadIdx.x; i < end; i += blockDim.x)
      mass[0] += exp(double(float(double(logits[p.lists[i]]) - log_sum)));
    sum_block(mass);
    if (threadIdx.x == 0)
      masses[set] = bits_of(float(mass[0]));
  }
}

__device__ Choice draw(const Sampling &p, const Row &row, const Candidates &model, const Sums &model_sums) {
  Candidates all = model;
  all.logits = adjust(p, row, model.logits);
  if (row.adjusted != NONE)
    all.max = max_logit({all.logits, p.vocab, 0.0f, 1.0f, 0.0f, 0, {}, {}});
  all.temperature = row.temperature;
  all.floor = row.floor;
  const bool is_model = row.adjusted == NONE && row.temperature == model.temperature && row.floor == model.floor;
  const Sums sums = is_model ? model_sums : add_up(all);
  const Weights weights = {p.lists.from(row.weights.first), row.weights.count};
  return row.greedy ? draw_greedy(all, sums, weights) : draw_random(row, all, sums, weights);
}

__device__ void sample_row(const Sampling &p) {
  const Row row = p.rows[blockIdx.x];
  const Span<const float> logits = {p.logits.at(uint64_t(blockIdx.x) * p.vocab, 1), p.vocab};
  const Span<uint32_t> result = p.results.from(uint64_t(blockIdx.x) * p.result_words);
  Candidates model = {logits, p.vocab, 0.0f, 1.0f, -FLT_MAX, 0, {}, {}};
  model.max = max_logit(model);
  if (!(model.max > -INFINITY && model.max < INFINITY)) {
    if (threadIdx.x == 0)
      result[0] = NOT_FINITE;
    return;
  }
  const Sums sums = add_up(model);
  const double log_sum = double(model.max) + sums.ln();
  const Choice choice = draw(p, row, model, sums);
  if (threadIdx.x == 0) {
    // H = ln Z - E[l - max].
    const double entropy = sums.ln() - sums.weighted / exp(sums.ln());
    const uint32_t token = token_of(choice.key);
    result[0] = choice.key == 0 ? NOTHING_LEFT : DRAWN;
    if (choice.key != 0) {
      result[1] = token;
      result[2] = bits_of(float(double(logits[token]) - log_sum));
      result[3] = bits_of(float(choice.logprob));
    }
    result[4] = bits_of(float(entropy > 0 ? entropy : 0.0));
  }
  report_top(row, model, log_sum, result.from(5));
  report_masses(p, row, logits, log_sum, result.from(p.masses));
}

KERNEL(sample, SAMPLING_THREADS, sample_row, Sampling)
