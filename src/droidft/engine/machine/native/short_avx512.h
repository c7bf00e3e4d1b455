// short.h with AVX512-BF16.
#pragma once

#include <immintrin.h>

namespace brief {

constexpr const char* kInstructions = "AVX512-BF16";

inline __m512i load_numbers(const number* p) { return _mm512_loadu_si512(p); }

// The first n of 32 numbers; the others are zero.
inline __m512i load_numbers(const number* p, int64_t n) {
  if (n >= kNumbers) return load_numbers(p);
  return _mm512_maskz_loadu_epi16(n <= 0 ? 0 : (1u << n) - 1, p);
}

inline __mmask16 first(int64_t n) { return n >= 16 ? 0xFFFF : n <= 0 ? 0 : __mmask16((1u << n) - 1); }

// 32 floats.
inline __m512i narrowed(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

inline void round_row(int64_t n, const float* x, number* out) {
  for (int64_t i = 0; i < n; i += kNumbers) {
    const __m512 low = _mm512_maskz_loadu_ps(first(n - i), x + i);
    const __m512 high = _mm512_maskz_loadu_ps(first(n - i - 16), x + i + 16);
    _mm512_storeu_si512(out + i, narrowed(low, high));
  }
}

// 4 bits: the sixteen numbers that a group can hold are rounded once and looked up.
inline void dequantise_nibbles(const kernels::Frozen& w, int64_t r, int64_t from, int64_t n, number* out) {
  const uint8_t* row = packed_row(w, r);
  const __m512 steps = _mm512_cvtepi32_ps(
      _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  __m512i table{};
  for (int64_t i = from; i < from + n; i += kNumbers) {
    if (i == from || i % w.group == 0) {
      const int64_t g = r * (w.in / w.group) + i / w.group;
      const __m512 values = _mm512_fmadd_ps(steps, _mm512_set1_ps(w.scales[g]), _mm512_set1_ps(w.biases[g]));
      table = narrowed(values, values);
    }
    const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)(row + i / 2)));
    const __m512i low = _mm512_and_si512(bytes, _mm512_set1_epi32(0xF));
    const __m512i high = _mm512_slli_epi32(_mm512_andnot_si512(_mm512_set1_epi32(0xF), bytes), 12);
    _mm512_storeu_si512(out + i - from, _mm512_permutexvar_epi16(_mm512_or_si512(low, high), table));
  }
}

inline void dequantise_bytes(const kernels::Frozen& w, int64_t r, int64_t from, int64_t n, number* out) {
  const uint8_t* row = packed_row(w, r);
  for (int64_t i = from; i < from + n; i += kNumbers) {
    const int64_t g = r * (w.in / w.group) + i / w.group;
    const __m512 scale = _mm512_set1_ps(w.scales[g]), bias = _mm512_set1_ps(w.biases[g]);
    auto some = [&](int64_t at) {
      const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)(row + at)));
      return _mm512_fmadd_ps(_mm512_cvtepi32_ps(bytes), scale, bias);
    };
    _mm512_storeu_si512(out + i - from, narrowed(some(i), some(i + 16)));
  }
}

inline void dequantise(const kernels::Frozen& w, int64_t r, int64_t from, int64_t n, number* out) {
  const bool whole = from % kNumbers == 0 && n % kNumbers == 0 && w.group % kNumbers == 0;
  if (whole && w.bits == 4) return dequantise_nibbles(w, r, from, n, out);
  if (whole && w.bits == 8) return dequantise_bytes(w, r, from, n, out);
  dequantise_plain(w, r, from, n, out);
}

// 16 rows of 16 pairs, turned.
inline void transpose(__m512i (&r)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xDD);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xDD);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xDD);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xDD);
  }
}

inline void panel_of_rows(const number* rows, int64_t row, int64_t count, int64_t depth, number* out) {
  for (int64_t half = 0; half < kStrip; half += 16)
    for (int64_t p = 0; p < depth; p += kNumbers) {
      __m512i block[16];
      for (int64_t j = 0; j < 16; j++)
        block[j] = half + j < count ? load_numbers(rows + (half + j) * row + p, depth - p) : __m512i{};
      transpose(block);
      const int64_t pairs = std::min<int64_t>(16, (depth - p + 1) / 2);
      for (int64_t i = 0; i < pairs; i++) _mm512_storeu_si512(out + (p / 2 + i) * 2 * kStrip + 2 * half, block[i]);
    }
}

inline void interleave(const number* first, const number* second, int64_t count, number* out) {
  const __m512i a = load_numbers(first, count), b = second ? load_numbers(second, count) : __m512i{};
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                       5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_or_si512(low, _mm512_set1_epi16(16));
  _mm512_storeu_si512(out, _mm512_permutex2var_epi16(a, low, b));
  _mm512_storeu_si512(out + kNumbers, _mm512_permutex2var_epi16(a, high, b));
}

template <int R>
inline __attribute__((always_inline)) void tile_of(int64_t pairs, const number* a, int64_t lda, const number* panel,
                                                   float* c, int64_t ldc, __mmask16 (&kept)[2], bool add, Low low) {
  __m512 acc[R][2];
#pragma GCC unroll 16
  for (int i = 0; i < R; i++)
    for (int j = 0; j < 2; j++)
      acc[i][j] = add ? _mm512_maskz_loadu_ps(kept[j], c + i * ldc + 16 * j) : _mm512_setzero_ps();
#pragma GCC unroll 16
  for (int i = 0; i < R; i++) {
    __builtin_prefetch(c + i * ldc, 1);
    __builtin_prefetch(c + i * ldc + 16, 1);
  }
  const number* rows[(R + 2) / 3];  // three rows share a pointer
  for (int i = 0; i < (R + 2) / 3; i++) rows[i] = a + 3 * i * lda;
  for (int64_t p = 0; p < pairs; p++, panel += 2 * kStrip) {
    const __m512bh b0 = (__m512bh)load_numbers(panel), b1 = (__m512bh)load_numbers(panel + kNumbers);
#pragma GCC unroll 16
    for (int i = 0; i < R; i++) {
      int32_t pair;
      std::memcpy(&pair, rows[i / 3] + i % 3 * lda + 2 * p, 4);
      const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
      acc[i][0] = _mm512_dpbf16_ps(acc[i][0], x, b0);
      acc[i][1] = _mm512_dpbf16_ps(acc[i][1], x, b1);
    }
  }
  for (int64_t r = 0; r < low.rank; r++) {
    const __m512 b0 = _mm512_maskz_loadu_ps(kept[0], low.right + r * low.row);
    const __m512 b1 = _mm512_maskz_loadu_ps(kept[1], low.right + r * low.row + 16);
#pragma GCC unroll 16
    for (int i = 0; i < R; i++) {
      const __m512 x = _mm512_set1_ps(low.left[i * low.rank + r]);
      acc[i][0] = _mm512_fmadd_ps(x, b0, acc[i][0]);
      acc[i][1] = _mm512_fmadd_ps(x, b1, acc[i][1]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; i++)
    for (int j = 0; j < 2; j++) _mm512_mask_storeu_ps(c + i * ldc + 16 * j, kept[j], acc[i][j]);
}

inline void tile(int rows, int64_t pairs, const number* a, int64_t lda, const number* panel, float* c, int64_t ldc,
                 int left, bool add, Low low) {
  __mmask16 kept[2] = {first(left), first(left - 16)};
  switch (rows) {
#define ROWS(R) \
  case R: return tile_of<R>(pairs, a, lda, panel, c, ldc, kept, add, low);
    ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6) ROWS(7) ROWS(8) ROWS(9) ROWS(10) ROWS(11) ROWS(12)
#undef ROWS
  }
}

template <int R, int N>
inline __attribute__((always_inline)) void dots_of(int64_t depth, const number* w, int64_t ldw, const number* a,
                                                   int64_t lda, float* c, int64_t ldc) {
  __m512 acc[R][N];
  for (auto& row : acc)
    for (auto& sum : row) sum = _mm512_setzero_ps();
  for (int64_t p = 0; p < depth; p += kNumbers) {
    __m512bh wide[N];
#pragma GCC unroll 8
    for (int j = 0; j < N; j++) wide[j] = (__m512bh)load_numbers(w + j * ldw + p, depth - p);
#pragma GCC unroll 4
    for (int i = 0; i < R; i++) {
      const __m512bh x = (__m512bh)load_numbers(a + i * lda + p);
#pragma GCC unroll 8
      for (int j = 0; j < N; j++) acc[i][j] = _mm512_dpbf16_ps(acc[i][j], x, wide[j]);
    }
  }
  for (int i = 0; i < R; i++)
    for (int j = 0; j < N; j++) c[i * ldc + j] = _mm512_reduce_add_ps(acc[i][j]);
}

inline void dots(int64_t depth, const number* w, int64_t ldw, int count, const number* a, int64_t lda, int rows,
                 float* c, int64_t ldc) {
  if (count == kDots && rows == 1) return dots_of<1, kDots>(depth, w, ldw, a, lda, c, ldc);
  constexpr int kHalf = kDots / 2;
  for (int i = 0; i < rows; i += 4) {
    const int some = std::min(4, rows - i);
    int j = 0;
    for (; some == 4 && j + kHalf <= count; j += kHalf)
      dots_of<4, kHalf>(depth, w + j * ldw, ldw, a + i * lda, lda, c + i * ldc + j, ldc);
    for (int k = 0; k < some; k++) {
      int at = j;
      for (; at + kHalf <= count; at += kHalf)
        dots_of<1, kHalf>(depth, w + at * ldw, ldw, a + (i + k) * lda, lda, c + (i + k) * ldc + at, ldc);
      for (; at < count; at++)
        dots_of<1, 1>(depth, w + at * ldw, ldw, a + (i + k) * lda, lda, c + (i + k) * ldc + at, ldc);
    }
  }
}

}  // namespace brief
