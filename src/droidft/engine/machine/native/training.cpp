// Graph nodes that only training has: low-rank layers, the loss, the update.
#include "node.h"
#include "nodes.h"

namespace {

// How a matrix is kept: one array of float32 (bits 32) or bfloat16 (16), or integers of `bits`, scales and biases of
// groups of `group`.
struct Stored {
  int bits, group;
  bool operator==(const Stored&) const = default;
};

// Of the arrays of a matrix that multiplies `x`.
Stored stored(const mx::array& x, const Arrays& w) {
  const int in = x.shape(-1);
  const bool one = w.size() == 1 && w[0].ndim() == 2 && w[0].shape(1) == in;
  if (one && (w[0].dtype() == mx::float32 || w[0].dtype() == mx::bfloat16)) return {int(w[0].itemsize()) * 8, 0};
  const bool three = w.size() == 3 && w[0].dtype() == mx::uint32 && w[1].dtype() == mx::float32 &&
                     w[2].dtype() == mx::float32 && w[1].shape() == w[2].shape() && w[1].shape(0) == w[0].shape(0);
  if (!three || in % w[1].shape(1)) throw std::invalid_argument("droidft: the weights do not fit");
  return {int(int64_t(w[0].shape(1)) * 32 / in), in / w[1].shape(1)};
}

int64_t outputs(const Arrays& in, size_t first) { return in[first].shape(0); }
int64_t inputs(const Arrays& in, size_t first, Stored stored) {
  return stored.bits < 16 ? int64_t(in[first + 1].shape(1)) * stored.group : in[first].shape(1);
}

kernels::Frozen frozen(const Arrays& in, size_t first, Stored stored) {
  kernels::Frozen f{outputs(in, first), inputs(in, first, stored), in[first].data<char>(), stored.bits, stored.group,
                    nullptr, nullptr};
  if (f.quantised()) {
    f.scales = in[first + 1].data<float>();
    f.biases = in[first + 2].data<float>();
  }
  return f;
}

int64_t rows_of(const mx::array& x) { return int64_t(x.size()) / x.shape(-1); }

mx::Shape with_last(const mx::array& x, int64_t size) {
  mx::Shape shape = x.shape();
  shape.back() = int(size);
  return shape;
}

class FrozenProduct : public Node {  // x, w… -> x w^T, or x w
 public:
  FrozenProduct(Stored stored, bool transposed) : stored_(stored), transposed_(transposed) {}
  const char* name() const override { return "DroidFrozenProduct"; }
  bool is_equivalent(const mx::Primitive& o) const override {
    auto& other = static_cast<const FrozenProduct&>(o);
    return stored_ == other.stored_ && transposed_ == other.transposed_;
  }
  Shapes output_shapes(const Arrays& in) override {
    return {with_last(in[0], transposed_ ? outputs(in, 1) : inputs(in, 1, stored_))};
  }
  void eval_cpu(const Arrays& all, Arrays& out) override {
    allocate(out[0]);
    Arrays in = dense(all);
    run([w = frozen(in, 1, stored_), transposed = transposed_, rows = rows_of(in[0]), x = in[0].data<float>(),
         y = out[0].data<float>()] { kernels::frozen_product(w, transposed, rows, x, y); });
  }
  Arrays vjp(const Arrays& in, const Arrays& ct, const Positions& argnums, const Arrays&) override {
    Arrays back = in;
    back[0] = ct[0];
    return pick(argnums, make(std::make_shared<FrozenProduct>(stored_, !transposed_), back));
  }

 private:
  Stored stored_;
  bool transposed_;
};

struct LoraOptions {
  Stored stored;
  float scale;
  bool operator==(const LoraOptions&) const = default;
  kernels::LoraShape shape(const Arrays& in) const { return {rows_of(in[0]), in[1].shape(1), scale}; }
};

class LoraGrad : public Node {  // x, a, b, z, dy, w… -> those of dx, da, db that are wanted
 public:
  LoraGrad(LoraOptions options, bool dx, bool da, bool db) : options_(options), dx_(dx), da_(da), db_(db) {}
  const char* name() const override { return "DroidLoraGrad"; }
  bool is_equivalent(const mx::Primitive& o) const override {
    auto& other = static_cast<const LoraGrad&>(o);
    return options_ == other.options_ && dx_ == other.dx_ && da_ == other.da_ && db_ == other.db_;
  }
  Shapes output_shapes(const Arrays& in) override {
    Shapes shapes;
    if (dx_) shapes.push_back(in[0].shape());
    if (da_) shapes.push_back(in[1].shape());
    if (db_) shapes.push_back(in[2].shape());
    return shapes;
  }
  void eval_cpu(const Arrays& all, Arrays& out) override {
    for (auto& o : out) allocate(o);
    Arrays in = dense(all);
    auto next = out.begin();
    float* dx = dx_ ? (next++)->data<float>() : nullptr;
    float* da = da_ ? (next++)->data<float>() : nullptr;
    float* db = db_ ? (next++)->data<float>() : nullptr;
    run([s = options_.shape(in), x = in[0].data<float>(), a = in[1].data<float>(), b = in[2].data<float>(),
         z = in[3].data<float>(), dy = in[4].data<float>(), w = frozen(in, 5, options_.stored), dx, da, db] {
      kernels::lora_grad(s, x, w, a, b, z, dy, dx, da, db);
    });
  }

 private:
  LoraOptions options_;
  bool dx_, da_, db_;
};

class Lora : public Node {  // x, a, b, w… -> y, z
 public:
  explicit Lora(LoraOptions options) : options_(options) {}
  const char* name() const override { return "DroidLora"; }
  bool is_equivalent(const mx::Primitive& o) const override { return options_ == static_cast<const Lora&>(o).options_; }
  Shapes output_shapes(const Arrays& in) override {
    return {with_last(in[0], outputs(in, 3)), with_last(in[0], in[1].shape(1))};
  }
  void eval_cpu(const Arrays& all, Arrays& out) override {
    for (auto& o : out) allocate(o);
    Arrays in = dense(all);
    run([s = options_.shape(in), x = in[0].data<float>(), a = in[1].data<float>(), b = in[2].data<float>(),
         w = frozen(in, 3, options_.stored), y = out[0].data<float>(),
         z = out[1].data<float>()] { kernels::lora(s, x, w, a, b, y, z); });
  }
  Arrays vjp(const Arrays& in, const Arrays& ct, const Positions& argnums, const Arrays& out) override {
    const bool wanted[] = {wants(argnums, 0), wants(argnums, 1), wants(argnums, 2)};
    Arrays grads(4, in[0]);
    if (wanted[0] || wanted[1] || wanted[2]) {
      auto node = std::make_shared<LoraGrad>(options_, wanted[0], wanted[1], wanted[2]);
      Arrays given{nodes::again(in[0], ct[0]), in[1], in[2], out[1], ct[0]};
      given.insert(given.end(), in.begin() + 3, in.end());
      auto made = make(node, given);
      for (int i = 0, next = 0; i < 3; i++)
        if (wanted[i]) grads[i] = made[next++];
    }
    if (wants(argnums, 3)) {  // the base layer is trained too
      if (options_.stored.bits != 32) throw std::invalid_argument("droidft: only float32 weights are trained");
      auto rows = [](const mx::array& m) { return mx::reshape(m, {-1, m.shape(-1)}); };
      grads[3] = mx::matmul(mx::transpose(rows(ct[0])), rows(in[0]));
    }
    return pick(argnums, grads);
  }

 private:
  LoraOptions options_;
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

class LinearCrossEntropy : public Node {  // hidden, targets, w… -> loss, [dhidden for a gradient of 1]
 public:
  LinearCrossEntropy(Stored stored, bool with_gradient) : stored_(stored), with_gradient_(with_gradient) {}
  const char* name() const override { return "DroidLinearCrossEntropy"; }
  bool is_equivalent(const mx::Primitive& o) const override {
    auto& other = static_cast<const LinearCrossEntropy&>(o);
    return stored_ == other.stored_ && with_gradient_ == other.with_gradient_;
  }
  Shapes output_shapes(const Arrays& in) override {
    return with_gradient_ ? Shapes{{in[0].shape(0)}, in[0].shape()} : Shapes{{in[0].shape(0)}};
  }
  void eval_cpu(const Arrays& all, Arrays& out) override {
    for (auto& o : out) allocate(o);
    Arrays in = dense(all);
    run([rows = in[0].shape(0), h = in[0].data<float>(), t = in[1].data<int32_t>(), w = frozen(in, 2, stored_),
         loss = out[0].data<float>(), dh = with_gradient_ ? out[1].data<float>() : nullptr] {
      kernels::linear_cross_entropy(rows, h, w, t, loss, dh);
    });
  }
  Arrays vjp(const Arrays&, const Arrays& ct, const Positions& argnums, const Arrays& out) override {
    if (!with_gradient_) throw std::invalid_argument("droidft: this loss was asked for without its gradient");
    return pick(argnums, make(std::make_shared<ScaleRows>(), {out[1], ct[0]}));
  }

 private:
  Stored stored_;
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

// `inputs`, then the arrays of a matrix: in row order, as only arrays of four bytes are copied when a node runs.
Arrays followed(Arrays inputs, const Arrays& w) {
  for (auto& part : w) inputs.push_back(part.dtype() == mx::float32 ? part : mx::contiguous(part));
  return inputs;
}

}  // namespace

namespace nodes {

array product(const array& x, const std::vector<array>& w) {
  return make(std::make_shared<FrozenProduct>(stored(x, w), true), followed({x}, w))[0];
}

array lora(const array& x, const std::vector<array>& w, const array& a, const array& b, float scale) {
  return make(std::make_shared<Lora>(LoraOptions{stored(x, w), scale}), followed({x, a, b}, w))[0];
}

std::pair<array, array> cross_entropy(const array& logits, const array& targets) {
  auto out = make(std::make_shared<CrossEntropy>(), {logits, ints(targets)});
  return {out[0], out[1]};
}

array linear_cross_entropy(const array& hidden, const std::vector<array>& w, const array& targets, bool with_gradient) {
  auto node = std::make_shared<LinearCrossEntropy>(stored(hidden, w), with_gradient);
  return make(node, followed({hidden, ints(targets)}, w))[0];
}

std::tuple<array, array, array> adamw(const array& parameter, const array& gradient, const array& m, const array& v,
                                      const array& rate, const array& step, double beta1, double beta2, double eps,
                                      double decay, bool correct) {
  auto node = std::make_shared<AdamW>(kernels::AdamWOptions{beta1, beta2, eps, decay, correct});
  auto out = make(node, {parameter, gradient, m, v, floats(rate), floats(step)});
  return {out[0], out[1], out[2]};
}

}  // namespace nodes
