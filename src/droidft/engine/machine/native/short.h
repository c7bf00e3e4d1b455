// Arithmetic on bfloat16 numbers, on one thread: rounding, laying out, tiles of products. Two versions: with
// AVX512-BF16, and in plain C++ for every other processor, which computes the same sums in another order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "frozen.h"
#include "simd.h"

namespace brief {

using number = uint16_t;  // a bfloat16: the upper half of a float

constexpr int64_t kNumbers = 32;  // in a vector of 64 bytes
constexpr int64_t kStrip = 32;    // columns of B that a tile of products takes
constexpr int64_t kTileRows = 12;
constexpr int64_t kDots = 8;      // weights' rows that dots() takes at once

// Added to a tile: left[rows, rank] right[rank, columns], whose rows are `row` apart.
struct Low {
  const float *left, *right;
  int64_t rank, row;
};

inline float widened(number x) {
  const uint32_t bits = uint32_t(x) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

// To the nearest, to even ones in the middle. A NaN stays one.
inline number narrowed(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (x != x) return number(bits >> 16 | 0x40);
  return number((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

// Integer `i` of a row of packed ones.
inline uint32_t unpack(const uint8_t* row, int bits, int64_t i) {
  const int64_t at = i * bits;
  uint32_t word = row[at / 8];
  if (at % 8 + bits > 8) word |= uint32_t(row[at / 8 + 1]) << 8;
  return word >> at % 8 & ((1u << bits) - 1);
}

inline const uint8_t* packed_row(const kernels::Frozen& w, int64_t r) {
  return static_cast<const uint8_t*>(w.values) + r * (w.in * w.bits / 8);
}

// Numbers from .. from + n of row r of the weights.
inline void dequantise_plain(const kernels::Frozen& w, int64_t r, int64_t from, int64_t n, number* out) {
  const int64_t groups = w.in / w.group;
  for (int64_t i = from; i < from + n; i++) {
    const int64_t g = r * groups + i / w.group;
    *out++ = narrowed(float(unpack(packed_row(w, r), w.bits, i)) * w.scales[g] + w.biases[g]);
  }
}

}  // namespace brief

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "short_avx512.h"
#else
#include "short_plain.h"
#endif
