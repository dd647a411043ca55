// The language of the kernels: CUDA C++ and the few words below.
//
// Every kernel is compiled twice: by nvcc for the card, and by a C++ compiler for the emulation of
// emulation.h, where the tests run it. So a kernel uses threadIdx and the like, __syncthreads, the
// functions below and plain C++; an instruction that the host lacks is wrapped here, with its twin
// in emulation.h.
//
// A kernel takes one struct of spans and numbers by value, and has no memory but what that struct
// and shared_memory() give it.
#pragma once

#include <cmath>
#include <cstdint>

constexpr int WARP = 32;

#ifdef PORTCULLIS_EMULATION
#include "emulation.h"
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// Before a loop with a constant count whose counter picks registers: left rolled, the array that it
// runs over would lie in memory.
#define UNROLL _Pragma("unroll")

using bf16 = __nv_bfloat16;
using f16 = __half;

// A stretch of memory. The emulation checks every access against `len`.
template <typename T> struct Span {
  T *data;
  uint64_t len;
  __device__ __forceinline__ T &operator[](uint64_t i) const { return data[i]; }
  __device__ __forceinline__ Span from(uint64_t i) const { return {data + i, len - i}; }
  // The address of `count` elements, for instructions that take one.
  __device__ __forceinline__ T *at(uint64_t i, uint64_t /*count*/) const { return data + i; }
};

// Defines the kernel `name`, which runs `function` on its parameters, a struct of the type given
// last. `threads` is the largest block it is launched with.
#define KERNEL(name, threads, function, ...)                                                       \
  extern "C" __global__ void __launch_bounds__(threads) name(const __VA_ARGS__ parameters) {       \
    function(parameters);                                                                          \
  }

extern __shared__ __align__(16) unsigned char portcullis_shared[];

// `count` elements of the block's shared memory, `offset` bytes into it.
template <typename T> __device__ __forceinline__ Span<T> shared_memory(uint32_t offset, uint32_t count) {
  return {reinterpret_cast<T *>(portcullis_shared + offset), count};
}

template <typename T> __device__ __forceinline__ T shuffle_xor(T value, int lanes) {
  return __shfl_xor_sync(0xffffffffu, value, lanes);
}

template <typename T> __device__ __forceinline__ T shuffle(T value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}

// One bit a lane.
__device__ __forceinline__ uint32_t ballot_warp(bool predicate) { return __ballot_sync(0xffffffffu, predicate); }

__device__ __forceinline__ void sync_warp() { __syncwarp(); }

// Adds to `to[i]`, by one thread at a time, and gives what was there.
__device__ __forceinline__ uint32_t atomic_add(Span<uint32_t> to, uint64_t i, uint32_t value) {
  return atomicAdd(to.data + i, value);
}

__device__ __forceinline__ int count_ones(uint32_t word) { return __popc(word); }

__device__ __forceinline__ uint32_t multiply_high(uint32_t a, uint32_t b) { return __umulhi(a, b); }

__device__ __forceinline__ uint32_t bits_of(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float float_of(uint32_t bits) { return __uint_as_float(bits); }

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(f16 x) { return __half2float(x); }

template <typename T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) { return __float2bfloat16_rn(x); }
template <> __device__ __forceinline__ f16 from_float<f16>(float x) { return __float2half_rn(x); }

// Copies 16 bytes from global to shared memory without waiting, or zeros where not `valid`. Both
// addresses are multiples of 16.
template <typename T>
__device__ __forceinline__ void copy_async16(Span<T> to, uint32_t to_index, Span<const T> from, uint64_t from_index,
                                             bool valid) {
  const uint32_t destination = static_cast<uint32_t>(__cvta_generic_to_shared(to.data + to_index));
  const T *source = from.data + (valid ? from_index : 0);
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(destination), "l"(source), "r"(bytes)
               : "memory");
}

// Closes the group of the copies that this thread has started.
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

// Waits until at most `groups` groups of this thread are under way.
template <int groups> __device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(groups) : "memory");
}

// Loads 16 bytes that a launch reads once; zeros where not `valid`. They take no place in the first
// level of cache, which is left to what is read again, and the second asks memory for 128 bytes at a
// time. It is no load of constants (.nc): those the assembler moves across sync_warp.
template <typename T>
__device__ __forceinline__ void load_words_once(uint32_t (&out)[4], Span<const T> from, uint64_t index, bool valid) {
  asm volatile("{\n"
               ".reg .pred valid;\n"
               "setp.ne.u32 valid, %5, 0;\n"
               "mov.u32 %0, 0;\n"
               "mov.u32 %1, 0;\n"
               "mov.u32 %2, 0;\n"
               "mov.u32 %3, 0;\n"
               "@valid ld.global.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];\n"
               "}\n"
               : "=&r"(out[0]), "=&r"(out[1]), "=&r"(out[2]), "=&r"(out[3])
               : "l"(from.data + index), "r"(uint32_t(valid)));
}

// Loads four 8 by 8 matrices of 16-bit elements: lane i gives the address of row i % 8 of matrix
// i / 8, and gets of each matrix the elements 2 (i % 4) and 2 (i % 4) + 1 of row i / 4.
template <typename T> __device__ __forceinline__ void load_matrices(uint32_t (&out)[4], Span<T> rows, uint32_t index) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(rows.data + index));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address));
}

// The same, each matrix transposed.
template <typename T>
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&out)[4], Span<T> rows, uint32_t index) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(rows.data + index));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address));
}

// d += a b, with a 16 by 16 (row by row), b 16 by 8 (column by column) and d 16 by 8 in f32, spread
// over the warp. With g = lane / 4 and t = lane % 4, a lane holds
//   a: (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8), each with the column after it
//   b: (2t, g), (2t + 8, g), each with the row after it
//   d: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
// Source: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
template <typename T>
__device__ __forceinline__ void multiply_add_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

template <>
__device__ __forceinline__ void multiply_add_16x8x16<bf16>(float (&d)[4], const uint32_t (&a)[4],
                                                           const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
               "{%0,%1,%2,%3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <>
__device__ __forceinline__ void multiply_add_16x8x16<f16>(float (&d)[4], const uint32_t (&a)[4],
                                                          const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
               "{%0,%1,%2,%3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif // PORTCULLIS_EMULATION

// As many elements as fit 16 bytes, the widest load there is.
template <typename T> struct alignas(16) Pack {
  static constexpr int LEN = 16 / sizeof(T);
  T values[LEN];
};

template <typename T> __device__ __forceinline__ Pack<T> load16(Span<const T> from, uint64_t index) {
  return *reinterpret_cast<const Pack<T> *>(from.at(index, Pack<T>::LEN));
}

template <typename T> __device__ __forceinline__ void store16(Span<T> to, uint64_t index, const Pack<T> &pack) {
  *reinterpret_cast<Pack<T> *>(to.at(index, Pack<T>::LEN)) = pack;
}

// Two elements side by side in one register, as the matrix instructions want them.
template <typename T> __device__ __forceinline__ uint32_t pack2(float low, float high) {
  const T values[2] = {from_float<T>(low), from_float<T>(high)};
  uint32_t bits;
  memcpy(&bits, values, sizeof bits);
  return bits;
}

// ---- Products of 16 rows of a weight by 8 rows of x, by matrix instructions, a stretch at a time.
//
// Of a stretch a lane holds the eight elements from 8 (lane % 4) on, of row lane / 4: one load of 16
// bytes. They stand where two instructions expect the columns 2t, 2t + 1, 2t + 8 and 2t + 9. This
// permutes the columns, of both operands alike, which a sum does not mind.

// Elements along a row, of 16 bits each.
constexpr uint32_t STRETCH = 32;

// Zeros where not `valid`, without a branch that would keep loads from being under way together.
template <typename T>
__device__ __forceinline__ void load_words(uint32_t (&out)[4], Span<const T> from, uint64_t index, bool valid) {
  const Pack<T> pack = load16(from, valid ? index : 0);
  memcpy(out, &pack, sizeof out);
  UNROLL for (int i = 0; i < 4; i++)
    out[i] = valid ? out[i] : 0;
}

// Adds the products of a stretch: of the weight's rows lane / 4 and lane / 4 + 8, and row lane / 4 of
// x. The sums lie as d does in multiply_add_16x8x16.
template <typename T>
__device__ __forceinline__ void multiply_stretch(float (&sums)[4], const uint32_t (&low)[4], const uint32_t (&high)[4],
                                                 const uint32_t (&x)[4]) {
  UNROLL for (int half = 0; half < 4; half += 2) {
    const uint32_t a[4] = {low[half], high[half], low[half + 1], high[half + 1]}, b[2] = {x[half], x[half + 1]};
    multiply_add_16x8x16<T>(sums, a, b);
  }
}

// x times its logistic function.
__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }

struct Sum {
  template <typename T> __device__ __forceinline__ T operator()(T a, T b) const { return a + b; }
};

struct Max {
  template <typename T> __device__ __forceinline__ T operator()(T a, T b) const { return a < b ? b : a; }
};

// Reduces over the lanes of a warp; each lane gets the same bits.
template <typename T, typename Op> __device__ __forceinline__ T reduce_warp(T value, Op op) {
  for (int lanes = WARP / 2; lanes > 0; lanes /= 2)
    value = op(value, shuffle_xor(value, lanes));
  return value;
}

// Reduces over the block, whose threads are a multiple of a warp; each thread gets the same bits.
// `scratch` is shared memory for one T a warp; it may be used again after the next __syncthreads.
template <typename T, typename Op> __device__ T reduce_block(T value, Op op, Span<T> scratch) {
  const uint32_t warps = blockDim.x / WARP;
  value = reduce_warp(value, op);
  if (threadIdx.x % WARP == 0)
    scratch[threadIdx.x / WARP] = value;
  __syncthreads();
  value = scratch[0];
  for (uint32_t warp = 1; warp < warps; warp++)
    value = op(value, scratch[warp]);
  return value;
}
