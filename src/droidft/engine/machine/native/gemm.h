// Small matrix products on one thread, for operands that lie in the cache: C = A B or C += A B.
//
// A is read through two strides (so A or its transpose); B and C have rows of contiguous floats, padded to a whole
// number of vectors. Each tile of C, 6 rows by kPanel vectors, stays in registers over the whole inner dimension.
#pragma once

#include <algorithm>

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

// The same for a narrow C, of at most 2 vectors: tiles of 12 rows, so that B is read half as often, in pieces that stay
// in the nearest cache.
template <int R, int V>
inline __attribute__((always_inline)) void narrow_tile(
    int64_t k, Matrix a, const float* b, int64_t ldb, float* c, int64_t ldc, bool add) {
  vf acc[R][V];
  for (int i = 0; i < R; i++)
    for (int j = 0; j < V; j++) acc[i][j] = add ? load(c + i * ldc + j * kWidth) : vf{};
  const float* rows[(R + 2) / 3];  // three rows share a pointer: there are few registers for pointers
  for (int i = 0; i < (R + 2) / 3; i++) rows[i] = a.data + 3 * i * a.row;
  for (int64_t p = 0; p < k; p++, b += ldb) {
    vf bv[V];
    for (int j = 0; j < V; j++) bv[j] = load(b + j * kWidth);
#pragma GCC unroll 12
    for (int i = 0; i < R; i++) {
      const vf x = splat(rows[i / 3][i % 3 * a.row]);
      for (int j = 0; j < V; j++) acc[i][j] += x * bv[j];
    }
    for (auto& row : rows) row += a.col;
  }
  for (int i = 0; i < R; i++)
    for (int j = 0; j < V; j++) store(c + i * ldc + j * kWidth, acc[i][j]);
}

template <int V>
void narrow_columns(int64_t m, int64_t k, Matrix a, const float* b, int64_t ldb, float* c, int64_t ldc, bool add) {
  int64_t i = 0;
  auto at = [&](int64_t r) { return Matrix{a.data + r * a.row, a.row, a.col}; };
  for (; i + 12 <= m; i += 12) narrow_tile<12, V>(k, at(i), b, ldb, c + i * ldc, ldc, add);
  for (; i + 4 <= m; i += 4) narrow_tile<4, V>(k, at(i), b, ldb, c + i * ldc, ldc, add);
  for (; i < m; i++) narrow_tile<1, V>(k, at(i), b, ldb, c + i * ldc, ldc, add);
}

// C[m, n] = A[m, k] B[k, n]; n is a multiple of kWidth.
inline void narrow(int64_t m, int64_t n, int64_t k, Matrix a, const float* b, int64_t ldb, float* c, int64_t ldc) {
  constexpr int64_t kDepth = 192;
  for (int64_t j = 0; j < n; j += 2 * kWidth)
    for (int64_t p = 0; p < k; p += kDepth) {
      const Matrix piece{a.data + p * a.col, a.row, a.col};
      const int64_t deep = std::min(kDepth, k - p);
      n - j > kWidth ? narrow_columns<2>(m, deep, piece, b + p * ldb + j, ldb, c + j, ldc, p > 0)
                     : narrow_columns<1>(m, deep, piece, b + p * ldb + j, ldb, c + j, ldc, p > 0);
    }
}

}  // namespace gemm
