// A GPU in a few hundred lines, to run kernels where there is none: emulation.cpp has the machine,
// this header what kernels see of it.
//
// A block's threads are fibers that run one after another, each until it must wait: for its block
// at __syncthreads, for its warp at a shuffle or a matrix instruction. Stricter than a card:
// - every access through a span is checked against its bounds and alignment;
// - shared memory, and what a kernel is to write, hold NaN at first;
// - a copy_async fills its destination with NaN at once and with data at the wait;
// - threads that leave while others wait, lanes that meet at different instructions and barriers
//   that are never reached are errors;
// - the order of threads and blocks is a parameter: a result that depends on it lacks a barrier.
// What it cannot show: races between barriers in the order that no run takes, the memory model
// across blocks, and time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define UNROLL

namespace emulation {

struct Dim {
  uint32_t x, y, z;
};

extern thread_local Dim thread_index, block_index, block_dim, grid_dim;

// Ends the launch with a message that names kernel, block and thread.
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

[[noreturn]] void fail_access(const void *data, uint64_t index, uint64_t count, uint64_t len);

void sync_threads();

constexpr int SLOT_BYTES = 32;

struct Slot {
  alignas(8) unsigned char bytes[SLOT_BYTES];
};

// Gives `data` to the other lanes of the warp and returns what each gave, once all have. `what`
// names the instruction: lanes that meet must be at the same one.
const Slot *exchange(const char *what, const void *data, size_t bytes);

// Lanes of this thread's warp; fewer than 32 in the last warp of an odd block.
uint32_t lanes();

unsigned char *shared_bytes(uint32_t offset, uint64_t bytes, uint32_t alignment);

void copy_async(void *to, const void *from, bool valid);
void copy_async_commit();
void copy_async_wait(uint32_t groups);

using Kernel = void (*)(const void *parameters);

struct Registration {
  Registration(const char *name, uint32_t threads, size_t parameter_bytes, Kernel kernel);
};

template <typename T, typename From> T lane_value(const Slot *slots, From lane) {
  T value;
  memcpy(&value, slots[lane].bytes, sizeof value);
  return value;
}

} // namespace emulation

#define threadIdx (::emulation::thread_index)
#define blockIdx (::emulation::block_index)
#define blockDim (::emulation::block_dim)
#define gridDim (::emulation::grid_dim)

inline void __syncthreads() { emulation::sync_threads(); }

#define KERNEL(name, threads, function, ...)                                                       \
  static const ::emulation::Registration register_##name(                                          \
      #name, threads, sizeof(__VA_ARGS__),                                                         \
      [](const void *parameters) { function(*static_cast<const __VA_ARGS__ *>(parameters)); });

template <typename T> struct Span {
  T *data;
  uint64_t len;

  T &operator[](uint64_t i) const { return *at(i, 1); }

  Span from(uint64_t i) const {
    if (i > len)
      emulation::fail_access(data, i, 0, len);
    return {data + i, len - i};
  }

  T *at(uint64_t i, uint64_t count) const {
    if (i > len || count > len - i || (count > 1 && (reinterpret_cast<uintptr_t>(data + i) & 15) != 0))
      emulation::fail_access(data, i, count, len);
    return data + i;
  }
};

template <typename T> Span<T> shared_memory(uint32_t offset, uint32_t count) {
  auto *data = emulation::shared_bytes(offset, uint64_t(count) * sizeof(T), alignof(T));
  return {reinterpret_cast<T *>(data), count};
}

// Threads take turns at barriers alone.
inline uint32_t atomic_add(Span<uint32_t> to, uint64_t i, uint32_t value) {
  const uint32_t before = to[i];
  to[i] = before + value;
  return before;
}

// Numbers.

inline uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline int count_ones(uint32_t word) { return __builtin_popcount(word); }
inline uint32_t multiply_high(uint32_t a, uint32_t b) { return uint32_t((uint64_t(a) * b) >> 32); }

struct bf16 {
  uint16_t bits;
};

struct f16 {
  uint16_t bits;
};

inline float to_float(float x) { return x; }
inline float to_float(bf16 x) { return float_of(uint32_t(x.bits) << 16); }
float to_float(f16 x);

template <typename T> T from_float(float x);
template <> inline float from_float<float>(float x) { return x; }
template <> bf16 from_float<bf16>(float x);
template <> f16 from_float<f16>(float x);

// The warp.

template <typename T> T shuffle_xor(T value, int lanes) {
  const auto *slots = emulation::exchange("shuffle_xor", &value, sizeof value);
  return emulation::lane_value<T>(slots, (threadIdx.x ^ uint32_t(lanes)) % WARP);
}

template <typename T> T shuffle(T value, int lane) {
  const auto *slots = emulation::exchange("shuffle", &value, sizeof value);
  return emulation::lane_value<T>(slots, uint32_t(lane) % WARP);
}

inline uint32_t ballot_warp(bool predicate) {
  const auto *slots = emulation::exchange("ballot_warp", &predicate, sizeof predicate);
  uint32_t word = 0;
  for (uint32_t lane = 0; lane < emulation::lanes(); lane++)
    word |= uint32_t(emulation::lane_value<bool>(slots, lane)) << lane;
  return word;
}

inline void sync_warp() { emulation::exchange("sync_warp", nullptr, 0); }

// Asynchronous copies.

template <typename T>
void copy_async16(Span<T> to, uint32_t to_index, Span<const T> from, uint64_t from_index, bool valid) {
  constexpr uint64_t count = 16 / sizeof(T);
  const void *source = valid ? from.at(from_index, count) : nullptr;
  emulation::copy_async(to.at(to_index, count), source, valid);
}

inline void copy_async_commit() { emulation::copy_async_commit(); }
template <int groups> void copy_async_wait() { emulation::copy_async_wait(groups); }

template <typename T> void load_words_once(uint32_t (&out)[4], Span<const T> from, uint64_t index, bool valid) {
  memset(out, 0, sizeof out);
  if (valid)
    memcpy(out, from.at(index, 16 / sizeof(T)), sizeof out);
}

// Matrix instructions; device.cuh says how their operands lie.

namespace emulation {

// Of each matrix the 16-bit elements `first` and `second`, counted row by row.
inline void take_matrices(uint32_t (&out)[4], const Slot *slots, uint32_t first, uint32_t second) {
  for (uint32_t matrix = 0; matrix < 4; matrix++) {
    const auto element = [&](uint32_t index) {
      return uint32_t(lane_value<const uint16_t *>(slots, matrix * 8 + index / 8)[index % 8]);
    };
    out[matrix] = element(first) | element(second) << 16;
  }
}

} // namespace emulation

template <typename T> void load_matrices(uint32_t (&out)[4], Span<T> rows, uint32_t index) {
  const void *row = rows.at(index, 8);
  const auto *slots = emulation::exchange("load_matrices", &row, sizeof row);
  const uint32_t lane = threadIdx.x % WARP, first = lane / 4 * 8 + lane % 4 * 2;
  emulation::take_matrices(out, slots, first, first + 1);
}

template <typename T> void load_matrices_transposed(uint32_t (&out)[4], Span<T> rows, uint32_t index) {
  const void *row = rows.at(index, 8);
  const auto *slots = emulation::exchange("load_matrices_transposed", &row, sizeof row);
  const uint32_t lane = threadIdx.x % WARP, first = lane % 4 * 2 * 8 + lane / 4;
  emulation::take_matrices(out, slots, first, first + 8);
}

template <typename T>
void multiply_add_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  struct Operands {
    uint32_t a[4], b[2];
  } mine;
  memcpy(mine.a, a, sizeof mine.a);
  memcpy(mine.b, b, sizeof mine.b);
  const auto *slots = emulation::exchange("multiply_add_16x8x16", &mine, sizeof mine);
  const auto half = [](uint32_t word, uint32_t index) {
    T value;
    const uint16_t bits = uint16_t(word >> (16 * index));
    memcpy(&value, &bits, sizeof value);
    return to_float(value);
  };
  const uint32_t lane = threadIdx.x % WARP;
  for (uint32_t i = 0; i < 4; i++) {
    const uint32_t row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (uint32_t k = 0; k < 16; k++) {
      const uint32_t t = k % 8 / 2;
      const auto of_a = emulation::lane_value<Operands>(slots, row % 8 * 4 + t);
      const auto of_b = emulation::lane_value<Operands>(slots, column * 4 + t);
      d[i] += half(of_a.a[row / 8 + k / 8 * 2], k % 2) * half(of_b.b[k / 8], k % 2);
    }
  }
}
