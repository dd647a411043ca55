// Two surveys, a block for each part of a row's vocabulary, find what must be known of all of it: the
// largest logits, and then sums of exponentials and, where nothing is cut off, the draw itself. A
// block a row puts that together and does what is left, from memory that the cache holds by then. As
// soon as few enough tokens can still be drawn it gathers them in shared memory, and the passes that
// follow go over those alone.
//
// What decides a draw is computed in f32 by the operations of cpu.rs.
#include "candidates.cuh"
#include "device.cuh"
#include "noise.cuh"

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

// What the surveys find in a part of a row.
struct Found {
  // The largest, as the model gave them and after bias and penalties.
  Key of_model, of_draw;
  // What is drawn; only where the second survey draws.
  Key drawn;
  // Relative to the largest of the row.
  Sums model, draw;
};

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
  // [num_rows, parts]
  Span<Found> found;
  uint32_t vocab, result_words, masses, parts;
};

enum Status : uint32_t { DRAWN = 0, NOT_FINITE = 1, NOTHING_LEFT = 2 };

// ---- What the surveys leave to one another and to the row.

// Tokens of a part, a multiple of the four that share a Philox block.
constexpr uint32_t PART = 4096;

// Few enough for several blocks a multiprocessor, and for quick reductions.
constexpr int SURVEY_THREADS = 256;

__device__ Found &found_here(const Sampling &p) { return p.found[uint64_t(blockIdx.x) * p.parts + blockIdx.y]; }

// The largest of all parts. Each warp finds it by itself.
__device__ Key largest_of(const Sampling &p, Key Found::*what) {
  Key best = 0;
  for (uint32_t part = threadIdx.x % WARP; part < p.parts; part += WARP)
    best = Max()(best, p.found[uint64_t(blockIdx.x) * p.parts + part].*what);
  return reduce_warp(best, Max());
}

// The sums of all parts, by each warp as well.
__device__ Sums sums_of(const Sampling &p, Sums Found::*what) {
  Sums sums = {};
  for (uint32_t part = threadIdx.x % WARP; part < p.parts; part += WARP) {
    const Sums &of_part = p.found[uint64_t(blockIdx.x) * p.parts + part].*what;
    sums.count += of_part.count;
    sums.at_max += of_part.at_max;
    sums.below += of_part.below;
    sums.weighted += of_part.weighted;
  }
  return {reduce_warp(sums.count, Sum()), reduce_warp(sums.at_max, Sum()), reduce_warp(sums.below, Sum()),
          reduce_warp(sums.weighted, Sum())};
}

// Tokens of the block's row as the model gave them.
__device__ Candidates of_model(const Sampling &p, uint32_t first, uint32_t end) {
  const Span<const float> logits = {p.logits.at(uint64_t(blockIdx.x) * p.vocab, 1), p.vocab};
  return {logits, first, end, 0.0f, 1.0f, -FLT_MAX, 0, {}, {}};
}

// Those of the block's part.
__device__ Candidates part_of_model(const Sampling &p) {
  const uint32_t first = blockIdx.y * PART, end = first + PART;
  return of_model(p, first, end < p.vocab ? end : p.vocab);
}

__device__ __forceinline__ bool is_finite(float x) { return x > -INFINITY && x < INFINITY; }

// ---- The steps of a row.

__device__ bool is_allowed(const Sampling &p, const Row &row, uint32_t token) {
  if (row.allowed.first == NONE)
    return true;
  const uint32_t word = token / 32;
  return word < row.allowed.count && (p.lists[row.allowed.first + word] >> (token % 32) & 1) != 0;
}

// A row's logits after bias and penalties, once `adjust` has written them.
__device__ Span<const float> adjusted_logits(const Sampling &p, const Row &row) {
  return {p.adjusted.at(uint64_t(row.adjusted) * p.vocab, 1), p.vocab};
}

// Writes the logits of a part after bias and penalties, without what may not be drawn.
__device__ void adjust(const Sampling &p, const Row &row, const Candidates &part) {
  const Span<float> adjusted = p.adjusted.from(uint64_t(row.adjusted) * p.vocab);
  for (uint32_t token = part.first + threadIdx.x; token < part.end; token += blockDim.x)
    adjusted[token] = is_allowed(p, row, token) ? part.logits[token] : -INFINITY;
  __syncthreads();
  const Span<const uint32_t> edits = p.lists.from(row.edits.first);
  const uint32_t count = row.edits.count, first = first_from(edits, 3, count, part.first);
  for (uint32_t i = first + threadIdx.x; i < count && edits[3 * i] < part.end; i += blockDim.x) {
    const uint32_t token = edits[3 * i];
    // One thread a token: that of its first edit.
    if (i > first && edits[3 * (i - 1)] == token)
      continue;
    float logit = adjusted[token];
    for (uint32_t j = i; j < count && edits[3 * j] == token; j++) {
      const float operand = float_of(edits[3 * j + 2]);
      if (edits[3 * j + 1] == REPETITION)
        logit = logit > 0.0f ? logit / operand : logit * operand;
      else
        // A ban holds whatever was before it.
        logit = operand == -INFINITY ? operand : logit + operand;
    }
    adjusted[token] = logit;
  }
  __syncthreads();
}

// The same tokens as the draw has them, before anything is cut off, once they are adjusted; `max` is the
// row's largest.
__device__ Candidates of_draw(const Sampling &p, const Row &row, Candidates model, float max) {
  if (row.adjusted != NONE)
    model.logits = adjusted_logits(p, row);
  model.max = max;
  model.temperature = row.temperature;
  model.floor = row.floor;
  return model;
}

// Whether the draw has the model's own candidates.
__device__ bool is_of_model(const Row &row, const Candidates &model) {
  return row.adjusted == NONE && row.temperature == model.temperature && row.floor == model.floor;
}

// Whether nothing but the floor cuts off candidates.
__device__ bool draws_from_all(const Row &row) { return row.top_k == NONE && row.top_p >= 1.0f; }

__device__ Weights weights_of(const Sampling &p, const Row &row) {
  return {p.lists.from(row.weights.first), row.weights.count};
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
__device__ Key likeliest(const Candidates &all, const Weights &weights) {
  Key best = 0;
  for (uint32_t token = all.first + threadIdx.x; token < all.end; token += blockDim.x) {
    const float logit = all.logits[token] + weights.of(token);
    if (logit > -INFINITY)
      best = Max()(best, key_of(logit, token));
  }
  return max_block(best);
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
  for (uint32_t four = candidates.first / 4 + threadIdx.x; four * 4 < candidates.end; four += blockDim.x) {
    const Words noise = noise_of(four);
    for (uint32_t i = 0; i < 4 && four * 4 + i < candidates.end; i++) {
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

__device__ Choice draw_greedy(const Sampling &p, const Candidates &all, const Sums &sums, const Weights &weights) {
  if (!is_finite(all.max))
    return {0, 0};
  Key best = weights.count > 0 ? largest_of(p, &Found::drawn) : 0;
  if (best == 0)
    best = largest_of(p, &Found::of_draw);
  return {best, double(all.logits[token_of(best)]) - (double(all.max) + sums.ln())};
}

__device__ Choice draw_random(const Sampling &p, const Row &row, Candidates kept, Sums sums, const Weights &weights) {
  const Candidates all = kept;
  sums = truncate(row, kept, sums);
  Key best = draws_from_all(row) ? largest_of(p, &Found::drawn) : gumbel_max(row, kept, weights);
  if (best == 0 && weights.count > 0) {
    Candidates beyond = all;
    beyond.refused = weights;
    beyond.max = 0;
    beyond.temperature = 1;
    beyond.max = logit_of(largest(beyond));
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
  Candidates all = {model.logits, 0, model.end, 0.0f, 1.0f, -INFINITY, 0, {}, {}};
  const uint32_t count = row.top_logprobs < all.end ? row.top_logprobs : all.end;
  if (count == 0)
    return;
  raise_cut(all, model.max, double(all.end), double(count), [](float) { return 1.0; });
  const Span<Key> top = shared_memory<Key>(TOP_AT, TOP_LOGPROBS_MAX);
  const Span<uint32_t> counter = shared_memory<uint32_t>(COUNTER_AT, 1);
  if (threadIdx.x == 0)
    counter[0] = 0;
  __syncthreads();
  all.each([&](Key key) { top[atomic_add(counter, 0, 1u)] = key; });
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    uint32_t likelier = 0;
    for (uint32_t j = 0; j < count; j++)
      likelier += top[j] > top[i];
    const uint32_t token = token_of(top[i]);
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

__device__ Choice draw(const Sampling &p, const Row &row, const Candidates &model) {
  const Candidates all = of_draw(p, row, model, logit_of(largest_of(p, &Found::of_draw)));
  const Sums sums = sums_of(p, &Found::draw);
  const Weights weights = weights_of(p, row);
  return row.greedy ? draw_greedy(p, all, sums, weights) : draw_random(p, row, all, sums, weights);
}

// ---- The three launches of a draw.

// Largest logits; writes the adjusted ones on the way.
__device__ void survey_largest(const Sampling &p) {
  const Row row = p.rows[blockIdx.x];
  const Candidates part = part_of_model(p);
  const Key of_model = largest(part);
  Key of_draw = of_model;
  if (row.adjusted != NONE) {
    adjust(p, row, part);
    Candidates adjusted = part;
    adjusted.logits = adjusted_logits(p, row);
    of_draw = largest(adjusted);
  }
  if (threadIdx.x == 0) {
    found_here(p).of_model = of_model;
    found_here(p).of_draw = of_draw;
  }
}

// Sums relative to them, and the draw where that is all it takes.
__device__ void survey_sums(const Sampling &p) {
  const Row row = p.rows[blockIdx.x];
  Candidates part = part_of_model(p);
  part.max = logit_of(largest_of(p, &Found::of_model));
  if (!is_finite(part.max))
    return;
  const float max = row.adjusted == NONE ? part.max : logit_of(largest_of(p, &Found::of_draw));
  const Candidates all = of_draw(p, row, part, max);
  const Sums of_model = add_up(part), of_draw = is_of_model(row, part) ? of_model : add_up(all);
  const Weights weights = weights_of(p, row);
  Key drawn = 0;
  if (row.greedy && weights.count > 0)
    drawn = likeliest(all, weights);
  else if (!row.greedy && draws_from_all(row))
    drawn = gumbel_max(row, all, weights);
  if (threadIdx.x == 0) {
    found_here(p).model = of_model;
    found_here(p).draw = of_draw;
    found_here(p).drawn = drawn;
  }
}

__device__ void sample_row(const Sampling &p) {
  const Row row = p.rows[blockIdx.x];
  const Span<uint32_t> result = p.results.from(uint64_t(blockIdx.x) * p.result_words);
  Candidates model = of_model(p, 0, p.vocab);
  model.max = logit_of(largest_of(p, &Found::of_model));
  if (!is_finite(model.max)) {
    if (threadIdx.x == 0)
      result[0] = NOT_FINITE;
    return;
  }
  const Sums sums = sums_of(p, &Found::model);
  const double ln_sum = sums.ln(), log_sum = double(model.max) + ln_sum;
  const Choice choice = draw(p, row, model);
  if (threadIdx.x == 0) {
    // H = ln Z - E[l - max].
    const double entropy = ln_sum - sums.weighted / exp(ln_sum);
    const uint32_t token = token_of(choice.key);
    result[0] = choice.key == 0 ? NOTHING_LEFT : DRAWN;
    if (choice.key != 0) {
      result[1] = token;
      result[2] = bits_of(float(double(model.logits[token]) - log_sum));
      result[3] = bits_of(float(choice.logprob));
    }
    result[4] = bits_of(float(entropy > 0 ? entropy : 0.0));
  }
  report_top(row, model, log_sum, result.from(5));
  report_masses(p, row, model.logits, log_sum, result.from(p.masses));
}

KERNEL(sample_largest, SURVEY_THREADS, survey_largest, Sampling)
KERNEL(sample_sums, SURVEY_THREADS, survey_sums, Sampling)
KERNEL(sample, SAMPLING_THREADS, sample_row, Sampling)
