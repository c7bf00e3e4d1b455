// Large matrix products: blocks of the result, each by one single-threaded call of the BLAS, spread over our pool.
//
// OpenBLAS's own threads hand packed pieces to one another and spin while they wait. On a machine that does anything
// else at the time, that wait is for a thread that is not running: steps then take several times as long.
#include <algorithm>

#include "kernels.h"
#include "pool.h"

extern "C" void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float* a,
                            int lda, const float* b, int ldb, float beta, float* c, int ldc);

namespace kernels {
namespace {

Sgemm one_thread = cblas_sgemm;
bool split = false;

constexpr int kRowMajor = 101, kNo = 111, kYes = 112;
constexpr double kSmall = 1 << 22;  // multiplications worth a task of their own

struct Grid {
  int rows, columns;
};

// Blocks for a result of m by n: about two for each thread, as square as can be, since each packs its operands.
Grid grid(int64_t m, int64_t n, int64_t k) {
  Grid g{1, 1};
  const int wanted = 2 * pool::threads();
  while (g.rows * g.columns < wanted) {
    const double height = double(m) / g.rows, width = double(n) / g.columns;
    if (height * width * k < 2 * kSmall) break;
    height >= width ? g.rows *= 2 : g.columns *= 2;
  }
  return g;
}

// Begin of part `i` of `parts` of 0 .. n, on a multiple of 16.
int64_t cut(int64_t n, int parts, int i) { return i == parts ? n : std::min(n, (n * i / parts + 15) / 16 * 16); }

}  // namespace

void use_sgemm(Sgemm entry) { one_thread = entry; }

void split_sgemm() { split = true; }

void sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float* a, int lda,
           const float* b, int ldb, float beta, float* c, int ldc) {
  if (split && order == kRowMajor && trans_a == kNo && alpha == 1 && (beta == 0 || beta == 1) &&
      few_rows(trans_b == kYes, m, n, k, a, lda, b, ldb, beta == 1, c, ldc))
    return;
  const Grid g = split && order == kRowMajor ? grid(m, n, k) : Grid{1, 1};
  if (g.rows * g.columns == 1)
    return one_thread(order, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  pool::each(g.rows * g.columns, [=](int64_t task) {
    const int64_t i = cut(m, g.rows, task / g.columns), i_end = cut(m, g.rows, task / g.columns + 1);
    const int64_t j = cut(n, g.columns, task % g.columns), j_end = cut(n, g.columns, task % g.columns + 1);
    if (i == i_end || j == j_end) return;
    one_thread(order, trans_a, trans_b, int(i_end - i), int(j_end - j), k, alpha,
               a + i * (trans_a == kNo ? lda : 1), lda, b + j * (trans_b == kNo ? 1 : ldb), ldb, beta,
               c + i * ldc + j, ldc);
  });
}

}  // namespace kernels
