// What every node of ours in MLX's graph shares.
#pragma once

#include <algorithm>
#include <memory>
#include <semaphore>
#include <stdexcept>
#include <utility>
#include <vector>

#include "kernels.h"
#include "mlx/allocator.h"
#include "mlx/array.h"
#include "mlx/backend/common/utils.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/ops.h"
#include "mlx/primitives.h"

namespace mx = mlx::core;

using Arrays = std::vector<mx::array>;
using Shapes = std::vector<mx::Shape>;
using Positions = std::vector<int>;

// CPU only, float32, one gradient level.
class Node : public mx::Primitive {
 public:
  Node() : mx::Primitive(mx::to_stream({})) {}
  // Also asked for by graphs that are compiled without fixed shapes; most results are like the first input.
  Shapes output_shapes(const Arrays& in) override { return {in[0].shape()}; }
  void eval_gpu(const Arrays&, Arrays&) override { throw std::runtime_error("droidft's kernels run on the CPU"); }

 protected:
  // Queues the work. MLX's main thread allocates results ahead of the thread that computes, by up to a hundred nodes;
  // ours are few and wide, so it is held to a handful: otherwise memory for whole layers is taken too early.
  template <class F>
  void run(F work) {
    ahead().acquire();
    encoder().dispatch([work = std::move(work)]() mutable {
      struct Release {
        ~Release() { ahead().release(); }
      } release;
      work();
    });
  }

  // `a` with its elements in row order, copied if they are not.
  mx::array dense(const mx::array& a) {
    if (a.flags().row_contiguous) return a;
    mx::array copy(a.shape(), a.dtype(), nullptr, {});
    copy.set_data(mx::allocator::malloc(copy.nbytes()));
    std::vector<int64_t> shape(a.shape().begin(), a.shape().end()), strides(a.strides().begin(), a.strides().end());
    encoder().dispatch([from = a.data<float>(), to = copy.data<float>(), shape, strides] {
      kernels::gather(shape, strides, from, to);
    });
    encoder().add_temporary(copy);
    return copy;
  }

  Arrays dense(const Arrays& all) {
    Arrays out;
    for (auto& a : all) out.push_back(dense(a));
    return out;
  }

 private:
  mx::cpu::CommandEncoder& encoder() { return mx::cpu::get_command_encoder(stream()); }

  static std::counting_semaphore<>& ahead() {
    static std::counting_semaphore<> slots(4);
    return slots;
  }
};

// The results of `node`, whose shapes it knows itself.
inline Arrays make(std::shared_ptr<Node> node, Arrays inputs) {
  Shapes shapes = node->output_shapes(inputs);
  std::vector<mx::Dtype> types(shapes.size(), mx::float32);
  return mx::array::make_arrays(std::move(shapes), types, std::move(node), std::move(inputs));
}

inline void allocate(mx::array& a) { a.set_data(mx::allocator::malloc(a.nbytes())); }

// Memory for `out`: that of `in` if nobody else needs it.
inline void allocate_or_take(mx::array& out, const mx::array& in) {
  if (mx::is_donatable(in, out) && in.flags().row_contiguous)
    out.copy_shared_buffer(in);
  else
    allocate(out);
}

inline bool wants(const Positions& argnums, int i) {
  return std::find(argnums.begin(), argnums.end(), i) != argnums.end();
}

// The gradients at the positions asked for, in that order.
inline Arrays pick(const Positions& argnums, const Arrays& grads) {
  Arrays out;
  for (int i : argnums) {
    if (i >= int(grads.size())) throw std::invalid_argument("droidft: no gradient to this input");
    out.push_back(grads[i]);
  }
  return out;
}
