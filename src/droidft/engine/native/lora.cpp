// A frozen linear layer with its low-rank update (Hu et al., 2021), without intermediate copies of the output; and the
// loss at the end of a model, without all its logits.
//
// The wide products go to the BLAS that MLX uses, adding into their output; the products with a side of `rank`,
// which BLAS libraries are slow at, are done here.
#include <algorithm>

#include "gemm.h"
#include "kernels.h"
#include "pool.h"
#include "scratch.h"

namespace kernels {
namespace {

constexpr int kRowMajor = 101, kNo = 111, kYes = 112;
constexpr int64_t kBlock = 48;  // rows of a narrow product per task

// c[m, n] = alpha a[m, k] b[n, k]^T + beta c, or with b[k, n] if not transposed.
void blas(bool transposed, int64_t m, int64_t n, int64_t k, float alpha, const float* a, const float* b, float beta,
          float* c) {
  sgemm(kRowMajor, kNo, transposed ? kYes : kNo, int(m), int(n), int(k), alpha, a, int(k), b,
              int(transposed ? k : n), beta, c, int(n));
}

// out[m, n] = factor * a[m, k] b[k, n] for a small n; the strides of `a` and `b` are free.
void narrow(int64_t m, int64_t n, int64_t k, float factor, gemm::Matrix a, gemm::Matrix b, float* out) {
  const int64_t padded = round_up(n, kWidth);
  Scratch scratch(k * padded);
  float* packed = scratch.take(k * padded);
  for (int64_t p = 0; p < k; p++) {
    for (int64_t j = 0; j < n; j++) packed[p * padded + j] = b.data[p * b.row + j * b.col] * factor;
    std::fill(packed + p * padded + n, packed + (p + 1) * padded, 0.0f);
  }
  pool::ranges(m, kBlock, [=](int64_t begin, int64_t end) {
    Scratch own(kBlock * padded);
    float* c = own.take(kBlock * padded);
    gemm::multiply(end - begin, padded, k, {a.data + begin * a.row, a.row, a.col}, packed, padded, c, padded, false);
    for (int64_t i = begin; i < end; i++) std::copy_n(c + (i - begin) * padded, n, out + i * n);
  });
}

}  // namespace

void lora(const LoraShape& s, const float* x, const float* w, const float* a, const float* b, float* y, float* z) {
  narrow(s.rows, s.rank, s.in, 1.0f, {x, s.in, 1}, {a, s.rank, 1}, z);
  blas(true, s.rows, s.out, s.in, 1.0f, x, w, 0.0f, y);
  blas(false, s.rows, s.out, s.rank, s.scale, z, b, 1.0f, y);
}

// dz = scale dy b^T, dx = dy w + dz a^T, da = x^T dz, db = scale z^T dy.
void lora_grad(const LoraShape& s, const float* x, const float* w, const float* a, const float* b, const float* z,
               const float* dy, float* dx, float* da, float* db) {
  Scratch scratch(s.rows * s.rank + s.out * s.rank);
  float* dz = scratch.take(s.rows * s.rank);
  if (dx || da) narrow(s.rows, s.rank, s.out, s.scale, {dy, s.out, 1}, {b, 1, s.out}, dz);
  if (dx) {
    blas(false, s.rows, s.in, s.out, 1.0f, dy, w, 0.0f, dx);
    blas(true, s.rows, s.in, s.rank, 1.0f, dz, a, 1.0f, dx);
  }
  if (da) narrow(s.in, s.rank, s.rows, 1.0f, {x, 1, s.in}, {dz, s.rank, 1}, da);
  if (!db) return;
  float* dbt = scratch.take(s.out * s.rank);
  narrow(s.out, s.rank, s.rows, s.scale, {dy, 1, s.out}, {z, s.rank, 1}, dbt);
  pool::ranges(s.rank, 1, [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++)
      for (int64_t j = 0; j < s.out; j++) db[r * s.out + j] = dbt[j * s.rank + r];
  });
}

void linear_cross_entropy(int64_t rows, int64_t dim, int64_t classes, const float* hidden, const float* weight,
                          const int32_t* targets, float* loss, float* dhidden) {
  constexpr int64_t kLogits = 6 << 20;  // at once: they stay in a shared cache of 32 MB
  const int64_t chunk = std::clamp<int64_t>(kLogits / classes, 1, rows);
  Scratch scratch(chunk * classes);
  float* logits = scratch.take(chunk * classes);
  for (int64_t i = 0; i < rows; i += chunk) {
    const int64_t n = std::min(chunk, rows - i);
    blas(true, n, classes, dim, 1.0f, hidden + i * dim, weight, 0.0f, logits);
    cross_entropy(n, classes, logits, targets + i, loss + i, dhidden ? logits : nullptr);
    if (dhidden) blas(false, n, dim, classes, 1.0f, logits, weight, 0.0f, dhidden + i * dim);
  }
}

}  // namespace kernels
