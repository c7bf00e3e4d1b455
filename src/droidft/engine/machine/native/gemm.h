// Small matrix products on one thread, for operands that lie in the cache: C = A B or C += A B.
//
// A is read through two strides (so A or its transpose); B and C have rows of contiguous floats, padded to a whole
// number of vectors. Each tile of C, 6 rows by kPanel vectors, stays in registers over the whole inner dimension.
#pragma once

#include "simd.h"

namespace gemm {

constexpr int kRows = 6;

struct Matrix {
  const float* data;
  int64_t row, col;  // strides in floats
};

template <int R, int V>
inline __attribute__((always_inline)) void tile(
    int64_t k, Matrix a, const float* b, int64_t ldb, float* c, int64_t ldc, bool add) {
  vf acc[R][V];
  const float* rows[R];
  for (int i = 0; i < R; i++) {
    rows[i] = a.data + i * a.row;
    for (int j = 0; j < V; j++) acc[i][j] = add ? load(c + i * ldc + j * kWidth) : vf{};
  }
  for (int64_t p = 0, at = 0; p < k; p++, at += a.col, b += ldb) {
    vf bv[V];
    for (int j = 0; j < V; j++) bv[j] = load(b + j * kWidth);
    for (int i = 0; i < R; i++) {
      vf x = splat(rows[i][at]);
      for (int j = 0; j < V; j++) acc[i][j] += x * bv[j];
    }
  }
  for (int i = 0; i < R; i++)
    for (int j = 0; j < V; j++) store(c + i * ldc + j * kWidth, acc[i][j]);
}

template <int R>
void columns(int64_t n, int64_t k, Matrix a, const float* b, int64_t ldb, float* c, int64_t ldc, bool add) {
  int64_t j = 0;
  for (; j + kPanel * kWidth <= n; j += kPanel * kWidth) tile<R, kPanel>(k, a, b + j, ldb, c + j, ldc, add);
  switch ((n - j) / kWidth) {
    case 3: tile<R, 3>(k, a, b + j, ldb, c + j, ldc, add); break;
    case 2: tile<R, 2>(k, a, b + j, ldb, c + j, ldc, add); break;
    case 1: tile<R, 1>(k, a, b + j, ldb, c + j, ldc, add); break;
  }
}

// C[m, n] (+)= A[m, k] B[k, n]; n is a multiple of kWidth.
inline void multiply(
    int64_t m, int64_t n, int64_t k, Matrix a, const float* b, int64_t ldb, float* c, int64_t ldc, bool add) {
  int64_t i = 0;
  auto at = [&](int64_t r) { return Matrix{a.data + r * a.row, a.row, a.col}; };
  for (; i + kRows <= m; i += kRows) columns<kRows>(n, k, at(i), b, ldb, c + i * ldc, ldc, add);
  switch (m - i) {
    case 5: columns<5>(n, k, at(i), b, ldb, c + i * ldc, ldc, add); break;
    case 4: columns<4>(n, k, at(i), b, ldb, c + i * ldc, ldc, add); break;
    case 3: columns<3>(n, k, at(i), b, ldb, c + i * ldc, ldc, add); break;
    case 2: columns<2>(n, k, at(i), b, ldb, c + i * ldc, ldc, add); break;
    case 1: columns<1>(n, k, at(i), b, ldb, c + i * ldc, ldc, add); break;
  }
}

}  // namespace gemm
