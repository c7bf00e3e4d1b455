// The operations as functions on MLX arrays: float32 but for frozen weights, shapes as in kernels.h.
#pragma once

#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "mlx/array.h"

namespace nodes {

using mlx::core::array;

array attention(const array& q, const array& k, const array& v, float scale, bool causal,
                const std::optional<array>& mask);
array gated(bool gelu, const array& gate, const std::optional<array>& x);
array rms_norm(const array& x, const std::optional<array>& weight, float eps);
array rope(const array& x, const array& cos, const array& sin, bool traditional);
std::pair<array, array> cross_entropy(const array& logits, const array& targets);

// A matrix w that is not trained is one array, float32 or bfloat16, or three: what mx.quantize() gives in affine mode.
array linear_cross_entropy(const array& hidden, const std::vector<array>& w, const array& targets, bool with_gradient);
array product(const array& x, const std::vector<array>& w);
array lora(const array& x, const std::vector<array>& w, const array& a, const array& b, float scale);
std::tuple<array, array, array> adamw(const array& parameter, const array& gradient, const array& m, const array& v,
                                      const array& rate, const array& step, double beta1, double beta2, double eps,
                                      double decay, bool correct);

// `a` for use in a backward pass: where that is cheap, computed again from its inputs once `after` is there, instead
// of being kept since the forward pass. Cheap are the products of gated(), the widest activations of a block.
array again(const array& a, const array& after);

}  // namespace nodes
