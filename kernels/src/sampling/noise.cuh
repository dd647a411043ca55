// The noise of a draw; philox.rs has the same.
#pragma once

#include "device.cuh"

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
