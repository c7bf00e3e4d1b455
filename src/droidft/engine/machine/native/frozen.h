// A matrix that is not trained, as it is stored.
#pragma once

#include <cstdint>

namespace kernels {

// [out, in] in rows: float32 (bits 32), bfloat16 (bits 16), or unsigned integers of fewer bits, one after the other from the lowest bit on,
// each standing for scale * q + bias of its group (MLX's affine mode).
struct Frozen {
  int64_t out, in;
  const void* values;
  int bits;
  int64_t group;        // neighbours in a row that share a scale and a bias
  const float* scales;  // [out, in / group]
  const float* biases;

  bool quantised() const { return bits < 16; }
};

}  // namespace kernels
