// A thread for each 16 bytes; the last one may have fewer.
#include "device.cuh"

template <typename T> struct SiluMul {
  Span<const T> gate;
  Span<const T> up;
  Span<T> out;
};

constexpr int SILU_MUL_THREADS = 256;

template <typename T> __device__ T silu_mul_one(T gate, T up) { return from_float<T>(silu(to_float(gate)) * to_float(up)); }

template <typename T> __device__ void silu_mul(const SiluMul<T> &p) {
  constexpr int LEN = Pack<T>::LEN;
  const uint64_t first = (uint64_t(blockIdx.x) * blockDim.x + threadIdx.x) * LEN;
  if (first + LEN <= p.out.len) {
    Pack<T> x = load16(p.gate, first);
    const Pack<T> up = load16(p.up, first);
    for (int i = 0; i < LEN; i++)
      x.values[i] = silu_mul_one(x.values[i], up.values[i]);
    store16(p.out, first, x);
  } else {
    for (uint64_t i = first; i < p.out.len; i++)
      p.out[i] = silu_mul_one(p.gate[i], p.up[i]);
  }
}

KERNEL(silu_mul_f32, SILU_MUL_THREADS, silu_mul, SiluMul<float>)
KERNEL(silu_mul_bf16, SILU_MUL_THREADS, silu_mul, SiluMul<bf16>)
KERNEL(silu_mul_f16, SILU_MUL_THREADS, silu_mul, SiluMul<f16>)
