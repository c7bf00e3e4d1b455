// A frozen linear layer with its low-rank update (Hu et al., 2021), without intermediate copies of the output; and the
// loss at the end of a model, without all its logits.
#include <algorithm>

#include "gemm.h"
#include "kernels.h"
#include "pool.h"
#include "scratch.h"

namespace kernels {
namespace {

constexpr int kRowMajor = 101, kNo = 111, kYes = 112;

// c[m, n] = alpha a b + beta c, where a is [m, k] or, transposed, kept as [k, m]; and b [k, n] or [n, k].
void product(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a, const float* b,
             float beta, float* c) {
  sgemm(kRowMajor, trans_a, trans_b, int(m), int(n), int(k), alpha, a, int(trans_a == kNo ? k : m), b,
        int(trans_b == kNo ? n : k), beta, c, int(n));
}

// Rows that one task of the narrow products takes.
constexpr int64_t kTask = 48;

// to[j, i] = factor from[i, j].
void transpose(int64_t m, int64_t n, float factor, const float* from, float* to) {
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) to[j * m + i] = factor * from[i * n + j];
}

// Whether the products with the low-rank side are narrow enough for tiles of our own, which fill whole vectors.
bool is_narrow(int64_t rank, int64_t columns) { return rank % kWidth == 0 && rank <= 4 * kWidth && columns % kWidth == 0; }

// c[m, rank] = a[m, k] b[k, rank].
void onto_rank(int64_t m, int64_t rank, int64_t k, gemm::Matrix a, const float* b, float* c) {
  pool::ranges(m, kTask, [=](int64_t begin, int64_t end) {
    gemm::narrow(end - begin, rank, k, {a.data + begin * a.row, a.row, a.col}, b, rank, c + begin * rank, rank);
  });
}

}  // namespace

void lora(const LoraShape& s, const float* x, const Frozen& w, const float* a, const float* b, float* y, float* z) {
  if (w.bits == 32 || s.rows <= kFewRows || !is_narrow(s.rank, w.out)) {
    product(kNo, kNo, s.rows, s.rank, w.in, 1.0f, x, a, 0.0f, z);
    frozen_product(w, true, s.rows, x, y);
    product(kNo, kNo, s.rows, w.out, s.rank, s.scale, z, b, 1.0f, y);
    return;
  }
  onto_rank(s.rows, s.rank, w.in, {x, w.in, 1}, a, z);
  Scratch scratch(s.rows * s.rank);
  float* left = scratch.take(s.rows * s.rank);
  for (int64_t i = 0; i < s.rows * s.rank; i++) left[i] = s.scale * z[i];
  frozen_product(w, true, s.rows, x, y, {left, b, s.rank});
}

namespace {

// dz = scale dy b^T, dx = dy w + dz a^T, da = x^T dz, db = scale z^T dy.
void narrow_grad(const LoraShape& s, const float* x, const Frozen& w, const float* a, const float* b, const float* z,
                 const float* dy, float* dx, float* da, float* db) {
  Scratch scratch(2 * s.rows * s.rank + (w.in + w.out) * s.rank);
  float *dz = scratch.take(s.rows * s.rank), *scaled = scratch.take(s.rows * s.rank);
  float *b_turned = scratch.take(w.out * s.rank), *a_turned = scratch.take(w.in * s.rank);
  if (dx || da) {
    transpose(s.rank, w.out, s.scale, b, b_turned);
    onto_rank(s.rows, s.rank, w.out, {dy, w.out, 1}, b_turned, dz);
  }
  if (dx) {
    transpose(w.in, s.rank, 1.0f, a, a_turned);
    frozen_product(w, false, s.rows, dy, dx, {dz, a_turned, s.rank});
  }
  if (da) onto_rank(w.in, s.rank, s.rows, {x, 1, w.in}, dz, da);
  if (!db) return;
  for (int64_t i = 0; i < s.rows * s.rank; i++) scaled[i] = s.scale * z[i];
  pool::ranges(w.out, 2 * kWidth, [=, &s, &w](int64_t begin, int64_t end) {
    gemm::narrow(s.rank, end - begin, s.rows, {scaled, 1, s.rank}, dy + begin, w.out, db + begin, w.out);
  });
}

}  // namespace

void lora_grad(const LoraShape& s, const float* x, const Frozen& w, const float* a, const float* b, const float* z,
               const float* dy, float* dx, float* da, float* db) {
  if (w.bits < 32 && is_narrow(s.rank, w.out)) return narrow_grad(s, x, w, a, b, z, dy, dx, da, db);
  Scratch scratch(s.rows * s.rank);
  float* dz = scratch.take(s.rows * s.rank);
  if (dx || da) product(kNo, kYes, s.rows, s.rank, w.out, s.scale, dy, b, 0.0f, dz);
  if (dx) {
    frozen_product(w, false, s.rows, dy, dx);
    product(kNo, kYes, s.rows, w.in, s.rank, 1.0f, dz, a, 1.0f, dx);
  }
  if (da) product(kYes, kNo, w.in, s.rank, s.rows, 1.0f, x, dz, 0.0f, da);
  if (db) product(kYes, kNo, s.rank, w.out, s.rows, s.scale, z, dy, 0.0f, db);
}

void linear_cross_entropy(int64_t rows, const float* hidden, const Frozen& weight, const int32_t* targets, float* loss,
                          float* dhidden) {
  const int64_t classes = weight.out, dim = weight.in;
  constexpr int64_t kLogits = 6 << 20;  // at once: they stay in a shared cache of 32 MB
  const int64_t chunk = std::clamp<int64_t>(kLogits / classes, 1, rows);
  Scratch scratch(chunk * classes);
  float* logits = scratch.take(chunk * classes);
  for (int64_t i = 0; i < rows; i += chunk) {
    const int64_t n = std::min(chunk, rows - i);
    frozen_product(weight, true, n, hidden + i * dim, logits);
    cross_entropy(n, classes, logits, targets + i, loss + i, dhidden ? logits : nullptr);
    if (dhidden) frozen_product(weight, false, n, logits, dhidden + i * dim);
  }
}

}  // namespace kernels
