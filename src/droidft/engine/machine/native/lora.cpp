// A frozen linear layer with its low-rank update (Hu et al., 2021), without intermediate copies of the output; and the
// loss at the end of a model, without all its logits.
#include <algorithm>

#include "kernels.h"
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

}  // namespace

void lora(const LoraShape& s, const float* x, const float* w, const float* a, const float* b, float* y, float* z) {
  product(kNo, kNo, s.rows, s.rank, s.in, 1.0f, x, a, 0.0f, z);
  product(kNo, kYes, s.rows, s.out, s.in, 1.0f, x, w, 0.0f, y);
  product(kNo, kNo, s.rows, s.out, s.rank, s.scale, z, b, 1.0f, y);
}

// dz = scale dy b^T, dx = dy w + dz a^T, da = x^T dz, db = scale z^T dy.
void lora_grad(const LoraShape& s, const float* x, const float* w, const float* a, const float* b, const float* z,
               const float* dy, float* dx, float* da, float* db) {
  Scratch scratch(s.rows * s.rank);
  float* dz = scratch.take(s.rows * s.rank);
  if (dx || da) product(kNo, kYes, s.rows, s.rank, s.out, s.scale, dy, b, 0.0f, dz);
  if (dx) {
    product(kNo, kNo, s.rows, s.in, s.out, 1.0f, dy, w, 0.0f, dx);
    product(kNo, kYes, s.rows, s.in, s.rank, 1.0f, dz, a, 1.0f, dx);
  }
  if (da) product(kYes, kNo, s.in, s.rank, s.rows, 1.0f, x, dz, 0.0f, da);
  if (db) product(kYes, kNo, s.rank, s.out, s.rows, s.scale, z, dy, 0.0f, db);
}

void linear_cross_entropy(int64_t rows, int64_t dim, int64_t classes, const float* hidden, const float* weight,
                          const int32_t* targets, float* loss, float* dhidden) {
  constexpr int64_t kLogits = 6 << 20;  // at once: they stay in a shared cache of 32 MB
  const int64_t chunk = std::clamp<int64_t>(kLogits / classes, 1, rows);
  Scratch scratch(chunk * classes);
  float* logits = scratch.take(chunk * classes);
  for (int64_t i = 0; i < rows; i += chunk) {
    const int64_t n = std::min(chunk, rows - i);
    product(kNo, kYes, n, classes, dim, 1.0f, hidden + i * dim, weight, 0.0f, logits);
    cross_entropy(n, classes, logits, targets + i, loss + i, dhidden ? logits : nullptr);
    if (dhidden) product(kNo, kNo, n, dim, classes, 1.0f, logits, weight, 0.0f, dhidden + i * dim);
  }
}

}  // namespace kernels
