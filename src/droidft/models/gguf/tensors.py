"""Which tensors of a Hugging Face checkpoint make up each tensor of a GGUF file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from droidft.errors import ModelError
from droidft.models.folder import stored_names
from droidft.models.gguf.hyperparameters import Hyperparameters
from droidft.models.gguf.layout import HEAD, heads_of
from droidft.models.gguf.reader import Floats

_BUFFERS = ("rotary_emb.inv_freq", "self_attn.bias", "self_attn.masked_bias")
"""Ends of names of tensors that older checkpoints keep and nobody reads."""
_HEAD = "lm_head.weight"
_WRAPPED = ("language_model.model.", "model.language_model.")
"""What stands before the language model's names where a model sees images: in older files, in transformers 5's."""
_SIGHT = ("vision_tower.", "multi_modal_projector.")
_SWITCH = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
"""mlx-lm's names of the experts' projections, which it keeps in one tensor each."""


class Weights(Protocol):
    """The tensors of a Hugging Face checkpoint, under the names in its files."""

    @property
    def names(self) -> Sequence[str]:
        """Names of all tensors."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""

    def load(self, name: str) -> NDArray[np.float32]:
        """A tensor, in float32."""


@dataclass(frozen=True)
class Source:
    """Where one tensor of the file comes from."""

    name: str
    """In the file."""
    parts: tuple[str, ...]
    """In the checkpoint: one tensor, or one for each expert."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Tensors:
    """Everything that a file of this model holds, in its order."""

    made: Hyperparameters
    weights: Weights
    sources: tuple[Source, ...]

    def load(self, source: Source) -> Iterator[Floats]:
        """The values of a tensor as the file holds them: in one piece, or expert by expert."""
        heads = heads_of(self.made.config)
        for part in source.parts:
            yield self.made.layout.to_file(source.name, self.weights.load(part), heads)


def tensors_of(base: Path, weights: Weights, made: Hyperparameters) -> Tensors:
    """The tensors of `weights`, the checkpoint of the model folder `base`, as a file holds them.

    Raises:
        ModelError: a tensor is missing, or one has no place in a file; both named.
    """
    held = set(weights.names)
    names = names_of(base, held, made)
    if HEAD in names and not made.layout.has_head:
        raise ModelError(
            f"the model has an output head of its own, and llama.cpp reads none for {made.layout.architecture}",
            hint="export it as a merged model for transformers or mlx-lm",
        )
    parts = {theirs: parts_of(ours, held, made) for theirs, ours in names.items()}
    _refuse_gaps(held, [name for group in parts.values() for name in group], made)
    sources = [Source(theirs, group, _shape(weights, theirs, group, made)) for theirs, group in parts.items()]
    return Tensors(made, weights, tuple(sources))


def names_of(base: Path, held: Collection[str], made: Hyperparameters) -> dict[str, str]:
    """Name in the file -> name in the checkpoint, or that of its experts, with a `{}` for their number.

    `held` are the tensors of the checkpoint of the model folder `base`. A head that holds the same bytes as the
    embedding is none: a file says it once.
    """
    stored = stored_names(base)
    tied = stored is not None and not any(name.endswith(_HEAD) for name in stored)
    start = next((start for start in _WRAPPED if any(name.startswith(start) for name in held)), "")

    def inside(ours: str) -> str:
        if not made.wrapped or not start:
            return ours
        if ours == _HEAD:
            return f"language_model.{_HEAD}" if f"language_model.{_HEAD}" in held else _HEAD
        return start + ours.removeprefix("model.")

    names = made.layout.names(
        made.blocks, lambda theirs, ours: inside(ours) in held and not (theirs == HEAD and tied)
    )
    return {theirs: inside(ours) for theirs, ours in names.items()}


def parts_of(ours: str, held: Collection[str], made: Hyperparameters) -> tuple[str, ...]:
    """The tensors of the checkpoint that make up the weight `ours` of a layout: itself, or those of its experts."""
    if "{}" not in ours:
        return (ours,)
    block, _, projection = ours.partition(".experts.{}.")
    stacked = f"{block}.switch_mlp.{_SWITCH[projection.removesuffix('.weight')]}.weight"
    if stacked in held:
        return (stacked,)
    return tuple(ours.format(expert) for expert in range(made.config["num_local_experts"]))


def _refuse_gaps(held: set[str], used: Sequence[str], made: Hyperparameters) -> None:
    if missing := sorted(set(used) - held):
        raise ModelError(
            f"the model lacks {len(missing)} tensors of its architecture, such as {missing[0]}",
            hint="the folder is incomplete or of another architecture; get the model again",
        )
    unknown = {name for name in held - set(used) if not name.endswith((*_BUFFERS, _HEAD))}
    if made.wrapped:
        unknown = {name for name in unknown if not any(part in name for part in _SIGHT)}
    if unknown:
        raise ModelError(
            f"the model has {len(unknown)} tensors that a GGUF file of {made.layout.architecture} has no place for, "
            f"such as {min(unknown)}",
            hint="export it as a merged model for transformers or mlx-lm",
        )


def _shape(weights: Weights, theirs: str, parts: tuple[str, ...], made: Hyperparameters) -> tuple[int, ...]:
    shapes: Mapping[str, tuple[int, ...]] = {part: tuple(weights.shape(part)) for part in parts}
    shape = shapes[parts[0]]
    if odd := next((part for part in parts if shapes[part] != shape), None):
        raise ModelError(f"{odd} has shape {shapes[odd]}, and {parts[0]} {shape}: the folder is damaged")
    if "_exps." in theirs and len(shape) == 2:
        return (len(parts), *shape)
    return shape
