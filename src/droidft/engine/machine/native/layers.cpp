// Graph nodes of a model's forward pass, with their gradients.
//
// Attention and rope read any strides and lay their results out as [batch, length, heads, dim] in memory, so that the
// transposes around them in a model cost nothing.
#include "node.h"
#include "nodes.h"

namespace {

// Memory for a logical [batch, heads, length, dim] that lies as [batch, length, heads, dim].
void allocate_heads(mx::array& a) {
  const int64_t h = a.shape(1), l = a.shape(2), d = a.shape(3);
  auto flags = a.flags();
  flags.contiguous = true;
  flags.row_contiguous = h == 1 || l == 1;
  flags.col_contiguous = a.size() <= 1;
  a.set_data(mx::allocator::malloc(a.nbytes()), a.size(), mx::Strides{h * l * d, d, h * d, 1}, flags);
}

kernels::Heads heads(const mx::array& a) {
  auto& s = a.strides();
  return {const_cast<float*>(a.data<float>()), s[0], s[1], s[2], s[3]};
}

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
  bool is_equivalent(const mx::Primitive& o) const override {
    return options_ == static_cast<const AttentionGrad&>(o).options_;
  }
  Shapes output_shapes(const Arrays& in) override { return {in[0].shape(), in[1].shape(), in[2].shape()}; }
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
  bool is_equivalent(const mx::Primitive& o) const override {
    return options_ == static_cast<const Attention&>(o).options_;
  }
  Shapes output_shapes(const Arrays& in) override {
    const mx::array& q = in[0];
    return {{q.shape(0), q.shape(1), q.shape(2), in[2].shape(3)}, {q.shape(0), q.shape(1), q.shape(2)}};
  }
  void eval_cpu(const Arrays& in, Arrays& out) override {
    allocate_heads(out[0]);
    allocate(out[1]);
    run([s = options_.shape(in), q = heads(in[0]), k = heads(in[1]), v = heads(in[2]), o = heads(out[0]),
         lse = out[1].data<float>()] {
      if (!kernels::attention_few(s, q, k, v, o, lse)) kernels::attention(s, q, k, v, o, lse);
    });
  }
  Arrays vjp(const Arrays& in, const Arrays& ct, const Positions& argnums, const Arrays& out) override {
    Arrays inputs = in;
    inputs.insert(inputs.end(), {out[0], out[1], ct[0]});
    return pick(argnums, make(std::make_shared<AttentionGrad>(options_), inputs));
  }

 private:
  AttentionOptions options_;
};

class GatedGrad : public Node {  // gate, [x], dout -> dgate, [dx]
 public:
  explicit GatedGrad(kernels::Gate act) : act_(act) {}
  const char* name() const override { return "DroidGatedGrad"; }
  bool is_equivalent(const mx::Primitive& o) const override { return act_ == static_cast<const GatedGrad&>(o).act_; }
  Shapes output_shapes(const Arrays& in) override { return Shapes(in.size() - 1, in[0].shape()); }
  void eval_cpu(const Arrays& all, Arrays& out) override {
    Arrays in = dense(all);
    const bool two = all.size() == 3;
    for (size_t i = 0; i < out.size(); i++) allocate(out[i]);
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
  void eval_cpu(const Arrays& all, Arrays& out) override {
    allocate_or_take(out[0], all[0]);
    Arrays in = dense(all);
    run([act = act_, n = in[0].size(), gate = in[0].data<float>(),
         x = in.size() == 2 ? in[1].data<float>() : nullptr,
         y = out[0].data<float>()] { kernels::gated(act, n, gate, x, y); });
  }
  Arrays vjp(const Arrays& in, const Arrays& ct, const Positions& argnums, const Arrays&) override {
    Arrays inputs = in;
    inputs.push_back(ct[0]);
    return pick(argnums, make(std::make_shared<GatedGrad>(act_), inputs));
  }

 private:
  kernels::Gate act_;
};

class RmsNormGrad : public Node {  // x, [weight], dout -> dx, [dweight]
 public:
  RmsNormGrad(float eps, bool weighted, bool wants_weight)
      : eps_(eps), weighted_(weighted), wants_weight_(wants_weight) {}
  const char* name() const override { return "DroidRmsNormGrad"; }
  bool is_equivalent(const mx::Primitive& o) const override {
    auto& other = static_cast<const RmsNormGrad&>(o);
    return eps_ == other.eps_ && weighted_ == other.weighted_ && wants_weight_ == other.wants_weight_;
  }
  Shapes output_shapes(const Arrays& in) override {
    return wants_weight_ ? Shapes{in[0].shape(), in[1].shape()} : Shapes{in[0].shape()};
  }
  void eval_cpu(const Arrays& all, Arrays& out) override {
    allocate_or_take(out[0], all.back());
    if (wants_weight_) allocate(out[1]);
    Arrays in = dense(all);
    const int64_t dim = in[0].shape(-1);
    run([eps = eps_, rows = in[0].size() / dim, dim, x = in[0].data<float>(),
         w = weighted_ ? in[1].data<float>() : nullptr, dout = in.back().data<float>(), dx = out[0].data<float>(),
         dw = wants_weight_ ? out[1].data<float>() : nullptr] {
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
  void eval_cpu(const Arrays& all, Arrays& out) override {
    allocate(out[0]);
    Arrays in = dense(all);
    const int64_t dim = in[0].shape(-1);
    run([eps = eps_, rows = in[0].size() / dim, dim, x = in[0].data<float>(),
         w = in.size() == 2 ? in[1].data<float>() : nullptr,
         y = out[0].data<float>()] { kernels::rms_norm(rows, dim, eps, x, w, y); });
  }
  Arrays vjp(const Arrays& in, const Arrays& ct, const Positions& argnums, const Arrays&) override {
    Arrays inputs = in;
    inputs.push_back(ct[0]);
    return pick(argnums, make(std::make_shared<RmsNormGrad>(eps_, in.size() == 2, wants(argnums, 1)), inputs));
  }

 private:
  float eps_;
};

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
    const mx::array cos = dense(in[1]), sin = dense(in[2]);
    kernels::RopeShape s{x.shape(0), x.shape(1), x.shape(2), x.shape(3), cos.shape(1), traditional_, inverse_};
    run([s, c = cos.data<float>(), n = sin.data<float>(), src = heads(x), dst = heads(out[0])] {
      kernels::rope(s, c, n, src, dst);
    });
  }
  Arrays vjp(const Arrays& in, const Arrays& ct, const Positions& argnums, const Arrays&) override {
    return pick(argnums, make(std::make_shared<Rope>(traditional_, !inverse_), {ct[0], in[1], in[2]}));
  }

 private:
  bool traditional_, inverse_;
};

}  // namespace

namespace nodes {

array attention(const array& q, const array& k, const array& v, float scale, bool causal,
                const std::optional<array>& mask) {
  Arrays inputs{q, k, v};
  if (mask) inputs.push_back(mx::broadcast_to(*mask, {q.shape(0), q.shape(1), q.shape(2), k.shape(2)}));
  return make(std::make_shared<Attention>(AttentionOptions{scale, causal, mask.has_value()}), inputs)[0];
}

array gated(bool gelu, const array& gate, const std::optional<array>& x) {
  Arrays inputs{gate};
  if (x) inputs.push_back(*x);
  return make(std::make_shared<Gated>(gelu ? kernels::Gate::kGeluTanh : kernels::Gate::kSilu), inputs)[0];
}

array rms_norm(const array& x, const std::optional<array>& weight, float eps) {
  Arrays inputs{x};
  if (weight) inputs.push_back(*weight);
  return make(std::make_shared<RmsNorm>(eps), inputs)[0];
}

array rope(const array& x, const array& cos, const array& sin, bool traditional) {
  return make(std::make_shared<Rope>(traditional, false), {x, cos, sin})[0];
}

array again(const array& a, const array& after) {
  if (!a.has_primitive() || !dynamic_cast<Gated*>(&a.primitive())) return a;
  return make(std::static_pointer_cast<Node>(a.primitive_ptr()), mx::depends(a.inputs(), {after}))[0];
}

}  // namespace nodes
