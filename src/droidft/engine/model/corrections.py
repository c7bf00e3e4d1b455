"""Where mlx-lm's code computes something else than the makers': put right on the model that it builds.

Each correction is one that `tests/golden/logits` shows to be needed. Blocks, MLPs and embeddings get a subclass of
their own class, so names, parameters and adapters stay as they are.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import base
from mlx_lm.models.rope_utils import SuScaledRoPE, YarnRoPE, initialize_rope

READ = {
    "glm": frozenset({"partial_rotary_factor"}),
    "gpt_bigcode": frozenset({"activation_function"}),
    "gpt_neox": frozenset({"hidden_act"}),
    "starcoder2": frozenset({"hidden_act"}),
}
"""Settings by module that are read here and not by mlx-lm."""

SCALED_HERE = frozenset({"deepseek", "glm4_moe", "mixtral", "nemotron", "qwen2_moe", "qwen3_moe", "solar_open"})
"""Modules of mlx-lm that take `rope_scaling` and leave it unused, or know some kinds of it only."""

SCALED = "droidft_rope_scaling"
"""Where the config of such a module has its `rope_scaling`."""

SHARE_BY_CODE = {"recurrent_gemma": 0.5}
"""Modules of mlx-lm that hold the share of the rotated width in their code."""

_kinds: dict[tuple[type, Any], type] = {}


def correct(
    model: nn.Module,
    module: str,
    config: Mapping[str, Any],
    windows: Sequence[int | None],
    kept: Mapping[str, mx.array] | None = None,
) -> None:
    """Put `model` right.

    `module` is the name of mlx-lm's module, `config` what the model was built from. `windows` has the number of
    tokens that each block may look back at where mlx-lm's code has no window for it: None for all, empty for no
    change.
    `kept` are the weights that `stored_weights.corrected` put aside.
    """
    if (change := _BY_MODULE.get(module)) is not None:
        change(model, config, kept or {})
    _correct_rope(model, config)
    for block, window in zip(getattr(model, "layers", ()), windows, strict=False):
        if window is not None:
            block.signature = inspect.signature(type(block).__call__)
            _specialise(block, "__call__", _windowed)
            block.window = window


def _specialise(part: nn.Module, name: str, method: Callable[..., Any]) -> None:
    """Give `part` a subclass of its class with `method` in place of the one called `name`."""
    kind = type(part)
    if (kind, method) not in _kinds:
        _kinds[kind, method] = type(kind.__name__, (kind,), {name: method, "__module__": kind.__module__})
    part.__class__ = _kinds[kind, method]


def _original(part: nn.Module) -> Any:
    """The class that `_specialise` made a subclass of."""
    return type(part).__mro__[1]


# -- windows


def _windowed(self: Any, *args: Any, **options: Any) -> Any:
    """A block that looks back at `window` tokens only."""
    given = self.signature.bind(self, *args, **options)
    given.apply_defaults()
    named = given.arguments
    named["mask"] = _narrowed(args[0].shape[1], named["mask"], named["cache"], self.window)
    return _original(self).__call__(*given.args, **given.kwargs)


def _narrowed(length: int, mask: Any, cache: Any, window: int) -> Any:
    """The mask for `length` new tokens: causal, and none of the tokens before the window."""
    if cache is not None and hasattr(cache, "left_padding"):
        return cache.make_mask(length, window_size=window)
    offset = 0 if cache is None else cache.offset
    if offset + length <= window:
        return mask
    return base.create_causal_mask(length, offset, window_size=window)


# -- rotary positions


def _correct_rope(model: nn.Module, config: Mapping[str, Any]) -> None:
    scaling, unread = config.get("rope_scaling") or {}, config.get(SCALED)
    for _, part in model.named_modules():
        for name, rope in list(part.items()):
            if type(rope) is SuScaledRoPE:
                part[name] = LengthScaledRoPE(rope, scaling)
            elif type(rope) is YarnRoPE and scaling.get("truncate") is False:
                rope._freqs = _exact_yarn(rope.dims, config["rope_theta"], scaling)
            elif type(rope) is nn.RoPE and unread:
                limit = config.get("max_position_embeddings")
                part[name] = initialize_rope(rope.dims, rope.base, rope.traditional, unread, limit)


class LengthScaledRoPE(nn.Module):  # type: ignore[misc]
    """Rotary positions scaled by `short_factor` up to the trained length and by `long_factor` beyond it.

    mlx-lm scales by `long_factor` always. As in the makers' code, all positions of one pass have the same factor, and
    the amplitude is the same in both.
    """

    def __init__(self, rope: SuScaledRoPE, scaling: Mapping[str, Any]) -> None:
        super().__init__()
        self.dim = rope.dim
        self.trained = rope.original_max_position_embeddings
        short = mx.array(scaling["short_factor"], dtype=mx.float32)
        self._long = rope._freqs
        self._short = rope._freqs / mx.array(scaling["long_factor"], dtype=mx.float32) * short
        self._scale = float(scaling.get("attention_factor") or rope._scale)
        if (factor := scaling.get("factor")) and not scaling.get("attention_factor"):
            self._scale = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(self.trained))

    def __call__(self, x: mx.array, offset: int | mx.array = 0) -> mx.array:
        """Turn the last axis of x (…, tokens, width) by its position, which begins at `offset`."""
        start: Any = offset if isinstance(offset, int) else mx.max(offset).item()
        turned: mx.array = mx.fast.rope(
            x.at[..., : self.dim].multiply(self._scale),
            self.dim,
            traditional=False,
            base=None,
            scale=1.0,
            offset=offset,
            freqs=self._long if start + x.shape[-2] > self.trained else self._short,
        )
        return turned


def _exact_yarn(width: int, theta: float, scaling: Mapping[str, Any]) -> mx.array:
    """YaRN's frequencies, shape (width / 2), with the ends of its ramp not rounded (`truncate: false`)."""
    trained, factor = scaling["original_max_position_embeddings"], scaling["factor"]

    def turning(times: float) -> float:
        return width * math.log(trained / (times * 2 * math.pi)) / (2 * math.log(theta))

    low, high = (
        max(turning(scaling.get("beta_fast") or 32), 0),
        min(turning(scaling.get("beta_slow") or 1), width - 1),
    )
    ramp = mx.clip((mx.arange(width // 2, dtype=mx.float32) - low) / max(high - low, 0.001), 0, 1)
    exact = theta ** (mx.arange(0, width, 2, dtype=mx.float32) / width)
    frequencies: mx.array = exact * factor / (factor * (1 - ramp) + ramp)
    return frequencies


def _glm(model: nn.Module, config: Mapping[str, Any], kept: Mapping[str, mx.array]) -> None:
    """GLM rotates a share of the width; mlx-lm rotates all of it."""
    for block in model.layers:
        attention = block.self_attn
        width = int(attention.head_dim * config.get("partial_rotary_factor", 1))
        attention.rope = nn.RoPE(width, traditional=True, base=config.get("rope_theta", 10000))


# -- experts


def _ernie(model: nn.Module, config: Mapping[str, Any], kept: Mapping[str, mx.array]) -> None:
    """ERNIE's experts are chosen by their scores plus a stored bias, which mlx-lm drops, and weighed without it."""
    for number, block in enumerate(model.layers):
        bias = kept.get(f"model.layers.{number}.mlp.moe_statics.e_score_correction_bias")
        if bias is not None:
            block.mlp._bias = bias.flatten()
            _specialise(block.mlp, "__call__", _with_biased_choice)


def _with_biased_choice(self: Any, x: mx.array) -> mx.array:
    scores = self.gate_act(self.gate(x).astype(mx.float32))
    biased = scores + self._bias.astype(mx.float32)
    chosen = mx.stop_gradient(mx.argpartition(-biased, kth=self.k - 1, axis=-1)[..., : self.k])
    weights = mx.take_along_axis(scores, chosen, axis=-1)
    weights = weights / mx.maximum(weights.sum(axis=-1, keepdims=True), 1e-12)
    y: mx.array = self.switch_mlp(x, chosen)
    y = (y * weights[..., None]).sum(axis=-2).astype(y.dtype)
    if self.shared_experts is not None:
        y = y + self.shared_experts(x)
    return y


def _jamba(model: nn.Module, config: Mapping[str, Any], kept: Mapping[str, mx.array]) -> None:
    """Jamba's experts are weighed by their share among all; mlx-lm takes the share among the chosen."""
    for block in model.layers:
        if hasattr(block.feed_forward, "router"):
            _specialise(block.feed_forward, "__call__", _with_shares_of_all)


def _with_shares_of_all(self: Any, x: mx.array) -> mx.array:
    shares = mx.softmax(self.router(x), axis=-1, precise=True)
    k = self.num_experts_per_tok
    chosen = mx.stop_gradient(mx.argpartition(-shares, kth=k - 1, axis=-1)[..., :k])
    weights = mx.take_along_axis(shares, chosen, axis=-1)
    y: mx.array = (self.switch_mlp(x, chosen) * weights[..., None]).sum(axis=-2)
    return y


# -- activations and scales


def _gemma(model: nn.Module, config: Mapping[str, Any], kept: Mapping[str, mx.array]) -> None:
    """Gemma's GELU is the one by tanh; mlx-lm has the exact one."""
    for block in model.layers:
        _specialise(block.mlp, "__call__", _gated_tanh_gelu)


def _gated_tanh_gelu(self: Any, x: mx.array) -> Any:
    return self.down_proj(nn.gelu_approx(self.gate_proj(x)) * self.up_proj(x))


def _gpt_neox(model: nn.Module, config: Mapping[str, Any], kept: Mapping[str, mx.array]) -> None:
    """GPT-NeoX's GELU is the exact one; mlx-lm approximates it."""
    if config.get("hidden_act", "gelu") == "gelu":
        for block in model.layers:
            _specialise(block.mlp, "__call__", _exact_gelu)


def _exact_gelu(self: Any, x: mx.array) -> Any:
    return self.dense_4h_to_h(nn.gelu(self.dense_h_to_4h(x)))


def _starcoder(model: nn.Module, config: Mapping[str, Any], kept: Mapping[str, mx.array]) -> None:
    """StarCoder's GELU is the one by tanh, if it does not say otherwise; mlx-lm has the exact one."""
    named = config.get("activation_function") or config.get("hidden_act") or "gelu_pytorch_tanh"
    if named == "gelu_pytorch_tanh":
        for block in model.layers:
            _specialise(block.mlp, "__call__", _tanh_gelu)


def _tanh_gelu(self: Any, x: mx.array) -> Any:
    return self.c_proj(nn.gelu_approx(self.c_fc(x)))


def _minicpm3(model: nn.Module, config: Mapping[str, Any], kept: Mapping[str, mx.array]) -> None:
    """MiniCPM3 scales its logits; mlx-lm does so for an output head of its own only, not for a tied one."""
    if "lm_head" not in model:
        embedding = model.model.embed_tokens
        _specialise(embedding, "as_linear", _divided_as_linear)
        embedding.divisor = config["hidden_size"] / config["dim_model_base"]


def _divided_as_linear(self: Any, x: mx.array) -> Any:
    return _original(self).as_linear(self, x / self.divisor)


_BY_MODULE: dict[str, Callable[[nn.Module, Mapping[str, Any], Mapping[str, mx.array]], None]] = {
    "ernie4_5_moe": _ernie,
    "gemma": _gemma,
    "glm": _glm,
    "gpt_bigcode": _starcoder,
    "gpt_neox": _gpt_neox,
    "jamba": _jamba,
    "minicpm3": _minicpm3,
    "starcoder2": _starcoder,
}
