// Products and attention of few rows: the tokens of answers that are made side by side.
//
// All that counts is reading weights and keys once, on every thread; a BLAS packs them first, and reads at half the
// speed. And a row's result is the same bits whatever rows stand beside it: each number is one sum, in an order that
// only its own length decides.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels.h"
#include "pool.h"
#include "scratch.h"
#include "simd.h"

namespace kernels {
namespace {

constexpr int64_t kRead = 1 << 16;  // weights worth a task of their own where each is used once
constexpr int64_t kSmall = 1 << 19;  // as many floats of a second operand stay in the cache
constexpr int64_t kLowRank = 512;    // the shorter side of larger ones: the BLAS is better at square ones
constexpr int64_t kDeepest = 1 << 15;  // numbers in one sum, one after another: beyond, float32 loses too much

// The halves of blocks of 2 H lanes added: those of a, then those of b.
template <int H>
inline vf fold(vf a, vf b) {
  vi low;
  for (int i = 0; i < kWidth; i++) low[i] = i / H * 2 * H + i % H;
#if defined(__clang__)
  vf lo, hi;
  for (int i = 0; i < kWidth; i++) {
    lo[i] = low[i] < kWidth ? a[low[i]] : b[low[i] - kWidth];
    hi[i] = low[i] + H < kWidth ? a[low[i] + H] : b[low[i] + H - kWidth];
  }
  return lo + hi;
#else
  return __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, low + H);
#endif
}

// Lane i: the sum of v[i], added in the order of sum(). v is used up.
template <int H = kWidth / 2>
inline vf sums(vf* v) {
#pragma GCC unroll 16
  for (int i = 0; i < H; i++) v[i] = fold<H>(v[2 * i], v[2 * i + 1]);
  if constexpr (H > 1) return sums<H / 2>(v);
  return v[0];
}

// Keeps a value in a register: compilers would rather load it again with every use, and loads are what is short here.
inline vf held(vf v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#elif defined(__AVX__)
  asm("" : "+x"(v));
#endif
  return v;
}

// acc[c, r] += x[c] w[r] for one vector of each, of which `n` lanes of w count; those of x beyond are 0.
template <int C>
inline __attribute__((always_inline)) void multiply_add(vf* acc, const float* x, int64_t ldx, const float* w,
                                                        int64_t ldw, int n) {
  constexpr int R = kWidth / C;
  vf xv[C];
#pragma GCC unroll 16
  for (int c = 0; c < C; c++) xv[c] = held(load(x + c * ldx));
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    const vf wv = held(load_n(w + r * ldw, n));
#pragma GCC unroll 16
    for (int c = 0; c < C; c++) acc[c * R + r] += xv[c] * wv;
  }
}

// Sums of x[c] w[r] over k, for kWidth / C rows of w and C rows of x, which are padded with zeros; lane
// c * (kWidth / C) + r.
template <int C>
inline vf dots(int64_t k, const float* x, int64_t ldx, const float* w, int64_t ldw) {
  vf acc[kWidth];
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; i++) acc[i] = vf{};
  int64_t p = 0;
  for (; p + kWidth <= k; p += kWidth) multiply_add<C>(acc, x + p, ldx, w + p, ldw, kWidth);
  if (p < k) multiply_add<C>(acc, x + p, ldx, w + p, ldw, int(k - p));
  return sums(acc);
}

struct Out {
  float* y;
  int64_t ldy;
  bool add;
  // A result of dots<C>, of which `n` columns count.
  template <int C>
  void put(int64_t i, int64_t j, vf v, int n) const {
    constexpr int R = kWidth / C;
    float lanes[kWidth];
    store(lanes, v);
    for (int c = 0; c < C; c++) {
      float *to = y + (i + c) * ldy + j, *from = lanes + c * R;
      if (add)
        for (int r = 0; r < n; r++) to[r] += from[r];
      else if (n == R)
        std::memcpy(to, from, R * sizeof(float));
      else
        std::copy(from, from + n, to);
    }
  }
};

// Columns j .. end of y for the rows i .. i + C - 1.
template <int C>
void rows_of(int64_t i, int64_t j, int64_t end, int64_t k, const float* x, int64_t ldx, const float* w, int64_t ldw,
             Out out) {
  constexpr int R = kWidth / C;
  const float* at = x + i * ldx;
  for (; j + R <= end; j += R) out.put<C>(i, j, dots<C>(k, at, ldx, w + j * ldw, ldw), R);
  for (; j < end; j++) out.put<C>(i, j, dots<C>(k, at, ldx, w + j * ldw, 0), 1);
}

// y[C rows] = x[C, k] b[k, n], V vectors of columns from j on, the last of them with `rest` lanes.
template <int C, int V>
inline void across(int64_t k, const float* x, int64_t ldx, const float* b, int64_t ldb, Out out, int64_t i, int64_t j,
                   int rest) {
  vf acc[C][V]{};
  for (int64_t p = 0; p < k; p++) {
    vf bv[V];
    for (int v = 0; v < V; v++) bv[v] = load_n(b + p * ldb + j + v * kWidth, v + 1 == V ? rest : kWidth);
#pragma GCC unroll 16
    for (int c = 0; c < C; c++)
#pragma GCC unroll 16
      for (int v = 0; v < V; v++) acc[c][v] += splat(x[(i + c) * ldx + p]) * bv[v];
  }
  for (int c = 0; c < C; c++)
    for (int v = 0; v < V; v++) {
      float* y = out.y + (i + c) * out.ldy + j + v * kWidth;
      const int n = v + 1 == V ? rest : kWidth;
      store_n(y, out.add ? load_n(y, n) + acc[c][v] : acc[c][v], n);
    }
}

template <int C>
void across(int64_t n, int64_t k, const float* x, int64_t ldx, const float* b, int64_t ldb, Out out, int64_t i) {
  int64_t j = 0;
  for (; j + 2 * kWidth <= n; j += 2 * kWidth) across<C, 2>(k, x, ldx, b, ldb, out, i, j, kWidth);
  for (; j < n; j += kWidth) across<C, 1>(k, x, ldx, b, ldb, out, i, j, int(std::min<int64_t>(kWidth, n - j)));
}

}  // namespace

bool few_rows(bool transposed, int64_t m, int64_t n, int64_t k, const float* x, int64_t ldx, const float* w,
              int64_t ldw, bool add, float* y, int64_t ldy) {
  if (m > kFewRows || k < 1) return false;
  const Out out{y, ldy, add};
  if (!transposed) {
    const bool small = n * k <= kSmall;
    if (!small && (std::min(n, k) > kLowRank || k > kDeepest)) return false;
    const int64_t grain = small ? std::max<int64_t>(n, 1) : round_up(std::max<int64_t>(kRead / k, 1), 2 * kWidth);
    pool::ranges(n, grain, [=](int64_t begin, int64_t end) {
      const Out part{y + begin, ldy, add};
      int64_t i = 0;
      for (; i + 4 <= m; i += 4) across<4>(end - begin, k, x, ldx, w + begin, ldw, part, i);
      for (; i < m; i++) across<1>(end - begin, k, x, ldx, w + begin, ldw, part, i);
    });
    return true;
  }
  // Rows of x on whole cache lines, which w need not lie on: half as many reads of it.
  const int64_t padded = round_up(k, kWidth);
  Scratch scratch(m * padded);
  float* packed = scratch.take(m * padded);
  for (int64_t i = 0; i < m; i++) {
    std::copy(x + i * ldx, x + i * ldx + k, packed + i * padded);
    std::fill(packed + i * padded + k, packed + (i + 1) * padded, 0.0f);
  }
  constexpr int64_t kAtOnce = std::max(kWidth, 8);  // weights stay in the nearest cache for all rows
  const int64_t grain = std::max<int64_t>(kRead / k / kAtOnce, 1) * kAtOnce;
  pool::ranges(n, grain, [=](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; j += kAtOnce) {
      const int64_t to = std::min(end, j + kAtOnce), next = std::min(end, to + kAtOnce);
      for (int64_t r = to; r < next; r++)
        for (int64_t p = 0; p < k; p += 16) __builtin_prefetch(w + r * ldw + p);
      int64_t i = 0;
      for (; i + 4 <= m; i += 4) rows_of<4>(i, j, to, k, packed, padded, w, ldw, out);
      for (; i + 2 <= m; i += 2) rows_of<2>(i, j, to, k, packed, padded, w, ldw, out);
      for (; i < m; i++) rows_of<1>(i, j, to, k, packed, padded, w, ldw, out);
    }
  });
  return true;
}

namespace {

// The keys that a query sees, in their order, and how many they are.
int64_t seen_by(const AttentionShape& s, int64_t b, int64_t h, int64_t i, int32_t* seen) {
  const int64_t end = s.causal ? std::clamp<int64_t>(i + 1 + s.keys - s.queries, 0, s.keys) : s.keys;
  int64_t n = 0;
  const bool* m = s.mask ? s.mask + b * s.mask_batch + h * s.mask_head + i * s.mask_row : nullptr;
  for (int64_t j = 0; j < end; j++)
    if (!m || m[j * s.mask_col]) seen[n++] = int32_t(j);
  return n;
}

// One query of one head.
float attend(const AttentionShape& s, const float* q, const float* k, int64_t k_row, const float* v, int64_t v_row,
             const int32_t* seen, int64_t n, float* scores, float* out) {
  float top = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < n; j += kWidth) {
    const int lanes_left = int(std::min<int64_t>(kWidth, n - j));
    vf acc[kWidth]{};
    lanes(s.dim, [&](int64_t p, int w) {
      const vf qv = load_n(q + p, w);
      for (int r = 0; r < kWidth; r++) acc[r] += qv * load_n(k + seen[std::min(j + r, n - 1)] * k_row + p, w);
    });
    const vf dots = sums(acc) * s.scale;
    store(scores + j, dots);
    for (int r = 0; r < lanes_left; r++) top = std::max(top, dots[r]);
  }
  vf total{};
  for (int64_t j = 0; j < n; j += kWidth) {
    vf e = exp(load(scores + j) - top);
    for (int r = int(std::min<int64_t>(kWidth, n - j)); r < kWidth; r++) e[r] = 0.0f;
    store(scores + j, e);
    total += e;
  }
  const float whole = sum(total), factor = 1.0f / whole;
  constexpr int64_t kColumns = 4 * kWidth;
  for (int64_t c = 0; c < s.value_dim; c += kColumns) {
    const int64_t width = std::min(kColumns, s.value_dim - c);
    vf acc[4]{};
    for (int64_t j = 0; j < n; j++) {
      const float* row = v + seen[j] * v_row + c;
      const vf e = splat(scores[j]);
      if (width == kColumns)
        for (int u = 0; u < 4; u++) acc[u] += e * load(row + u * kWidth);
      else
        lanes(width, [&](int64_t p, int w) { acc[p / kWidth] += e * load_n(row + p, w); });
    }
    lanes(width, [&](int64_t p, int w) { store_n(out + c + p, acc[p / kWidth] * factor, w); });
  }
  return top + std::log(whole);
}

}  // namespace

bool attention_few(const AttentionShape& s, Heads q, Heads k, Heads v, Heads out, float* lse) {
  if (s.queries >= kFewQueries || q.col != 1 || k.col != 1 || v.col != 1 || out.col != 1) return false;
  const int64_t group = s.heads / s.kv_heads;
  auto work = [=](int64_t begin, int64_t end) {
    Scratch scratch(2 * round_up(s.keys + 1, kWidth));
    float* scores = scratch.take(round_up(s.keys + 1, kWidth));
    auto* seen = reinterpret_cast<int32_t*>(scratch.take(round_up(s.keys + 1, kWidth)));
    for (int64_t item = begin; item < end; item++) {
      const int64_t b = item / s.kv_heads, kv = item % s.kv_heads;
      for (int64_t i = 0; i < s.queries; i++) {
        AttentionShape shape = s;
        int64_t n = 0;
        for (int64_t h = kv * group; h < (kv + 1) * group; h++) {
          if (h == kv * group || s.mask_head) {
            n = seen_by(s, b, h, i, seen);
            shape.scale = n > 0 ? s.scale : 0.0f;  // every key hidden: equal probabilities, as in attention()
            if (n == 0) std::iota(seen, seen + (n = s.keys), 0);
          }
          const float total = attend(shape, q.at(b, h) + i * q.row, k.at(b, kv), k.row, v.at(b, kv), v.row, seen, n,
                                     scores, out.at(b, h) + i * out.row);
          const bool hidden = shape.scale != s.scale;
          lse[(b * s.heads + h) * s.queries + i] = hidden ? std::numeric_limits<float>::lowest() : total;
        }
      }
    }
  };
  const int64_t each = std::max<int64_t>(group * s.queries * s.keys * (s.dim + s.value_dim), 1);
  pool::ranges(s.batch * s.kv_heads, std::max<int64_t>(kRead / each, 1), work);
  return true;
}

}  // namespace kernels
