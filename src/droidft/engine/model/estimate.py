"""How much memory a training step will take at its peak: an estimate from shapes, nothing is loaded.

Weights, adapter, gradients and optimizer state are exact counts. Activations are an account of what the
backward pass keeps, from the shapes of the blocks, with one factor fitted to a measured step (SmolLM2-135M, batch
4 x 256, float32: `python -m bench.kernels` prints its peak). Other models were not measured. The allocator's cache
and what the operating system adds are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from droidft.config import FineTuneType, Optimizer
from droidft.engine.model.architectures import blocks
from droidft.engine.model.loss import chunk_logits
from droidft.engine.model.precision import short_paths
from droidft.engine.model.projections import Kind, Part, Projection, adaptable, stored_bytes
from droidft.engine.model.targets import Survey, TargetPlan

# Share of all inputs and outputs of a block's projections that is alive when the backward pass begins:
# projections fed with the same tensor keep it once, and a frozen matrix needs no input for its own gradient.
KEPT_SHARE = 0.68
FUSED_KEPT_SHARE = 0.575
FUSED_LOGITS = 6 << 20
# Of a chunk's size: MLX runs ten operations ahead of the one that computes, with results for each, and each chunk
# waits for the one before. `python -m bench.memory` prints what heads really take.
LOSS_ARRAYS = 14
WHOLE_LOSS_ARRAYS = 5  # where one chunk holds everything
ADAPTER_BYTES = 4  # adapters, their gradients and moments are float32

_MOMENTS = {Optimizer.ADAMW: 2, Optimizer.ADAM: 2, Optimizer.LION: 1, Optimizer.SGD: 1}
_HEADS = ("num_attention_heads", "n_heads", "n_head", "num_heads")
_KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads")
_SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "logit_softcapping")
_ACTIVE_EXPERTS = (
    "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k", "top_k_experts",
    "moe_num_experts_per_tok",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes held at the peak of a training step, by what holds them."""

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    loss: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(getattr(self, field.name) for field in fields(self))


class Estimator:
    """Estimates for one model, whose tree is walked once.

    An unpacked number takes `bytes_per_value` bytes while training (`loading.bytes_per_value`), and two in the
    matrices that `short_products` concern (`precision.short_paths`).
    """

    def __init__(self, survey: Survey, *, bytes_per_value: int, short_products: bool = False) -> None:
        self.survey = survey
        self.bytes_per_value = bytes_per_value
        short = short_paths(survey) if short_products else frozenset[str]()
        self.weights = stored_bytes(survey.model, bytes_per_value=bytes_per_value, short=short)
        self.short_products = short_products
        self.vocabulary, self.width = _vocabulary(survey.model)
        self.heads = _setting(survey.model, _HEADS, 1)
        self.active = _setting(survey.model, _ACTIVE_EXPERTS, 1)

    @property
    def cache_per_token(self) -> int:
        """Bytes that keys and values of one token take while sampling, were every block full attention."""
        key_value_heads = _setting(self.survey.model, _KEY_VALUE_HEADS, self.heads)
        size = _setting(self.survey.model, ("head_dim",), self.width // max(1, self.heads))
        return 2 * len(self.survey.blocks) * key_value_heads * size * self.bytes_per_value

    def peak(
        self,
        plan: TargetPlan,
        *,
        batch_size: int,
        seq_length: int,
        rank: int,
        grad_checkpoint: bool = False,
        optimizer: Optimizer = Optimizer.ADAMW,
        fine_tune_type: FineTuneType = FineTuneType.LORA,
        supervised_fraction: float = 1.0,
        fused_kernels: bool = False,
    ) -> MemoryEstimate:
        """Estimate for batches of `batch_size` rows of `seq_length` tokens.

        `fused_kernels` says that those of `kernels.py` are in place, which keep no attention weights and no logits.
        `supervised_fraction` is the share of tokens that count in the loss. Full fine-tuning trains every block that
        `plan` touches.

        Raises:
            TargetError: DoRA on modules that have none.
        """
        trained, size = _trained(self.survey.model, plan, rank, fine_tune_type, self.bytes_per_value)
        tokens = batch_size * seq_length
        positions = max(1, round(tokens * supervised_fraction))
        values = self._activations(plan, rank, seq_length, grad_checkpoint, fused_kernels) * tokens
        whole = WHOLE_LOSS_ARRAYS * positions * self.vocabulary
        logits = FUSED_LOGITS if fused_kernels and self._head_is_plain(plan) else LOSS_ARRAYS * chunk_logits()
        if fine_tune_type is FineTuneType.DORA:  # the adapted matrix is rebuilt in every step
            values += sum(target.in_dims * target.out_dims for target in plan.targets)
        return MemoryEstimate(
            weights=self.weights,
            adapter=0 if fine_tune_type is FineTuneType.FULL else trained * size,
            gradients=trained * size,
            optimizer=trained * size * _MOMENTS[optimizer],
            activations=round(values * self.bytes_per_value),
            loss=min(logits, whole) * 4,
        )

    def _head_is_plain(self, plan: TargetPlan) -> bool:
        """Whether the kernels compute the loss from hidden states: a frozen head, and nothing done to its logits."""
        capped = any(_number(self.survey.model, name) for name in _SOFT_CAPS)
        trained = any(target.block is None for target in plan.targets)
        packed = any(each.quantized for each in self.survey.outside.values()) and not self.short_products
        return not (capped or trained or packed)

    def _activations(self, plan: TargetPlan, rank: int, seq_length: int, grad_checkpoint: bool, fused: bool) -> float:
        """Numbers kept for each token when the backward pass begins."""
        adapted = {(target.block, target.key) for target in plan.targets}
        first = min((target.block for target in plan.targets if target.block is not None), default=0)
        kept = [
            _of_block(
                list(present.values()),
                index,
                adapted,
                rank=rank,
                seq_length=seq_length,
                heads=self.heads,
                active=self.active,
                width=self.width,
                fused=fused,
            )
            for index, present in enumerate(self.survey.blocks)
            if index >= first  # no gradient flows below the first adapted block
        ]
        if grad_checkpoint:
            return len(kept) * self.width + max(kept)
        # One block's gradients exist in addition to everything that is kept.
        return sum(kept) + max(kept)


def _trained(
    model: nn.Module, plan: TargetPlan, rank: int, fine_tune_type: FineTuneType, bytes_per_value: int
) -> tuple[int, int]:
    """Trained values and the bytes of each."""
    if fine_tune_type is not FineTuneType.FULL:
        return plan.trainable(rank, dora=fine_tune_type is FineTuneType.DORA), ADAPTER_BYTES
    touched = {target.block for target in plan.targets}
    chosen = [block for index, block in enumerate(blocks(model)) if index in touched]
    arrays: list[mx.array] = [array for block in chosen for _, array in tree_flatten(block.parameters())]
    return sum(array.size for array in arrays), bytes_per_value


def _of_block(
    present: list[Projection],
    index: int,
    adapted: set[tuple[int | None, str]],
    *,
    rank: int,
    seq_length: int,
    heads: int,
    active: int,
    width: int,
    fused: bool,
) -> float:
    """Residual stream and norms, every projection's input and output, and the attention's scores and weights."""
    values = 4.0 * width
    for projection in present:
        copies = min(active, projection.experts) if projection.kind is Kind.EXPERTS else 1
        values += copies * (projection.in_dims + projection.out_dims)
        if (index, projection.key) in adapted:
            values += copies * (projection.parts * rank + (0 if fused else projection.out_dims))
    if _has_scores(present) and not fused:
        values += 2 * heads * seq_length
    return (FUSED_KEPT_SHARE if fused else KEPT_SHARE) * values


def _has_scores(present: list[Projection]) -> bool:
    """Whether the block compares every token with every other; linear attention and state spaces do not."""
    attention = [projection.key for projection in present if projection.part is Part.ATTENTION]
    return any("linear_attn" not in key and "mamba" not in key and "conv." not in key for key in attention)


def _vocabulary(model: nn.Module) -> tuple[int, int]:
    """Rows and width of the largest embedding: the vocabulary and the residual stream."""
    shapes = [shape for module in model.modules() if (shape := adaptable(module)) is not None]
    embeddings = [(s["in_dims"], s["out_dims"]) for s in shapes if s["kind"] is Kind.EMBEDDING]
    return max(embeddings, default=(0, 0))


def _number(model: nn.Module, name: str) -> float:
    """A model's argument of this name, nested text models included; 0 where there is none."""
    arguments: list[Any] = [getattr(model, "args", None)]
    arguments.append(getattr(arguments[0], "text_config", None))
    tables = [held if isinstance(held, dict) else vars(held) for held in arguments if held is not None]
    found = [value for table in tables if isinstance(value := table.get(name), int | float)]
    return found[0] if found else 0


def _setting(model: nn.Module, names: tuple[str, ...], otherwise: int) -> int:
    """The first whole number among a model's arguments that has one of these names, nested text models included."""
    arguments: list[Any] = [getattr(model, "args", None)]
    arguments.append(getattr(arguments[0], "text_config", None))
    for held in arguments:
        table = held if isinstance(held, dict) else vars(held) if held is not None else {}
        for name in names:
            if isinstance(value := table.get(name), int) and value > 0:
                return value
    return otherwise
