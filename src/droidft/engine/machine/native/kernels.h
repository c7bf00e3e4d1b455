// The kernels' arithmetic, on plain pointers. Nothing here knows MLX; node.h and its users tie them to MLX's graph.
#pragma once

#include <cstdint>
#include <vector>

#include "frozen.h"

namespace kernels {

// out = the 4-byte elements of `in`, which lie apart by `strides`, in row order.
void gather(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides, const float* in, float* out);

// A [batch, heads, length, dim] tensor of any strides (in floats).
struct Heads {
  float* data;
  int64_t batch, head, row, col;
  float* at(int64_t b, int64_t h) const { return data + b * batch + h * head; }
};

struct AttentionShape {
  int64_t batch, heads, kv_heads, queries, keys, dim, value_dim;
  float scale;
  bool causal;  // query i sees keys 0 .. i + keys - queries
  // A boolean mask [batch, heads, queries, keys] with strides, or null; false hides.
  const bool* mask;
  int64_t mask_batch, mask_head, mask_row, mask_col;
};

// out = softmax(scale q k^T) v; lse[batch, heads, queries] = log of the sum of exponentials.
void attention(const AttentionShape& s, Heads q, Heads k, Heads v, Heads out, float* lse);

constexpr int64_t kFewQueries = 16;
// The same for fewer queries than that, where keys need no packing. Whether it was done: not for columns that lie apart.
bool attention_few(const AttentionShape& s, Heads q, Heads k, Heads v, Heads out, float* lse);

// Gradients, from the outputs of attention() and the gradient dout of `out`.
void attention_grad(
    const AttentionShape& s, Heads q, Heads k, Heads v, Heads out, const float* lse, Heads dout, Heads dq, Heads dk,
    Heads dv);

enum class Gate { kSilu, kGeluTanh };

// out = act(gate) * x; x may be null, for plain act(gate).
void gated(Gate act, int64_t n, const float* gate, const float* x, float* out);

// Gradients of gated(); dgate and dx may be the same memory as gate, x or dout. dx is null where x is.
void gated_grad(
    Gate act, int64_t n, const float* gate, const float* x, const float* dout, float* dgate, float* dx);

// out = x / sqrt(mean(x^2) + eps) * weight over rows of `dim`; weight may be null.
void rms_norm(int64_t rows, int64_t dim, float eps, const float* x, const float* weight, float* out);

// Gradients of rms_norm(); dweight[dim] may be null.
void rms_norm_grad(
    int64_t rows, int64_t dim, float eps, const float* x, const float* weight, const float* dout, float* dx,
    float* dweight);

struct RopeShape {
  int64_t batch, heads, length, dim;
  int64_t half;      // pairs turned: the first 2 * half of the dim columns
  bool traditional;  // pairs are neighbours; otherwise `half` columns apart
  bool inverse;      // turn back: the gradient
};

// Turns pairs of columns by the angles whose cosines and sines are cos, sin[length, half].
void rope(const RopeShape& s, const float* cos, const float* sin, Heads x, Heads out);

// loss[i] = logsumexp(logits[i]) - logits[i, target[i]], grad = softmax(logits) - onehot(target). grad may be logits,
// or null.
// A target outside 0 .. classes-1 gives NaN.
void cross_entropy(
    int64_t rows, int64_t classes, const float* logits, const int32_t* targets, float* loss, float* grad);

// The loss of cross_entropy() for logits = hidden weight^T, made a few rows at a time; weight[classes, dim],
// hidden[rows, dim]. dhidden (may be null) is the gradient of the losses' sum.
void linear_cross_entropy(
    int64_t rows, const float* hidden, const Frozen& weight, const int32_t* targets, float* loss, float* dhidden);

// out[i] = factor[i] in[i], row by row; `out` may be `in`, and rows with factor 1 are then not touched.
void scale_rows(int64_t rows, int64_t classes, const float* factor, const float* in, float* out);

using Sgemm = void (*)(
    int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float* a, int lda, const float* b,
    int ldb, float beta, float* c, int ldc);

// cblas_sgemm. Left whole to the library until split_sgemm() is called; then cut into blocks for our threads.
void sgemm(
    int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float* a, int lda, const float* b,
    int ldb, float beta, float* c, int ldc);

// The cblas_sgemm to use. Without this call it is the one that the linker finds.
void use_sgemm(Sgemm entry);

// To be called once the library keeps each call on the thread it comes from.
void split_sgemm();

constexpr int64_t kFewRows = 64;
// y[m, n] = x[m, k] w, or with `add` y += x w, where w is [k, n] or, transposed, kept as [n, k]. A row's result is the
// same bits whatever rows stand beside it. Whether it was done: for at most kFewRows, and an untransposed w only where
// it is small or narrow, as those of adapters are: half a million floats, or 512 on its shorter side.
bool few_rows(bool transposed, int64_t m, int64_t n, int64_t k, const float* x, int64_t ldx, const float* w,
              int64_t ldw, bool add, float* y, int64_t ldy);

// y = x w^T + scale (x a) b, keeping z = x a. x[rows, in], w[out, in], a[in, rank], b[rank, out].
struct LoraShape {
  int64_t rows, rank;
  float scale;
};
void lora(const LoraShape& s, const float* x, const Frozen& w, const float* a, const float* b, float* y, float* z);

// Gradients of lora(); null pointers are skipped.
void lora_grad(
    const LoraShape& s, const float* x, const Frozen& w, const float* a, const float* b, const float* z,
    const float* dy, float* dx, float* da, float* db);

// The instructions that multiply bfloat16 numbers here; empty where the processor has none, and products in float32 do
// the same more slowly.
const char* short_products();

// y = x w^T (transposed: x[rows, in], y[rows, out]) or x w (x[rows, out], y[rows, in]), in an order that is always the
// same. Where w is not float32, x is rounded to bfloat16.
void frozen_product(const Frozen& w, bool transposed, int64_t rows, const float* x, float* y);

// What is added to each result of a product: left[rows, rank] right[rank, columns].
struct LowRank {
  const float *left, *right;
  int64_t rank;
};

// frozen_product() plus the low-rank product, which is in float32.
void frozen_product(const Frozen& w, bool transposed, int64_t rows, const float* x, float* y, const LowRank& added);

struct AdamWOptions {
  double beta1, beta2, eps, decay;
  bool correct;  // the moments' start at zero
  bool operator==(const AdamWOptions&) const = default;
};

// One update (Loshchilov & Hutter, 2019) of n values; outputs may be the inputs' memory.
void adamw(
    AdamWOptions o, float rate, float step, int64_t n, const float* p, const float* g, const float* m, const float* v,
    float* p_out, float* m_out, float* v_out);

}  // namespace kernels
