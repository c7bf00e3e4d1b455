// short.h for processors without products of bfloat16 numbers: the same roundings, products in float32.
#pragma once

namespace brief {

constexpr const char* kInstructions = "";

inline void round_row(int64_t n, const float* x, number* out) {
  for (int64_t i = 0; i < n; i++) out[i] = narrowed(x[i]);
  std::fill(out + n, out + round_up(n, kNumbers), number(0));
}

inline void dequantise(const kernels::Frozen& w, int64_t r, int64_t from, int64_t n, number* out) {
  dequantise_plain(w, r, from, n, out);
}

// out[pair][column][2] of `count` rows (columns of the panel) and `depth` numbers of each; the rest is zero.
inline void panel_of_rows(const number* rows, int64_t row, int64_t count, int64_t depth, number* out) {
  for (int64_t p = 0; p < (depth + 1) / 2 * 2; p++)
    for (int64_t j = 0; j < kStrip; j++)
      out[p / 2 * 2 * kStrip + 2 * j + p % 2] = j < count && p < depth ? rows[j * row + p] : 0;
}

// out[column][2] of two rows; the second may be missing.
inline void interleave(const number* first, const number* second, int64_t count, number* out) {
  for (int64_t j = 0; j < kStrip; j++) {
    out[2 * j] = j < count ? first[j] : 0;
    out[2 * j + 1] = j < count && second ? second[j] : 0;
  }
}

// c[rows, left] (+)= a[rows, 2 pairs] panel.
inline void tile(int rows, int64_t pairs, const number* a, int64_t lda, const number* panel, float* c, int64_t ldc,
                 int left, bool add, Low low) {
  constexpr int64_t kVectors = kStrip / kWidth;
  constexpr int64_t kSome = 128;  // pairs widened at once
  alignas(64) float wide[kSome * 2 * kStrip];
  for (int64_t from = 0; from < pairs; from += kSome) {
    const int64_t n = std::min(kSome, pairs - from);
    for (int64_t p = 0; p < n; p++)
      for (int64_t j = 0; j < 2 * kStrip; j++)  // both rows of the pair, one after the other
        wide[(2 * p + j % 2) * kStrip + j / 2] = widened(panel[(from + p) * 2 * kStrip + j]);
    for (int i = 0; i < rows; i++) {
      vf acc[kVectors]{};
      for (int64_t p = 0; p < 2 * n; p++) {
        const vf x = splat(widened(a[i * lda + 2 * from + p]));
        for (int64_t v = 0; v < kVectors; v++) acc[v] += x * load(wide + p * kStrip + v * kWidth);
      }
      float line[kStrip];
      for (int64_t v = 0; v < kVectors; v++) store(line + v * kWidth, acc[v]);
      for (int j = 0; j < left; j++) c[i * ldc + j] = line[j] + (add || from > 0 ? c[i * ldc + j] : 0.0f);
    }
  }
  for (int i = 0; i < rows; i++)
    for (int64_t r = 0; r < low.rank; r++)
      for (int j = 0; j < left; j++) c[i * ldc + j] += low.left[i * low.rank + r] * low.right[r * low.row + j];
}

// c[i, j] = products of row i of a with row j of w, over `depth` numbers.
inline void dots(int64_t depth, const number* w, int64_t ldw, int count, const number* a, int64_t lda, int rows,
                 float* c, int64_t ldc) {
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < count; j++) {
      vf acc{};
      float rest = 0.0f;
      int64_t p = 0;
      for (; p + kWidth <= depth; p += kWidth) {
        float x[kWidth], y[kWidth];
        for (int k = 0; k < kWidth; k++) x[k] = widened(a[i * lda + p + k]), y[k] = widened(w[j * ldw + p + k]);
        acc += load(x) * load(y);
      }
      for (; p < depth; p++) rest += widened(a[i * lda + p]) * widened(w[j * ldw + p]);
      c[i * ldc + j] = sum(acc) + rest;
    }
}

}  // namespace brief
