// The kernels' arithmetic, on plain pointers. Nothing here knows MLX; primitives.cpp ties it to MLX's graph.
#pragma once

#include <cstdint>

namespace kernels {

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

// loss[i] = logsumexp(logits[i]) - logits[i, target[i]], grad = softmax(logits) - onehot(target). grad may be logits.
// A target outside 0 .. classes-1 gives NaN.
void cross_entropy(
    int64_t rows, int64_t classes, const float* logits, const int32_t* targets, float* loss, float* grad);

// out[i] = factor[i] in[i], row by row; `out` may be `in`, and rows with factor 1 are then not touched.
void scale_rows(int64_t rows, int64_t classes, const float* factor, const float* in, float* out);

using Sgemm = void (*)(
    int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float* a, int lda, const float* b,
    int ldb, float beta, float* c, int ldc);

// cblas_sgemm, on our threads.
void sgemm(
    int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float* a, int lda, const float* b,
    int ldb, float beta, float* c, int ldc);

// What sgemm() calls, and whether that stays on the calling thread; if not, the work is left to it whole. Without
// this call it is the library that the linker finds.
void use_sgemm(Sgemm entry, bool single_threaded);

// y = x w^T + scale (x a) b, keeping z = x a. x[rows, in], w[out, in], a[in, rank], b[rank, out].
struct LoraShape {
  int64_t rows, in, out, rank;
  float scale;
};
void lora(const LoraShape& s, const float* x, const float* w, const float* a, const float* b, float* y, float* z);

// Gradients of lora(); null pointers are skipped.
void lora_grad(
    const LoraShape& s, const float* x, const float* w, const float* a, const float* b, const float* z,
    const float* dy, float* dx, float* da, float* db);

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
