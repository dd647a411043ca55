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
  // [num_rows, parts, KEYS, 2]: keys that the surveys find, the upper word first.
  Span<uint32_t> keys;
  // [num_rows, parts, SUMS_OF, 4]: Sums.
  Span<double> sums;
  uint32_t vocab, result_words, masses, parts;
};

enum Status : uint32_t { DRAWN = 0, NOT_FINITE = 1, NOTHING_LEFT = 2 };

// ---- The surveys, and what they leave to one another.

// Tokens of a part, a multiple of the four that share a Philox block.
constexpr uint32_t PART = 4096;

// The largest of the model's, the largest after bias and penalties, and what is drawn where nothing
// is cut off.
enum Found : uint32_t { LARGEST_OF_MODEL = 0, LARGEST_OF_DRAW = 1, DRAWN_FROM_ALL = 2, KEYS = 3 };

enum SumsOf : uint32_t { OF_MODEL = 0, OF_DRAW = 1, SUMS_OF = 2 };

// By the block of a part.
__device__ void leave(const Sampling &p, Found what, Key key) {
  if (threadIdx.x > 0)
    return;
  const uint64_t at = ((uint64_t(blockIdx.x) * p.parts + blockIdx.y) * KEYS + what) * 2;
  p.keys[at] = key >> 32;
  p.keys[at + 1] = uint32_t(key);
}

__device__ void leave(const Sampling &p, SumsOf what, const Sums &sums) {
  if (threadIdx.x > 0)
    return;
  const uint64_t at = ((uint64_t(blockIdx.x) * p.parts + blockIdx.y) * SUMS_OF + what) * 4;
  p.sums[at] = sums.count;
  p.sums[at + 1] = sums.at_max;
  p.sums[at + 2] = sums.below;
  p.sums[at + 3] = sums.weighted;
}

// The largest that any part has left.
__device__ Key found(const Sampling &p, Found what) {
  Key best = 0;
  for (uint32_t part = threadIdx.x; part < p.parts; part += blockDim.x) {
    const uint64_t at = ((uint64_t(blockIdx.x) * p.parts + part) * KEYS + what) * 2;
    best = Max()(best, Key(p.keys[at]) << 32 | p.keys[at + 1]);
  }
  return max_block(best);
}

// Of all parts.
__device__ Sums found(const Sampling &p, SumsOf what) {
  double sums[4] = {};
  for (uint32_t part = threadIdx.x; part < p.parts; part += blockDim.x) {
    const uint64_t at = ((uint64_t(blockIdx.x) * p.parts + part) * SUMS_OF + what) * 4;
    for (uint32_t i = 0; i < 4; i++)
      sums[i] += p.sums[at + i];
  }
  sum_block(sums);
  return {sums[0], sums[1], sums[2], sums[3]};
}

__device__ Span<const float> logits_of(const Sampling &p) {
  return {p.logits.at(uint64_t(blockIdx.x) * p.vocab, 1), p.vocab};
}

// The tokens of the block's part, as the model gave them.
__device__ Candidates part_of(const Sampling &p) {
  const uint32_t first = blockIdx.y * PART, end = first + PART;
  return {logits_of(p), first, end < p.vocab ? end : p.vocab, 0.0f, 1.0f, -FLT_MAX, 0, {}, {}};
}

__device__ __forceinline__ bool is_finite(float x) { return x > -INFINITY && x < INFINITY; }

// ---- The steps of a row.

__device__ bool is_allowed(const Sampling &p, const Row &row, uint32_t token) {
  if (row.allowed.first == NONE)
    return true;
  const uint32_t word = token / 32;
  return word < row.allowed.count && (p.lists[row.allowed.first + word] >> (token % 32) & 1) != 0;
}

// Logits after bias and penalties, without what may not be drawn; once `adjust` has written them.
__device__ Span<const float> adjusted_logits(const Sampling &p, const Row &row) {
  if (row.adjusted == NONE)
    return logits_of(p);
  return {p.adjusted.at(uint64_t(row.adjusted) * p.vocab, 1), p.vocab};
}

// Writes them for a part.
__device__ void adjust(const Sampling &p, const Row &row, const Candidates &part) {
  const Span<float> adjusted = p.adjusted.from(uint64_t(row.adjusted) * p.vocab);
  for (uint32_t token = part.first + threadIdx.x; token < part.end; token += blockDim.x)
    adjusted[token] = is_allowed(p, row, token) ? part.logits[token] : -INFINITY;
  __syncthreads();
  const Span<const uint32_t> edits = p.lists.from(row.edits.first);
  for (uint32_t i = threadIdx.x; i < row.edits.count; i += blockDim.x) {
    const uint32_t token = edits[3 * i];
    // One thread a token: that of its first edit.
    if (token < part.first || token >= part.end || (i > 0 && edits[3 * (i - 1)] == token))
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
}

// `part` or all of the row as the draw has it, before anything is cut off; `max` is its largest logit.
__device__ Candidates of_draw(const Sampling &p, const Row &row, Candidates part, float max) {
  part.logits = adjusted_logits(p, row);
  part.max = max;
  part.temperature = row.temperature;
  part.floor = row.floor;
  return part;
}

// Whether the draw has the model's own candidates.
__device__ bool is_of_model(const Row &row, const Candidates &model) {
  return row.adjusted == NONE && row.temperature == model.temperature && row.floor == model.floor;
}

// Whether nothing but the floor cuts off candidates, so that the survey draws.
__device__ bool draws_from_all(const Row &row) { return !row.greedy && row.top_k == NONE && row.top_p >= 1.0f; }

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
  Key best = weights.count > 0 ? likeliest(all, weights) : 0;
  if (best == 0 && all.max > -INFINITY)
    best = found(p, LARGEST_OF_DRAW);
  const double logprob = best == 0 ? 0 : double(all.logits[token_of(best)]) - (double(all.max) + sums.ln());
  return {best, logprob};
}

__device__ Choice draw_random(const Sampling &p, const Row &row, Candidates kept, Sums sums, const Weights &weights) {
  const Candidates all = kept;
  sums = truncate(row, kept, sums);
  Key best = draws_from_all(row) ? found(p, DRAWN_FROM_ALL) : gumbel_max(row, kept, weights);
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

__device__ Choice draw(const Sampling &p, const Row &row, const Candidates &model) {
  const Candidates all = of_draw(p, row, model, logit_of(found(p, LARGEST_OF_DRAW)));
  const Sums sums = found(p, OF_DRAW);
  const Weights weights = weights_of(p, row);
  return row.greedy ? draw_greedy(p, all, sums, weights) : draw_random(p, row, all, sums, weights);
}

// ---- The three launches of a draw.

// Largest logits; writes the adjusted ones on the way.
__device__ void survey_largest(const Sampling &p) {
  const Row row = p.rows[blockIdx.x];
  Candidates part = part_of(p);
  Key best = largest(part);
  leave(p, LARGEST_OF_MODEL, best);
  if (row.adjusted != NONE) {
    adjust(p, row, part);
    part.logits = adjusted_logits(p, row);
    best = largest(part);
  }
  leave(p, LARGEST_OF_DRAW, best);
}

// Sums relative to them.
__device__ void survey_sums(const Sampling &p) {
  const Row row = p.rows[blockIdx.x];
  Candidates part = part_of(p);
  part.max = logit_of(found(p, LARGEST_OF_MODEL));
  if (!is_finite(part.max))
    return;
  Sums sums = add_up(part);
  leave(p, OF_MODEL, sums);
  const Candidates all = of_draw(p, row, part, logit_of(found(p, LARGEST_OF_DRAW)));
  if (!is_of_model(row, part))
    sums = add_up(all);
  leave(p, OF_DRAW, sums);
  if (draws_from_all(row))
    leave(p, DRAWN_FROM_ALL, gumbel_max(row, all, weights_of(p, row)));
}

__device__ void sample_row(const Sampling &p) {
  const Row row = p.rows[blockIdx.x];
  const Span<uint32_t> result = p.results.from(uint64_t(blockIdx.x) * p.result_words);
  Candidates model = {logits_of(p), 0, p.vocab, 0.0f, 1.0f, -FLT_MAX, 0, {}, {}};
  model.max = logit_of(found(p, LARGEST_OF_MODEL));
  if (!is_finite(model.max)) {
    if (threadIdx.x == 0)
      result[0] = NOT_FINITE;
    return;
  }
  const Sums sums = found(p, OF_MODEL);
  const double log_sum = double(model.max) + sums.ln();
  const Choice choice = draw(p, row, model);
  if (threadIdx.x == 0) {
    // H = ln Z - E[l - max].
    const double entropy = sums.ln() - sums.weighted / exp(sums.ln());
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

KERNEL(sample_largest, SAMPLING_THREADS, survey_largest, Sampling)
KERNEL(sample_sums, SAMPLING_THREADS, survey_sums, Sampling)
KERNEL(sample, SAMPLING_THREADS, sample_row, Sampling)
