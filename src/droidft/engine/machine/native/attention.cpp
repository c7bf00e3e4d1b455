// Softmax attention and its gradient without stored probabilities.
//
// One block of query rows at a time is multiplied with all keys it may see; the block of scores stays in the cache.
// The backward pass computes the probabilities again from the saved log-sum-exp (as in Dao, 2022, FlashAttention).
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gemm.h"
#include "kernels.h"
#include "pool.h"
#include "scratch.h"

namespace kernels {
namespace {

constexpr float kHidden = std::numeric_limits<float>::lowest();

// dst[rows, padded] = factor * src[rows, cols], the padding zero.
void pack(int64_t rows, int64_t cols, const float* src, int64_t row, int64_t col, float factor, float* dst,
          int64_t padded) {
  for (int64_t i = 0; i < rows; i++, dst += padded) {
    const float* s = src + i * row;
    if (col == 1)
      lanes(cols, [&](int64_t j, int n) { store_n(dst + j, load_n(s + j, n) * factor, n); });
    else
      for (int64_t j = 0; j < cols; j++) dst[j] = s[j * col] * factor;
    std::fill(dst + cols, dst + padded, 0.0f);
  }
}

// dst[cols, padded] = src[rows, cols] transposed, the padding zero.
void pack_transposed(int64_t rows, int64_t cols, const float* src, int64_t row, int64_t col, float* dst,
                     int64_t padded) {
  constexpr int64_t kBlock = 16;
  for (int64_t i0 = 0; i0 < rows; i0 += kBlock)
    for (int64_t j = 0; j < cols; j++)
      for (int64_t i = i0; i < std::min(rows, i0 + kBlock); i++) dst[j * padded + i] = src[i * row + j * col];
  for (int64_t j = 0; j < cols; j++) std::fill(dst + j * padded + rows, dst + (j + 1) * padded, 0.0f);
}

void unpack(int64_t rows, int64_t cols, const float* src, int64_t padded, float* dst, int64_t row, int64_t col) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < cols; j++) dst[i * row + j * col] = src[i * padded + j];
}

// One block of queries of one head: which keys it sees.
struct Block {
  const AttentionShape& s;
  int64_t b, h, begin, rows;

  // Keys visible to query `i` of the block.
  int64_t visible(int64_t i) const {
    return s.causal ? std::clamp<int64_t>(begin + i + 1 + s.keys - s.queries, 0, s.keys) : s.keys;
  }
  // Columns of the score block: enough for its last row.
  int64_t columns() const { return round_up(visible(rows - 1), kWidth); }

  void hide(int64_t i, float* scores) const {
    if (!s.mask) return;
    const bool* m = s.mask + b * s.mask_batch + h * s.mask_head + (begin + i) * s.mask_row;
    for (int64_t j = 0; j < visible(i); j++)
      if (!m[j * s.mask_col]) scores[j] = kHidden;
  }
};

// A row of scores becomes exp(score - max), zero beyond `n`. Returns the sum and the maximum.
float softmax_row(float* row, int64_t n, int64_t columns, float& top) {
  vf m = splat(-std::numeric_limits<float>::infinity());
  lanes(n, [&](int64_t j, int k) {
    vf x = k == kWidth ? load(row + j) : m;
    if (k < kWidth) std::memcpy(&x, row + j, k * sizeof(float));
    m = x > m ? x : m;
  });
  top = m[0];
  for (int i = 1; i < kWidth; i++) top = std::max(top, m[i]);
  vf total{};
  lanes(n, [&](int64_t j, int k) {
    vf e = exp(load_n(row + j, k) - top);
    store_n(row + j, e, k);
    total += k == kWidth ? e : load(row + j, k);
  });
  std::fill(row + n, row + columns, 0.0f);
  return sum(total);
}

struct Tiles {
  int64_t rows, count;  // query rows in a block, blocks in a head
  explicit Tiles(const AttentionShape& s) {
    rows = s.keys <= 1024 ? 96 : s.keys <= 4096 ? 48 : 24;  // a block of scores stays under about half a megabyte
    count = (s.queries + rows - 1) / rows;
  }
};

}  // namespace

void attention(const AttentionShape& s, Heads q, Heads k, Heads v, Heads out, float* lse) {
  const Tiles tiles(s);
  const int64_t lk = round_up(s.keys, kWidth), d = round_up(s.dim, kWidth), dv = round_up(s.value_dim, kWidth);
  pool::each(s.batch * s.heads, [&](int64_t item) {
    int64_t b = item / s.heads, h = item % s.heads, kv = h / (s.heads / s.kv_heads);
    Scratch scratch(s.dim * lk + lk * dv + tiles.rows * (d + lk + dv));
    float* kt = scratch.take(s.dim * lk);
    float* vp = scratch.take(lk * dv);
    float* qp = scratch.take(tiles.rows * d);
    float* scores = scratch.take(tiles.rows * lk);
    float* o = scratch.take(tiles.rows * dv);
    pack_transposed(s.keys, s.dim, k.at(b, kv), k.row, k.col, kt, lk);
    pack(s.keys, s.value_dim, v.at(b, kv), v.row, v.col, 1.0f, vp, dv);
    std::fill(vp + s.keys * dv, vp + lk * dv, 0.0f);
    for (int64_t t = 0; t < tiles.count; t++) {
      Block block{s, b, h, t * tiles.rows, std::min(tiles.rows, s.queries - t * tiles.rows)};
      const int64_t columns = block.columns();
      pack(block.rows, s.dim, q.at(b, h) + block.begin * q.row, q.row, q.col, s.scale, qp, d);
      gemm::multiply(block.rows, columns, s.dim, {qp, d, 1}, kt, lk, scores, lk, false);
      float total[96];
      for (int64_t i = 0; i < block.rows; i++) {
        float top;
        block.hide(i, scores + i * lk);
        total[i] = softmax_row(scores + i * lk, block.visible(i), columns, top);
        lse[item * s.queries + block.begin + i] = top + std::log(total[i]);
      }
      gemm::multiply(block.rows, dv, columns, {scores, lk, 1}, vp, dv, o, dv, false);
      for (int64_t i = 0; i < block.rows; i++) {
        float* dst = out.at(b, h) + (block.begin + i) * out.row;
        const float factor = 1.0f / total[i];
        lanes(s.value_dim, [&](int64_t j, int n) { store_n(dst + j, load_n(o + i * dv + j, n) * factor, n); });
      }
    }
  });
}

namespace {

// Gradients of one query head; dk_part and dv_part are [keys, d] and [keys, dv].
void head_grad(const AttentionShape& s, int64_t b, int64_t h, Heads q, Heads k, Heads v, Heads out, const float* lse,
               Heads dout, Heads dq, float* dk_part, float* dv_part) {
  const Tiles tiles(s);
  const int64_t lk = round_up(s.keys, kWidth), d = round_up(s.dim, kWidth), dv = round_up(s.value_dim, kWidth);
  const int64_t kv = h / (s.heads / s.kv_heads);
  Scratch scratch((s.dim + s.value_dim + d) * lk + tiles.rows * (2 * d + dv + 2 * lk));
  float* kt = scratch.take(s.dim * lk);
  float* vt = scratch.take(s.value_dim * lk);
  float* kp = scratch.take(lk * d);
  float* qp = scratch.take(tiles.rows * d);
  float* gp = scratch.take(tiles.rows * dv);
  float* dqp = scratch.take(tiles.rows * d);
  float* p = scratch.take(tiles.rows * lk);
  float* dp = scratch.take(tiles.rows * lk);
  pack_transposed(s.keys, s.dim, k.at(b, kv), k.row, k.col, kt, lk);
  pack_transposed(s.keys, s.value_dim, v.at(b, kv), v.row, v.col, vt, lk);
  pack(s.keys, s.dim, k.at(b, kv), k.row, k.col, s.scale, kp, d);
  std::fill(kp + s.keys * d, kp + lk * d, 0.0f);
  std::fill(dk_part, dk_part + s.keys * d, 0.0f);
  std::fill(dv_part, dv_part + s.keys * dv, 0.0f);
  for (int64_t t = 0; t < tiles.count; t++) {
    Block block{s, b, h, t * tiles.rows, std::min(tiles.rows, s.queries - t * tiles.rows)};
    const int64_t columns = block.columns(), seen = block.visible(block.rows - 1);
    const float* g = dout.at(b, h) + block.begin * dout.row;
    pack(block.rows, s.dim, q.at(b, h) + block.begin * q.row, q.row, q.col, s.scale, qp, d);
    pack(block.rows, s.value_dim, g, dout.row, dout.col, 1.0f, gp, dv);
    gemm::multiply(block.rows, columns, s.dim, {qp, d, 1}, kt, lk, p, lk, false);
    gemm::multiply(block.rows, columns, s.value_dim, {gp, dv, 1}, vt, lk, dp, lk, false);
    for (int64_t i = 0; i < block.rows; i++) {
      float *pi = p + i * lk, *dpi = dp + i * lk;
      const float* o = out.at(b, h) + (block.begin + i) * out.row;
      vf acc{};
      lanes(s.value_dim, [&](int64_t j, int n) { acc += load_n(o + j, n) * load_n(gp + i * dv + j, n); });
      const float delta = sum(acc), norm = lse[(b * s.heads + h) * s.queries + block.begin + i];
      const int64_t n = block.visible(i);
      block.hide(i, pi);
      if (norm == kHidden) {  // every key hidden: equal probabilities, which no score can change
        std::fill(pi, pi + n, 1.0f / n);
        std::fill(dpi, dpi + n, 0.0f);
      } else {
        lanes(n, [&](int64_t j, int w) {
          vf e = exp(load_n(pi + j, w) - norm);
          store_n(pi + j, e, w);
          store_n(dpi + j, e * (load_n(dpi + j, w) - delta), w);
        });
      }
      std::fill(pi + n, pi + columns, 0.0f);
      std::fill(dpi + n, dpi + columns, 0.0f);
    }
    gemm::multiply(block.rows, d, columns, {dp, lk, 1}, kp, d, dqp, d, false);
    unpack(block.rows, s.dim, dqp, d, dq.at(b, h) + block.begin * dq.row, dq.row, dq.col);
    gemm::multiply(seen, d, block.rows, {dp, 1, lk}, qp, d, dk_part, d, true);
    gemm::multiply(seen, dv, block.rows, {p, 1, lk}, gp, dv, dv_part, dv, true);
  }
}

}  // namespace

void attention_grad(const AttentionShape& s, Heads q, Heads k, Heads v, Heads out, const float* lse, Heads dout,
                    Heads dq, Heads dk, Heads dv) {
  const int64_t d = round_up(s.dim, kWidth), dvp = round_up(s.value_dim, kWidth), group = s.heads / s.kv_heads;
  Scratch parts(s.batch * s.heads * s.keys * (d + dvp));
  float* dk_parts = parts.take(s.batch * s.heads * s.keys * d);
  float* dv_parts = parts.take(s.batch * s.heads * s.keys * dvp);
  pool::each(s.batch * s.heads, [&](int64_t item) {
    head_grad(s, item / s.heads, item % s.heads, q, k, v, out, lse, dout, dq, dk_parts + item * s.keys * d,
              dv_parts + item * s.keys * dvp);
  });
  // The query heads that share a key head, added in their order.
  auto gather = [&](int64_t b, int64_t kv, const float* part, int64_t padded, int64_t dim, Heads grad) {
    const int64_t first = b * s.heads + kv * group;
    for (int64_t i = 0; i < s.keys; i++) {
      float* dst = grad.at(b, kv) + i * grad.row;
      lanes(dim, [&](int64_t j, int n) {
        vf total = load(part + (first * s.keys + i) * padded + j);
        for (int64_t g = 1; g < group; g++) total += load(part + ((first + g) * s.keys + i) * padded + j);
        store_n(dst + j, total, n);
      });
    }
  };
  pool::each(s.batch * s.kv_heads, [&](int64_t item) {
    gather(item / s.kv_heads, item % s.kv_heads, dk_parts, d, s.dim, dk);
    gather(item / s.kv_heads, item % s.kv_heads, dv_parts, dvp, s.value_dim, dv);
  });
}

}  // namespace kernels
