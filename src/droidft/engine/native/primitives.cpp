// MLX's view of the kernels: graph nodes with shapes, gradients and evaluation, and their Python names.
//
// Layout: attention and rope read any strides and lay their results out as [batch, length, heads, dim] in memory, so
// that the transposes around them in a model cost nothing. The other nodes ask for contiguous inputs.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <dlfcn.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "kernels.h"
#include "mlx/allocator.h"
#include "mlx/array.h"
#include "mlx/backend/common/utils.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/ops.h"
#include "mlx/primitives.h"
#include "pool.h"

namespace nb = nanobind;
namespace mx = mlx::core;

using Arrays = std::vector<mx::array>;
using Positions = std::vector<int>;

namespace {

// Every node: CPU only, one gradient level.
class Node : public mx::Primitive {
 public:
  Node() : mx::Primitive(mx::to_stream({})) {}
  // For graphs compiled without fixed shapes; most results have the shape of the first input.
  std::vector<mx::Shape> output_shapes(const Arrays& in) override { return {in[0].shape()}; }
  void eval_gpu(const Arrays&, Arrays&) override { throw std::runtime_error("droidft's kernels run on the CPU"); }

 protected:
  template <class F>
  void run(F f) {
    mx::cpu::get_command_encoder(stream()).dispatch(std::move(f));
  }
};

Arrays make(std::vector<mx::Shape> shapes, std::shared_ptr<mx::Primitive> node, Arrays inputs) {
  std::vector<mx::Dtype> types(shapes.size(), mx::float32);
  return mx::array::make_arrays(std::move(shapes), types, std::move(node), std::move(inputs));
}

void allocate(mx::array& a) { a.set_data(mx::allocator::malloc(a.nbytes())); }

// Memory for `out`: that of the contiguous `in` if nobody else needs it.
void allocate_or_take(mx::array& out, const mx::array& in) {
  if (mx::is_donatable(in, out))
    out.copy_shared_buffer(in);
  else
    allocate(out);
}

// Memory for a logical [batch, heads, length, dim] that lies as [batch, length, heads, dim].
void allocate_heads(mx::array& a) {
  const int64_t h = a.shape(1), l = a.shape(2), d = a.shape(3);
  auto flags = a.flags();
  flags.contiguous = true;
  flags.row_contiguous = h == 1 || l == 1;
  flags.col_contiguous = a.size() == 1;
  a.set_data(mx::allocator::malloc(a.nbytes()), a.size(), mx::Strides{h * l * d, d, h * d, 1}, flags);
}

kernels::Heads heads(const mx::array& a) {
  auto& s = a.strides();
  return {const_cast<float*>(a.data<float>()), s[0], s[1], s[2], s[3]};
}

mx::array packed(const mx::array& a) { return mx::contiguous(a); }

bool wants(const Positions& argnums, int i) { return std::find(argnums.begin(), argnums.end(), i) != argnums.end(); }

// In argnums' order, the gradients at their positions.
Arrays pick(const Positions& argnums, const Arrays& grads) {
  Arrays out;
  for (int i : argnums) {
    if (i >= int(grads.size())) throw std::invalid_argument("droidft: no gradient to this input");
    out.push_back(grads[i]);
  }
  return out;
}

// ---- attention

struct AttentionOptions {
  float scale;
  bool causal, masked;
  bool operator==(const AttentionOptions&) const = default;

  kernels::AttentionShape shape(const Arrays& in) const {
    const mx::array &q = in[0], &k = in[1], &v = in[2];
    kernels::AttentionShape s{q.shape(0), q.shape(1), k.shape(1), q.shape(2), k.shape(2), q.shape(3), v.shape(3),
                              scale, causal, nullptr, 0, 0, 0, 0};
    if (masked) {
      const auto& t = in[3].strides();
      s.mask = in[3].data<bool>();
      s.mask_batch = t[0], s.mask_head = t[1], s.mask_row = t[2], s.mask_col = t[3];
    }
    return s;
  }
};

class AttentionGrad : public Node {  // q, k, v, [mask], out, lse, dout -> dq, dk, dv
 public:
  explicit AttentionGrad(AttentionOptions o) : options_(o) {}
  const char* name() const override { return "DroidAttentionGrad"; }
  std::vector<mx::Shape> output_shapes(const Arrays& in) override {
    return {in[0].shape(), in[1].shape(), in[2].shape()};
  }
  bool is_equivalent(const mx::Primitive& o) const override {
    return options_ == static_cast<const AttentionGrad&>(o).options_;
  }
  void eval_cpu(const Arrays& in, Arrays& out) override {
    for (auto& o : out) allocate_heads(o);
    const size_t n = options_.masked ? 4 : 3;
    run([s = options_.shape(in), q = heads(in[0]), k = heads(in[1]), v = heads(in[2]), o = heads(in[n]),
         lse = in[n + 1].data<float>(), dout = heads(in[n + 2]), dq = heads(out[0]), dk = heads(out[1]),
         dv = heads(out[2])] { kernels::attention_grad(s, q, k, v, o, lse, dout, dq, dk, dv); });
  }

 private:
  AttentionOptions options_;
};

class Attention : public Node {  // q, k, v, [mask] -> out, lse
 public:
  explicit Attention(AttentionOptions o) : options_(o) {}
  const char* name() const override { return "DroidAttention"; }
  std::vector<mx::Shape> output_shapes(const Arrays& in) override { return shapes(in[0], in[2]); }
  static std::vector<mx::Shape> shapes(const mx::array& q, const mx::array& v) {
    return {{q.shape(0), q.shape(1), q.shape(2), v.shape(3)}, {q.shape(0), q.shape(1), q.shape(2)}};
  }
  bool is_equivalent(const mx::Primitive& o) const override {
    return options_ == static_cast<const Attention&>(o).options_;
  }
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate_heads(out[0]);
    allocate(out[1]);
    run([s = options_.shape(in), q = heads(in[0]), k = heads(in[1]), v = heads(in[2]), o = heads(out[0]),
         lse = out[1].data<float>()] { kernels::attention(s, q, k, v, o, lse); });
  }
  Arrays vjp(const Arrays& in, const Arrays& ct, const Positions& argnums, const Arrays& out) override {
    Arrays inputs = in;
    inputs.insert(inputs.end(), {out[0], out[1], ct[0]});
    return pick(argnums, make({in[0].shape(), in[1].shape(), in[2].shape()},
                              std::make_shared<AttentionGrad>(options_), inputs));
  }

 private:
  AttentionOptions options_;
};

mx::array attention(const mx::array& q, const mx::array& k, const mx::array& v, float scale, bool causal,
                    const std::optional<mx::array>& mask) {
  Arrays inputs{q, k, v};
  if (mask) inputs.push_back(mx::broadcast_to(*mask, {q.shape(0), q.shape(1), q.shape(2), k.shape(2)}));
  auto node = std::make_shared<Attention>(AttentionOptions{scale, causal, mask.has_value()});
  return make(Attention::shapes(q, v), node, inputs)[0];
}

// ---- gated activations

class GatedGrad : public Node {  // gate, [x], dout -> dgate, [dx]
 public:
  explicit GatedGrad(kernels::Gate act) : act_(act) {}
  const char* name() const override { return "DroidGatedGrad"; }
  std::vector<mx::Shape> output_shapes(const Arrays& in) override {
    return std::vector<mx::Shape>(in.size() - 1, in[0].shape());
  }
  bool is_equivalent(const mx::Primitive& o) const override { return act_ == static_cast<const GatedGrad&>(o).act_; }
  void eval_cpu(const Arrays& in, Arrays& out) override {
    const bool two = in.size() == 3;
    allocate_or_take(out[0], in[0]);
    if (two) allocate_or_take(out[1], in[1]);
    run([act = act_, n = in[0].size(), gate = in[0].data<float>(), x = two ? in[1].data<float>() : nullptr,
         dout = in.back().data<float>(), dgate = out[0].data<float>(),
         dx = two ? out[1].data<float>() : nullptr] { kernels::gated_grad(act, n, gate, x, dout, dgate, dx); });
  }

 private:
  kernels::Gate act_;
};

class Gated : public Node {  // gate, [x] -> act(gate) [* x]
 public:
  explicit Gated(kernels::Gate act) : act_(act) {}
  const char* name() const override { return "DroidGated"; }
  bool is_equivalent(const mx::Primitive& o) const override { return act_ == static_cast<const Gated&>(o).act_; }
  void eval_cpu(const Arrays& in, Arrays& out) override {
    const bool two = in.size() == 2;
    allocate_or_take(out[0], in[0]);
    run([act = act_, n = in[0].size(), gate = in[0].data<float>(), x = two ? in[1].data<float>() : nullptr,
         y = out[0].data<float>()] { kernels::gated(act, n, gate, x, y); });
  }
  Arrays vjp(const Arrays& in, const Arrays& ct, const Positions& argnums, const Arrays&) override {
    Arrays inputs = in;
    inputs.push_back(packed(ct[0]));
    return pick(argnums, make(std::vector<mx::Shape>(in.size(), in[0].shape()), std::make_shared<GatedGrad>(act_),
                              inputs));
  }

 private:
  kernels::Gate act_;
};

mx::array gated(bool gelu, const mx::array& gate, const std::optional<mx::array>& x) {
  Arrays inputs{packed(gate)};
  if (x) inputs.push_back(packed(*x));
  auto act = gelu ? kernels::Gate::kGeluTanh : kernels::Gate::kSilu;
  return make({gate.shape()}, std::make_shared<Gated>(act), inputs)[0];
}

// ---- normalisation

class RmsNormGrad : public Node {  // x, [weight], dout -> dx, [dweight]
 public:
  RmsNormGrad(float eps, bool weighted, bool wants_weight)
      : eps_(eps), weighted_(weighted), wants_weight_(wants_weight) {}
  const char* name() const override { return "DroidRmsNormGrad"; }
  std::vector<mx::Shape> output_shapes(const Arrays& in) override {
    return wants_weight_ ? std::vector<mx::Shape>{in[0].shape(), in[1].shape()}
                         : std::vector<mx::Shape>{in[0].shape()};
  }
  bool is_equivalent(const mx::Primitive& o) const override {
    auto& other = static_cast<const RmsNormGrad&>(o);
    return eps_ == other.eps_ && weighted_ == other.weighted_ && wants_weight_ == other.wants_weight_;
  }
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate_or_take(out[0], in.back());
    if (out.size() == 2) allocate(out[1]);
    const int64_t dim = in[0].shape(-1);
    run([eps = eps_, rows = in[0].size() / dim, dim, x = in[0].data<float>(),
         w = weighted_ ? in[1].data<float>() : nullptr, dout = in.back().data<float>(), dx = out[0].data<float>(),
         dw = out.size() == 2 ? out[1].data<float>() : nullptr] {
      kernels::rms_norm_grad(rows, dim, eps, x, w, dout, dx, dw);
    });
  }

 private:
  float eps_;
  bool weighted_, wants_weight_;
};

class RmsNorm : public Node {  // x, [weight] -> out
 public:
  explicit RmsNorm(float eps) : eps_(eps) {}
  const char* name() const override { return "DroidRmsNorm"; }
  bool is_equivalent(const mx::Primitive& o) const override { return eps_ == static_cast<const RmsNorm&>(o).eps_; }
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate(out[0]);
    const int64_t dim = in[0].shape(-1);
    run([eps = eps_, rows = in[0].size() / dim, dim, x = in[0].data<float>(),
         w = in.size() == 2 ? in[1].data<float>() : nullptr,
         y = out[0].data<float>()] { kernels::rms_norm(rows, dim, eps, x, w, y); });
  }
  Arrays vjp(const Arrays& in, const Arrays& ct, const Positions& argnums, const Arrays&) override {
    Arrays inputs = in;
    inputs.push_back(packed(ct[0]));
    auto node = std::make_shared<RmsNormGrad>(eps_, in.size() == 2, wants(argnums, 1));
    auto shapes = node->output_shapes(in);
    return pick(argnums, make(shapes, node, inputs));
  }

 private:
  float eps_;
};

mx::array rms_norm(const mx::array& x, const std::optional<mx::array>& weight, float eps) {
  Arrays inputs{packed(x)};
  if (weight) inputs.push_back(packed(*weight));
  return make({x.shape()}, std::make_shared<RmsNorm>(eps), inputs)[0];
}

// ---- rotary positions

class Rope : public Node {  // x, cos, sin -> out
 public:
  Rope(bool traditional, bool inverse) : traditional_(traditional), inverse_(inverse) {}
  const char* name() const override { return "DroidRope"; }
  bool is_equivalent(const mx::Primitive& o) const override {
    auto& other = static_cast<const Rope&>(o);
    return traditional_ == other.traditional_ && inverse_ == other.inverse_;
  }
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate_heads(out[0]);
    const auto& x = in[0];
    kernels::RopeShape s{x.shape(0), x.shape(1), x.shape(2), x.shape(3), in[1].shape(1), traditional_, inverse_};
    run([s, c = in[1].data<float>(), n = in[2].data<float>(), src = heads(x), dst = heads(out[0])] {
      kernels::rope(s, c, n, src, dst);
    });
  }
  Arrays vjp(const Arrays& in, const Arrays& ct, const Positions& argnums, const Arrays&) override {
    return pick(argnums, make({in[0].shape()}, std::make_shared<Rope>(traditional_, !inverse_),
                              {ct[0], in[1], in[2]}));
  }

 private:
  bool traditional_, inverse_;
};

mx::array rope(const mx::array& x, const mx::array& cos, const mx::array& sin, bool traditional) {
  return make({x.shape()}, std::make_shared<Rope>(traditional, false), {x, packed(cos), packed(sin)})[0];
}

// ---- loss

class ScaleRows : public Node {  // in[rows, n], factor[rows] -> out
 public:
  const char* name() const override { return "DroidScaleRows"; }
  bool is_equivalent(const mx::Primitive&) const override { return true; }
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate_or_take(out[0], in[0]);
    run([rows = in[0].shape(0), n = in[0].shape(1), x = in[0].data<float>(), f = in[1].data<float>(),
         y = out[0].data<float>()] { kernels::scale_rows(rows, n, f, x, y); });
  }
};

class CrossEntropy : public Node {  // logits, targets -> loss, softmax - onehot
 public:
  const char* name() const override { return "DroidCrossEntropy"; }
  std::vector<mx::Shape> output_shapes(const Arrays& in) override { return {{in[0].shape(0)}, in[0].shape()}; }
  bool is_equivalent(const mx::Primitive&) const override { return true; }
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate(out[0]);
    allocate_or_take(out[1], in[0]);
    run([rows = in[0].shape(0), classes = in[0].shape(1), x = in[0].data<float>(), t = in[1].data<int32_t>(),
         loss = out[0].data<float>(), grad = out[1].data<float>()] {
      kernels::cross_entropy(rows, classes, x, t, loss, grad);
    });
  }
  Arrays vjp(const Arrays&, const Arrays& ct, const Positions& argnums, const Arrays& out) override {
    return pick(argnums, make({out[1].shape()}, std::make_shared<ScaleRows>(), {out[1], packed(ct[0])}));
  }
};

std::pair<mx::array, mx::array> cross_entropy(const mx::array& logits, const mx::array& targets) {
  auto out = make({{logits.shape(0)}, logits.shape()}, std::make_shared<CrossEntropy>(),
                  {packed(logits), packed(mx::astype(targets, mx::int32))});
  return {out[0], out[1]};
}

// ---- low-rank update

kernels::LoraShape lora_shape(const Arrays& in, float scale) {
  const int64_t dim = in[0].shape(-1);
  return {int64_t(in[0].size()) / dim, dim, in[1].shape(0), in[2].shape(1), scale};
}

// `a` for use in the backward pass: computed again from its inputs once `after` is there, instead of being kept since
// the forward pass, where that is cheap: for the widest activation of a block, act(gate) * x.
mx::array again(const mx::array& a, const mx::array& after) {
  if (!a.has_primitive() || a.inputs().empty()) return a;
  if (std::string_view(a.primitive().name()) == "Contiguous") return again(a.inputs()[0], after);
  if (!dynamic_cast<Gated*>(&a.primitive())) return a;
  return make({a.shape()}, a.primitive_ptr(), mx::depends(a.inputs(), {after}))[0];
}

class LoraGrad : public Node {  // x, w, a, b, z, dy -> those of dx, da, db that are wanted
 public:
  LoraGrad(float scale, bool dx, bool da, bool db) : scale_(scale), dx_(dx), da_(da), db_(db) {}
  const char* name() const override { return "DroidLoraGrad"; }
  std::vector<mx::Shape> output_shapes(const Arrays& in) override {
    std::vector<mx::Shape> shapes;
    if (dx_) shapes.push_back(in[0].shape());
    if (da_) shapes.push_back(in[2].shape());
    if (db_) shapes.push_back(in[3].shape());
    return shapes;
  }
  bool is_equivalent(const mx::Primitive& o) const override {
    auto& other = static_cast<const LoraGrad&>(o);
    return scale_ == other.scale_ && dx_ == other.dx_ && da_ == other.da_ && db_ == other.db_;
  }
  void eval_cpu(const Arrays& in, Arrays& out) override {
    for (auto& o : out) allocate(o);
    auto next = out.begin();
    float* dx = dx_ ? (next++)->data<float>() : nullptr;
    float* da = da_ ? (next++)->data<float>() : nullptr;
    float* db = db_ ? (next++)->data<float>() : nullptr;
    run([s = lora_shape(in, scale_), x = in[0].data<float>(), w = in[1].data<float>(), a = in[2].data<float>(),
         b = in[3].data<float>(), z = in[4].data<float>(), dy = in[5].data<float>(), dx, da, db] {
      kernels::lora_grad(s, x, w, a, b, z, dy, dx, da, db);
    });
  }

 private:
  float scale_;
  bool dx_, da_, db_;
};

class Lora : public Node {  // x, w, a, b -> y, z
 public:
  explicit Lora(float scale) : scale_(scale) {}
  const char* name() const override { return "DroidLora"; }
  std::vector<mx::Shape> output_shapes(const Arrays& in) override {
    mx::Shape y = in[0].shape(), z = in[0].shape();
    y.back() = in[1].shape(0);
    z.back() = in[2].shape(1);
    return {y, z};
  }
  bool is_equivalent(const mx::Primitive& o) const override { return scale_ == static_cast<const Lora&>(o).scale_; }
  void eval_cpu(const Arrays& in, Arrays& out) override {
    for (auto& o : out) allocate(o);
    run([s = lora_shape(in, scale_), x = in[0].data<float>(), w = in[1].data<float>(), a = in[2].data<float>(),
         b = in[3].data<float>(), y = out[0].data<float>(), z = out[1].data<float>()] {
      kernels::lora(s, x, w, a, b, y, z);
    });
  }
  Arrays vjp(const Arrays& in, const Arrays& ct, const Positions& argnums, const Arrays& out) override {
    const bool wanted[] = {wants(argnums, 0), wants(argnums, 2), wants(argnums, 3)};
    const int at[] = {0, 2, 3};
    Arrays grads(in.size(), in[0]);
    if (wanted[0] || wanted[1] || wanted[2]) {
      auto node = std::make_shared<LoraGrad>(scale_, wanted[0], wanted[1], wanted[2]);
      auto dy = packed(ct[0]);
      auto made = make(node->output_shapes(in), node, {again(in[0], dy), in[1], in[2], in[3], out[1], dy});
      for (int i = 0, next = 0; i < 3; i++)
        if (wanted[i]) grads[at[i]] = made[next++];
    }
    if (wants(argnums, 1)) {  // the frozen weight is trained too
      auto rows = [](const mx::array& m) { return mx::reshape(m, {-1, m.shape(-1)}); };
      grads[1] = mx::matmul(mx::transpose(rows(ct[0])), rows(in[0]));
    }
    return pick(argnums, grads);
  }

 private:
  float scale_;
};

mx::array lora(const mx::array& x, const mx::array& w, const mx::array& a, const mx::array& b, float scale) {
  auto node = std::make_shared<Lora>(scale);
  Arrays inputs{packed(x), packed(w), packed(a), packed(b)};
  return make(node->output_shapes(inputs), node, inputs)[0];
}

// ---- optimizer

class AdamW : public Node {  // parameter, gradient, m, v, rate, step -> parameter, m, v
 public:
  explicit AdamW(kernels::AdamWOptions o) : options_(o) {}
  const char* name() const override { return "DroidAdamW"; }
  bool is_equivalent(const mx::Primitive& o) const override { return options_ == static_cast<const AdamW&>(o).options_; }
  std::vector<mx::Shape> output_shapes(const Arrays& in) override {
    return {in[0].shape(), in[2].shape(), in[3].shape()};
  }
  void eval_cpu(const Arrays& in, Arrays& out) override {
    const int source[] = {0, 2, 3};
    for (int i = 0; i < 3; i++) allocate_or_take(out[i], in[source[i]]);
    // Rate and step are read when it runs: they may still be on their way now.
    run([o = options_, n = in[0].size(), p = in[0].data<float>(), g = in[1].data<float>(), m = in[2].data<float>(),
         v = in[3].data<float>(), rate = in[4].data<float>(), step = in[5].data<float>(), p2 = out[0].data<float>(),
         m2 = out[1].data<float>(),
         v2 = out[2].data<float>()] { kernels::adamw(o, *rate, *step, n, p, g, m, v, p2, m2, v2); });
  }

 private:
  kernels::AdamWOptions options_;
};

std::tuple<mx::array, mx::array, mx::array> adamw(const mx::array& parameter, const mx::array& gradient,
                                                  const mx::array& m, const mx::array& v, const mx::array& rate,
                                                  const mx::array& step, double beta1, double beta2, double eps,
                                                  double decay, bool correct) {
  auto node = std::make_shared<AdamW>(kernels::AdamWOptions{beta1, beta2, eps, decay, correct});
  auto out = make({parameter.shape(), m.shape(), v.shape()}, node,
                  {packed(parameter), packed(gradient), packed(m), packed(v), mx::astype(rate, mx::float32),
                   mx::astype(step, mx::float32)});
  return {out[0], out[1], out[2]};
}

// ---- threads and BLAS

// Sets the number of threads (0: as many as processors) and takes products from the BLAS loaded from `path` (empty:
// whichever the process has). Returns the address of a cblas_sgemm that spreads the work over our threads; 0 if that
// library cannot be told to keep to one thread.
uintptr_t connect(int threads, const std::string& path) {
  pool::use(threads);
  void* library = path.empty() ? RTLD_DEFAULT : dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (!path.empty() && !library) return 0;
  for (const std::string prefix : {"", "scipy_"}) {
    auto find = [&](const char* name) { return dlsym(library, (prefix + name).c_str()); };
    auto entry = reinterpret_cast<kernels::Sgemm>(find("cblas_sgemm"));
    if (!entry) continue;
    auto set_threads = reinterpret_cast<void (*)(int)>(find("openblas_set_num_threads"));
    kernels::use_sgemm(entry, set_threads);
    if (set_threads) return set_threads(1), reinterpret_cast<uintptr_t>(&kernels::sgemm);
  }
  return 0;
}

}  // namespace

NB_MODULE(droidft_native, m) {
  nb::module_::import_("mlx.core");  // registers mlx's array type
  m.def("attention", &attention, nb::arg("q"), nb::arg("k"), nb::arg("v"), nb::arg("scale"), nb::arg("causal"),
        nb::arg("mask").none());
  m.def("gated", &gated, nb::arg("gelu"), nb::arg("gate"), nb::arg("x").none());
  m.def("rms_norm", &rms_norm, nb::arg("x"), nb::arg("weight").none(), nb::arg("eps"));
  m.def("rope", &rope, nb::arg("x"), nb::arg("cos"), nb::arg("sin"), nb::arg("traditional"));
  m.def("cross_entropy", &cross_entropy, nb::arg("logits"), nb::arg("targets"));
  m.def("lora", &lora, nb::arg("x"), nb::arg("w"), nb::arg("a"), nb::arg("b"), nb::arg("scale"));
  m.def("adamw", &adamw, nb::arg("parameter"), nb::arg("gradient"), nb::arg("m"), nb::arg("v"), nb::arg("rate"),
        nb::arg("step"), nb::arg("beta1"), nb::arg("beta2"), nb::arg("eps"), nb::arg("decay"), nb::arg("correct"));
  m.def("threads", &pool::threads);
  m.def("connect", &connect, nb::arg("threads"), nb::arg("blas"));
}
