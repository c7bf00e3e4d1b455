// Graph nodes that only training has: low-rank layers, the loss, the update.
#include "node.h"
#include "nodes.h"

namespace {

kernels::LoraShape lora_shape(const Arrays& in, float scale) {
  const int64_t dim = in[0].shape(-1);
  return {int64_t(in[0].size()) / dim, dim, in[1].shape(0), in[2].shape(1), scale};
}

class LoraGrad : public Node {  // x, w, a, b, z, dy -> those of dx, da, db that are wanted
 public:
  LoraGrad(float scale, bool dx, bool da, bool db) : scale_(scale), dx_(dx), da_(da), db_(db) {}
  const char* name() const override { return "DroidLoraGrad"; }
  bool is_equivalent(const mx::Primitive& o) const override {
    auto& other = static_cast<const LoraGrad&>(o);
    return scale_ == other.scale_ && dx_ == other.dx_ && da_ == other.da_ && db_ == other.db_;
  }
  Shapes output_shapes(const Arrays& in) override {
    Shapes shapes;
    if (dx_) shapes.push_back(in[0].shape());
    if (da_) shapes.push_back(in[2].shape());
    if (db_) shapes.push_back(in[3].shape());
    return shapes;
  }
  void eval_cpu(const Arrays& all, Arrays& out) override {
    for (auto& o : out) allocate(o);
    Arrays in = dense(all);
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
  bool is_equivalent(const mx::Primitive& o) const override { return scale_ == static_cast<const Lora&>(o).scale_; }
  Shapes output_shapes(const Arrays& in) override {
    mx::Shape y = in[0].shape(), z = in[0].shape();
    y.back() = in[1].shape(0);
    z.back() = in[2].shape(1);
    return {y, z};
  }
  void eval_cpu(const Arrays& all, Arrays& out) override {
    for (auto& o : out) allocate(o);
    Arrays in = dense(all);
    run([s = lora_shape(in, scale_), x = in[0].data<float>(), w = in[1].data<float>(), a = in[2].data<float>(),
         b = in[3].data<float>(), y = out[0].data<float>(), z = out[1].data<float>()] {
      kernels::lora(s, x, w, a, b, y, z);
    });
  }
  Arrays vjp(const Arrays& in, const Arrays& ct, const Positions& argnums, const Arrays& out) override {
    const int at[] = {0, 2, 3};
    const bool wanted[] = {wants(argnums, 0), wants(argnums, 2), wants(argnums, 3)};
    Arrays grads(in.size(), in[0]);
    if (wanted[0] || wanted[1] || wanted[2]) {
      auto node = std::make_shared<LoraGrad>(scale_, wanted[0], wanted[1], wanted[2]);
      auto made = make(node, {nodes::again(in[0], ct[0]), in[1], in[2], in[3], out[1], ct[0]});
      for (int i = 0, next = 0; i < 3; i++)
        if (wanted[i]) grads[at[i]] = made[next++];
    }
    if (wants(argnums, 1)) {  // the base layer is trained too
      auto rows = [](const mx::array& m) { return mx::reshape(m, {-1, m.shape(-1)}); };
      grads[1] = mx::matmul(mx::transpose(rows(ct[0])), rows(in[0]));
    }
    return pick(argnums, grads);
  }

 private:
  float scale_;
};

class ScaleRows : public Node {  // in[rows, n], factor[rows] -> out
 public:
  const char* name() const override { return "DroidScaleRows"; }
  bool is_equivalent(const mx::Primitive&) const override { return true; }
  void eval_cpu(const Arrays& all, Arrays& out) override {
    allocate_or_take(out[0], all[0]);
    Arrays in = dense(all);
    run([rows = in[0].shape(0), n = in[0].shape(1), x = in[0].data<float>(), f = in[1].data<float>(),
         y = out[0].data<float>()] { kernels::scale_rows(rows, n, f, x, y); });
  }
};

class CrossEntropy : public Node {  // logits, targets -> loss, softmax - onehot
 public:
  const char* name() const override { return "DroidCrossEntropy"; }
  bool is_equivalent(const mx::Primitive&) const override { return true; }
  Shapes output_shapes(const Arrays& in) override { return {{in[0].shape(0)}, in[0].shape()}; }
  void eval_cpu(const Arrays& all, Arrays& out) override {
    allocate(out[0]);
    allocate_or_take(out[1], all[0]);
    Arrays in = dense(all);
    run([rows = in[0].shape(0), classes = in[0].shape(1), x = in[0].data<float>(), t = in[1].data<int32_t>(),
         loss = out[0].data<float>(), grad = out[1].data<float>()] {
      kernels::cross_entropy(rows, classes, x, t, loss, grad);
    });
  }
  Arrays vjp(const Arrays&, const Arrays& ct, const Positions& argnums, const Arrays& out) override {
    return pick(argnums, make(std::make_shared<ScaleRows>(), {out[1], ct[0]}));
  }
};

class LinearCrossEntropy : public Node {  // hidden, weight, targets -> loss, [dhidden for a gradient of 1]
 public:
  explicit LinearCrossEntropy(bool with_gradient) : with_gradient_(with_gradient) {}
  const char* name() const override { return "DroidLinearCrossEntropy"; }
  bool is_equivalent(const mx::Primitive& o) const override {
    return with_gradient_ == static_cast<const LinearCrossEntropy&>(o).with_gradient_;
  }
  Shapes output_shapes(const Arrays& in) override {
    return with_gradient_ ? Shapes{{in[0].shape(0)}, in[0].shape()} : Shapes{{in[0].shape(0)}};
  }
  void eval_cpu(const Arrays& all, Arrays& out) override {
    for (auto& o : out) allocate(o);
    Arrays in = dense(all);
    run([rows = in[0].shape(0), dim = in[0].shape(1), classes = in[1].shape(0), h = in[0].data<float>(),
         w = in[1].data<float>(), t = in[2].data<int32_t>(), loss = out[0].data<float>(),
         dh = with_gradient_ ? out[1].data<float>() : nullptr] {
      kernels::linear_cross_entropy(rows, dim, classes, h, w, t, loss, dh);
    });
  }
  Arrays vjp(const Arrays&, const Arrays& ct, const Positions& argnums, const Arrays& out) override {
    if (!with_gradient_) throw std::invalid_argument("droidft: this loss was asked for without its gradient");
    return pick(argnums, make(std::make_shared<ScaleRows>(), {out[1], ct[0]}));
  }

 private:
  bool with_gradient_;
};

class AdamW : public Node {  // parameter, gradient, m, v, rate, step -> parameter, m, v
 public:
  explicit AdamW(kernels::AdamWOptions o) : options_(o) {}
  const char* name() const override { return "DroidAdamW"; }
  bool is_equivalent(const mx::Primitive& o) const override {
    return options_ == static_cast<const AdamW&>(o).options_;
  }
  Shapes output_shapes(const Arrays& in) override { return {in[0].shape(), in[2].shape(), in[3].shape()}; }
  void eval_cpu(const Arrays& all, Arrays& out) override {
    const int source[] = {0, 2, 3};
    for (int i = 0; i < 3; i++) allocate_or_take(out[i], all[source[i]]);
    Arrays in = dense(all);
    // Rate and step are read when it runs: they may still be on their way now.
    run([o = options_, n = in[0].size(), p = in[0].data<float>(), g = in[1].data<float>(), m = in[2].data<float>(),
         v = in[3].data<float>(), rate = in[4].data<float>(), step = in[5].data<float>(), p2 = out[0].data<float>(),
         m2 = out[1].data<float>(),
         v2 = out[2].data<float>()] { kernels::adamw(o, *rate, *step, n, p, g, m, v, p2, m2, v2); });
  }

 private:
  kernels::AdamWOptions options_;
};

mx::array floats(const mx::array& a) { return mx::astype(a, mx::float32); }
mx::array ints(const mx::array& a) { return mx::astype(a, mx::int32); }

}  // namespace

namespace nodes {

array lora(const array& x, const array& w, const array& a, const array& b, float scale) {
  return make(std::make_shared<Lora>(scale), {x, w, a, b})[0];
}

std::pair<array, array> cross_entropy(const array& logits, const array& targets) {
  auto out = make(std::make_shared<CrossEntropy>(), {logits, ints(targets)});
  return {out[0], out[1]};
}

array linear_cross_entropy(const array& hidden, const array& weight, const array& targets, bool with_gradient) {
  return make(std::make_shared<LinearCrossEntropy>(with_gradient), {hidden, weight, ints(targets)})[0];
}

std::tuple<array, array, array> adamw(const array& parameter, const array& gradient, const array& m, const array& v,
                                      const array& rate, const array& step, double beta1, double beta2, double eps,
                                      double decay, bool correct) {
  auto node = std::make_shared<AdamW>(kernels::AdamWOptions{beta1, beta2, eps, decay, correct});
  auto out = make(node, {parameter, gradient, m, v, floats(rate), floats(step)});
  return {out[0], out[1], out[2]};
}

}  // namespace nodes
