// Kernels that go over memory once, element by element or row by row.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels.h"
#include "pool.h"
#include "scratch.h"
#include "simd.h"

namespace kernels {

void gather(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides, const float* in, float* out) {
  int64_t rows = 1;
  const size_t last = shape.size() - 1;
  for (size_t i = 0; i < last; i++) rows *= shape[i];
  const int64_t cols = shape[last], step = strides[last];
  pool::ranges(rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, cols)), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      const float* src = in;
      for (int64_t i = int64_t(last) - 1, rest = r; i >= 0; rest /= shape[i], i--) src += rest % shape[i] * strides[i];
      if (step == 1)
        std::copy_n(src, cols, out + r * cols);
      else
        for (int64_t j = 0; j < cols; j++) out[r * cols + j] = src[j * step];
    }
  });
}

namespace {

constexpr int64_t kGrain = 16384;  // elements per task

struct Activation {
  vf value, slope;
};

inline Activation silu(vf x) {
  vf s = sigmoid(x);
  return {x * s, s + x * s * (1.0f - s)};
}

// Hendrycks & Gimpel (2016): x/2 (1 + tanh(u)) with u = sqrt(2/pi) (x + 0.044715 x^3); (1 + tanh(u)) / 2 = sigmoid(2u).
inline Activation gelu_tanh(vf x) {
  constexpr float c = 1.5957691216057308f;  // 2 sqrt(2/pi)
  vf s = sigmoid(c * (x + 0.044715f * x * x * x));
  return {x * s, s + x * s * (1.0f - s) * (c * (1.0f + 0.134145f * x * x))};
}

template <class F>
void gated_with(F act, int64_t n, const float* gate, const float* x, float* out) {
  pool::ranges(n, kGrain, [=](int64_t begin, int64_t end) {
    lanes(end - begin, [=](int64_t j, int w) {
      vf y = act(load_n(gate + begin + j, w)).value;
      store_n(out + begin + j, x ? y * load_n(x + begin + j, w) : y, w);
    });
  });
}

template <class F>
void gated_grad_with(F act, int64_t n, const float* gate, const float* x, const float* dout, float* dgate, float* dx) {
  pool::ranges(n, kGrain, [=](int64_t begin, int64_t end) {
    lanes(end - begin, [=](int64_t j, int w) {
      const int64_t at = begin + j;
      Activation a = act(load_n(gate + at, w));
      vf g = load_n(dout + at, w);
      if (x) {
        vf slope = g * load_n(x + at, w) * a.slope;
        store_n(dx + at, g * a.value, w);
        store_n(dgate + at, slope, w);
      } else {
        store_n(dgate + at, g * a.slope, w);
      }
    });
  });
}

int64_t rows_per_task(int64_t dim) { return std::max<int64_t>(1, kGrain / dim); }

}  // namespace

void gated(Gate act, int64_t n, const float* gate, const float* x, float* out) {
  act == Gate::kSilu ? gated_with([](vf v) { return silu(v); }, n, gate, x, out)
                     : gated_with([](vf v) { return gelu_tanh(v); }, n, gate, x, out);
}

void gated_grad(Gate act, int64_t n, const float* gate, const float* x, const float* dout, float* dgate, float* dx) {
  act == Gate::kSilu ? gated_grad_with([](vf v) { return silu(v); }, n, gate, x, dout, dgate, dx)
                     : gated_grad_with([](vf v) { return gelu_tanh(v); }, n, gate, x, dout, dgate, dx);
}

namespace {

float inverse_rms(int64_t dim, float eps, const float* x) {
  vf acc{};
  lanes(dim, [&](int64_t j, int w) {
    vf v = load_n(x + j, w);
    acc += v * v;
  });
  return 1.0f / std::sqrt(sum(acc) / dim + eps);
}

}  // namespace

void rms_norm(int64_t rows, int64_t dim, float eps, const float* x, const float* weight, float* out) {
  pool::ranges(rows, rows_per_task(dim), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const float* xi = x + i * dim;
      float* oi = out + i * dim;
      const float r = inverse_rms(dim, eps, xi);
      lanes(dim, [=](int64_t j, int w) {
        vf y = load_n(xi + j, w) * r;
        store_n(oi + j, weight ? y * load_n(weight + j, w) : y, w);
      });
    }
  });
}

// With r = 1/rms and g = weight * dout: dx = r g - x r^3 mean(g x), dweight = sum over rows of dout x r.
void rms_norm_grad(int64_t rows, int64_t dim, float eps, const float* x, const float* weight, const float* dout,
                   float* dx, float* dweight) {
  const int64_t grain = rows_per_task(dim), tasks = (rows + grain - 1) / grain;
  Scratch scratch(dweight ? tasks * dim : 0);
  float* partial = dweight ? scratch.take(tasks * dim) : nullptr;
  pool::ranges(rows, grain, [=](int64_t begin, int64_t end) {
    float* dw = partial ? partial + begin / grain * dim : nullptr;
    if (dw) std::fill(dw, dw + dim, 0.0f);
    for (int64_t i = begin; i < end; i++) {
      const float *xi = x + i * dim, *gi = dout + i * dim;
      float* di = dx + i * dim;
      const float r = inverse_rms(dim, eps, xi);
      auto scaled = [=](int64_t j, int w) {
        vf g = load_n(gi + j, w);
        return weight ? g * load_n(weight + j, w) : g;
      };
      vf acc{};
      lanes(dim, [&](int64_t j, int w) { acc += scaled(j, w) * load_n(xi + j, w); });
      const float pull = sum(acc) / dim * r * r * r;
      lanes(dim, [=](int64_t j, int w) {
        vf xv = load_n(xi + j, w);
        if (dw) store_n(dw + j, load_n(dw + j, w) + load_n(gi + j, w) * xv * r, w);
        store_n(di + j, scaled(j, w) * r - xv * pull, w);  // last: dx may be dout's memory
      });
    }
  });
  if (!dweight) return;
  std::fill(dweight, dweight + dim, 0.0f);
  for (int64_t t = 0; t < tasks; t++)
    for (int64_t j = 0; j < dim; j++) dweight[j] += partial[t * dim + j];
}

void rope(const RopeShape& s, const float* cos, const float* sin, Heads x, Heads out) {
  const float sign = s.inverse ? -1.0f : 1.0f;
  pool::ranges(s.batch * s.length, std::max<int64_t>(1, kGrain / (s.heads * s.dim)), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t b = i / s.length, t = i % s.length;
      const float *c = cos + t * s.half, *n = sin + t * s.half;
      for (int64_t h = 0; h < s.heads; h++) {
        const float* src = x.at(b, h) + t * x.row;
        float* dst = out.at(b, h) + t * out.row;
        auto turn = [=](int64_t from, int64_t to, int64_t j) {
          const float p = src[from * x.col], q = src[to * x.col], sn = sign * n[j];
          dst[from] = p * c[j] - q * sn;
          dst[to] = p * sn + q * c[j];
        };
        if (s.traditional) {
          for (int64_t j = 0; j < s.half; j++) turn(2 * j, 2 * j + 1, j);
        } else if (x.col == 1) {
          lanes(s.half, [=](int64_t j, int w) {
            vf p = load_n(src + j, w), q = load_n(src + s.half + j, w);
            vf cs = load_n(c + j, w), sn = load_n(n + j, w) * sign;
            store_n(dst + j, p * cs - q * sn, w);
            store_n(dst + s.half + j, p * sn + q * cs, w);
          });
        } else {
          for (int64_t j = 0; j < s.half; j++) turn(j, s.half + j, j);
        }
        for (int64_t j = 2 * s.half; j < s.dim; j++) dst[j] = src[j * x.col];
      }
    }
  });
}

void cross_entropy(int64_t rows, int64_t classes, const float* logits, const int32_t* targets, float* loss,
                   float* grad) {
  pool::each(rows, [=](int64_t i) {
    const float* x = logits + i * classes;
    float* g = grad ? grad + i * classes : nullptr;
    const bool known = targets[i] >= 0 && targets[i] < classes;
    const float chosen = known ? x[targets[i]] : std::numeric_limits<float>::quiet_NaN();
    vf m = splat(-std::numeric_limits<float>::infinity());
    lanes(classes, [&](int64_t j, int w) {
      vf v = m;
      std::memcpy(&v, x + j, w * sizeof(float));
      m = v > m ? v : m;
    });
    float top = m[0];
    for (int k = 1; k < kWidth; k++) top = std::max(top, m[k]);
    vf acc{};
    lanes(classes, [&](int64_t j, int w) {
      vf e = exp(load_n(x + j, w) - top);
      if (g) store_n(g + j, e, w);
      for (int k = w; k < kWidth; k++) e[k] = 0.0f;
      acc += e;
    });
    const float total = sum(acc), factor = 1.0f / total;
    loss[i] = top + std::log(total) - chosen;
    if (!g) return;
    lanes(classes, [=](int64_t j, int w) { store_n(g + j, load_n(g + j, w) * factor, w); });
    if (known) g[targets[i]] -= 1.0f;
  });
}

void scale_rows(int64_t rows, int64_t classes, const float* factor, const float* in, float* out) {
  pool::each(rows, [=](int64_t i) {
    const float f = factor[i];
    if (f == 1.0f && in == out) return;
    const int64_t at = i * classes;
    lanes(classes, [=](int64_t j, int w) { store_n(out + at + j, load_n(in + at + j, w) * f, w); });
  });
}

void adamw(AdamWOptions o, float rate, float step, int64_t n, const float* p, const float* g, const float* m,
           const float* v, float* p_out, float* m_out, float* v_out) {
  const float c1 = o.correct ? rate / (1.0 - std::pow(o.beta1, step)) : rate;
  const float c2 = o.correct ? 1.0 / std::sqrt(1.0 - std::pow(o.beta2, step)) : 1.0;
  const float keep = 1.0 - rate * o.decay, eps = o.eps;
  const float b1 = o.beta1, b2 = o.beta2, a1 = 1.0 - o.beta1, a2 = 1.0 - o.beta2;
  pool::ranges(n, kGrain, [=](int64_t begin, int64_t end) {
    lanes(end - begin, [=](int64_t j, int w) {
      const int64_t at = begin + j;
      vf gv = load_n(g + at, w);
      vf mv = load_n(m + at, w) * b1 + gv * a1;
      vf vv = load_n(v + at, w) * b2 + gv * gv * a2;
      vf root;
      for (int k = 0; k < kWidth; k++) root[k] = std::sqrt(vv[k]);
      store_n(p_out + at, load_n(p + at, w) * keep - mv * c1 / (root * c2 + eps), w);
      store_n(m_out + at, mv, w);
      store_n(v_out + at, vv, w);
    });
  });
}

}  // namespace kernels
