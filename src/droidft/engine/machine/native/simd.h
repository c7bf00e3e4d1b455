// Vectors as wide as the machine's registers, and the few functions the kernels need of them.
//
// GCC and Clang vector types instead of intrinsics: the same source gives AVX-512, AVX2 and NEON code. Nothing here
// assumes finite numbers: NaN and infinity pass through, because the training loop stops when it sees them.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
constexpr int kWidth = 16;   // floats per vector
constexpr int kPanel = 4;    // vectors per row of a register tile (see gemm.h)
#elif defined(__AVX__)
constexpr int kWidth = 8;
constexpr int kPanel = 2;
#else
constexpr int kWidth = 4;
constexpr int kPanel = 4;
#endif

using vf = float __attribute__((vector_size(kWidth * 4)));
using vi = int32_t __attribute__((vector_size(kWidth * 4)));

inline vf splat(float x) { return vf{} + x; }

inline vf load(const float* p) {
  vf v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float* p, vf v) { std::memcpy(p, &v, sizeof v); }

// The first n < kWidth floats; the other lanes are 0.
inline vf load(const float* p, int n) {
  vf v{};
  std::memcpy(&v, p, n * sizeof(float));
  return v;
}

inline void store(float* p, vf v, int n) { std::memcpy(p, &v, n * sizeof(float)); }

// Sum of the lanes, always in the same order.
inline float sum(vf v) {
  float lanes[kWidth];
  store(lanes, v);
  for (int half = kWidth / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  return lanes[0];
}

// exp with an error of about one unit in the last place: 2^n times a polynomial on |r| <= ln(2) / 2.
inline vf exp(vf x) {
  vf lo = splat(-104.0f), hi = splat(89.0f);
  x = x < lo ? lo : x;  // a NaN compares false and stays
  x = x > hi ? hi : x;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, held in the low bits
  vf shifted = x * 1.44269504088896341f + magic;
  vf n = shifted - magic;
  vf r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  vf p = splat(1.9841270e-4f);
  p = p * r + 1.3888889e-3f;
  p = p * r + 8.3333333e-3f;
  p = p * r + 4.1666668e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  vi e;
  std::memcpy(&e, &shifted, sizeof e);
  e -= 0x4B400000;              // magic's bits: what is left is the integer n
  vi e1 = e >> 1, e2 = e - e1;  // in two steps, for results below the smallest normal number
  e1 = (e1 + 127) << 23;
  e2 = (e2 + 127) << 23;
  vf s1, s2;
  std::memcpy(&s1, &e1, sizeof s1);
  std::memcpy(&s2, &e2, sizeof s2);
  return p * s1 * s2;
}

inline vf sigmoid(vf x) { return 1.0f / (1.0f + exp(-x)); }

// f(vector index begin, lanes) over 0..n in steps of kWidth; only the last call has fewer than kWidth lanes.
template <class F>
inline void lanes(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) f(i, kWidth);
  if (i < n) f(i, int(n - i));
}

inline vf load_n(const float* p, int n) { return n == kWidth ? load(p) : load(p, n); }
inline void store_n(float* p, vf v, int n) { n == kWidth ? store(p, v) : store(p, v, n); }

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
