// A block a row: the row's sum of squares, then the row again, which is in the cache by then.
#include "device.cuh"

template <typename T> struct AddRmsNorm {
  Span<const T> x;
  // Empty for a plain norm.
  Span<const T> residual;
  Span<const T> weight;
  Span<T> sum;
  Span<T> normed;
  uint32_t size;
  float eps;
};

constexpr int ADD_RMS_NORM_THREADS = 256;

// Eight or four elements of x + residual, rounded as they are stored.
template <typename T> __device__ Pack<T> added(const AddRmsNorm<T> &p, uint64_t index) {
  Pack<T> x = load16(p.x, index);
  if (p.residual.len > 0) {
    const Pack<T> residual = load16(p.residual, index);
    for (int i = 0; i < Pack<T>::LEN; i++)
      x.values[i] = from_float<T>(to_float(x.values[i]) + to_float(residual.values[i]));
  }
  return x;
}

template <typename T> __device__ void add_rms_norm(const AddRmsNorm<T> &p) {
  const uint64_t row = uint64_t(blockIdx.x) * p.size;
  const uint32_t first = threadIdx.x * Pack<T>::LEN, step = blockDim.x * Pack<T>::LEN;
  float squares = 0;
  for (uint32_t column = first; column < p.size; column += step) {
    const Pack<T> x = added(p, row + column);
    if (p.residual.len > 0)
      store16(p.sum, row + column, x);
    for (int i = 0; i < Pack<T>::LEN; i++)
      squares += to_float(x.values[i]) * to_float(x.values[i]);
  }
  squares = reduce_block(squares, Sum(), shared_memory<float>(0, ADD_RMS_NORM_THREADS / WARP));
  const float scale = rsqrtf(squares / float(p.size) + p.eps);
  for (uint32_t column = first; column < p.size; column += step) {
    Pack<T> x = added(p, row + column);
    const Pack<T> weight = load16(p.weight, column);
    for (int i = 0; i < Pack<T>::LEN; i++)
      x.values[i] = from_float<T>(to_float(x.values[i]) * scale * to_float(weight.values[i]));
    store16(p.normed, row + column, x);
  }
}

KERNEL(add_rms_norm_f32, ADD_RMS_NORM_THREADS, add_rms_norm, AddRmsNorm<float>)
KERNEL(add_rms_norm_bf16, ADD_RMS_NORM_THREADS, add_rms_norm, AddRmsNorm<bf16>)
KERNEL(add_rms_norm_f16, ADD_RMS_NORM_THREADS, add_rms_norm, AddRmsNorm<f16>)
