"""Which modules LoRA adapts: a preset or a list of names, resolved on the model's real module tree.

A key names a module inside a block (`self_attn.q_proj`), as `lora_parameters.keys` does in mlx-lm's adapters;
a key may also name a module outside the blocks by its full path (`lm_head`). Nothing is matched silently: a key
that fits nothing is an error that names the nearest real ones.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import mlx.core as mx
import mlx.nn as nn

from droidft.config import LoraRouters, LoraTargets
from droidft.engine.model.architectures import blocks
from droidft.engine.model.projections import (
    Kind,
    Part,
    Projection,
    adaptable,
    logical_size,
    matrices_left_out,
    projections,
    roles,
)
from droidft.errors import ConfigError, TargetError

# Routers that `lora_routers: auto` adapts, by model type.
_AUTO_ROUTERS = {
    "mixtral": ("block_sparse_moe.gate",),
    "phimoe": ("block_sparse_moe.gate",),
    "qwen2_moe": ("mlp.shared_expert_gate",),
    "qwen3_next": ("mlp.shared_expert_gate",),
}


@dataclass(frozen=True, slots=True)
class KeySummary:
    """What one key adapts: `shapes` are (experts, in, out) with the number of modules that have it."""

    key: str
    kind: Kind
    modules: int
    shapes: tuple[tuple[tuple[int, int, int], int], ...]
    trainable: int


@dataclass(frozen=True)
class TargetPlan:
    """The modules that get an adapter, in the order of the tree, and notes on the choice.

    `total` counts the base model's parameters, quantised ones unpacked; `num_blocks` all its blocks.
    """

    targets: tuple[Projection, ...]
    keys: tuple[str, ...]
    notes: tuple[str, ...]
    total: int
    num_blocks: int

    def trainable(self, rank: int, *, dora: bool = False) -> int:
        """Exact number of trained values at this rank."""
        return sum(target.parameters(rank, dora=dora) for target in self.targets)

    def table(self, rank: int, *, dora: bool = False) -> list[KeySummary]:
        """One line for each key, in order."""
        return [self._summary(key, rank, dora) for key in self.keys]

    def _summary(self, key: str, rank: int, dora: bool) -> KeySummary:
        targets = [target for target in self.targets if target.key == key]
        shapes = Counter((target.experts, target.in_dims, target.out_dims) for target in targets)
        trained = sum(target.parameters(rank, dora=dora) for target in targets)
        return KeySummary(key, targets[0].kind, len(targets), tuple(shapes.items()), trained)


def resolve(
    model: nn.Module,
    *,
    preset: LoraTargets = LoraTargets.FULL_LAYER,
    keys: Sequence[str] | None = None,
    num_layers: int = -1,
    routers: LoraRouters = LoraRouters.AUTO,
    survey: Survey | None = None,
) -> TargetPlan:
    """The targets of `preset` (or of `keys`, with `custom`) in the last `num_layers` blocks; -1 is all of them.

    `survey` saves looking at the tree again, where it has not changed since.

    Raises:
        ConfigError: more blocks asked for than there are, or `custom` without keys.
        TargetError: nothing matches, or a key names nothing that can be adapted.
    """
    preset, routers = LoraTargets(preset), LoraRouters(routers)
    survey = survey or Survey(model)
    chosen = survey.last(num_layers)
    present = [projection for index in chosen for projection in survey.blocks[index].values()]
    wanted = _wanted(survey, preset, keys, routers, chosen, present)
    targets = [projection for projection in present if projection.key in wanted]
    if preset is LoraTargets.CUSTOM:
        targets += [projection for path, projection in survey.outside.items() if path in wanted]
    if not targets:
        raise _nothing(survey, preset, present)
    adapted = tuple({target.key: None for target in targets})
    notes = _notes(survey, preset, routers, present, adapted)
    return TargetPlan(tuple(targets), adapted, notes, survey.total, len(survey.blocks))


class Survey:
    """Every adaptable module of a model, by block and key."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.model_type = str(getattr(model, "model_type", ""))
        self.modules = blocks(model)
        names = {id(module): name for name, module in model.named_modules()}
        paths = [names[id(block)] for block in self.modules]
        self.blocks = [
            {each.key: replace(each, path=f"{path}.{each.key}", block=index) for each in projections(block)}
            for index, (path, block) in enumerate(zip(paths, self.modules, strict=True))
        ]
        self.left_out = [
            {key: (part, kind) for key, part, kind in matrices_left_out(block)} for block in self.modules
        ]
        inside = tuple(f"{path}." for path in paths)
        self.outside = {
            name: Projection(key=name, path=name, part=Part.OTHER, **shape)
            for name, module in model.named_modules()
            if name and not name.startswith(inside) and (shape := adaptable(module)) is not None
        }

    @cached_property
    def total(self) -> int:
        """Parameters of the model, quantised ones unpacked."""
        return logical_size(self.model)

    def last(self, num_layers: int) -> list[int]:
        """Numbers of the last `num_layers` blocks; -1 is all of them."""
        count = len(self.blocks)
        if num_layers > count:
            raise ConfigError(
                f"lora_num_layers {num_layers} is more than the model's {count} blocks",
                hint=f"use 1 to {count}, or -1 for all",
                field="lora_num_layers",
            )
        return list(range(count))[-max(num_layers, 0) :]


def _wanted(
    survey: Survey,
    preset: LoraTargets,
    keys: Sequence[str] | None,
    routers: LoraRouters,
    chosen: Sequence[int],
    present: Sequence[Projection],
) -> set[str]:
    usable = [each for each in present if each.part is not Part.SELECTOR and not each.uncalled]
    wanted = {each.key for each in usable if _in_preset(each, preset)}
    if preset is LoraTargets.CUSTOM:
        if not keys:
            raise ConfigError("lora_targets 'custom' needs lora_keys", hint="name modules", field="lora_keys")
        _refuse_strangers(survey, keys, chosen)
        wanted = set(keys)
    # A key must be adaptable wherever it occurs, or mlx-lm refuses the finished adapter.
    wanted -= {key for index in chosen for key in survey.left_out[index]}
    all_routers = {each.key for each in usable if each.part is Part.ROUTER}
    if routers is LoraRouters.ON:
        wanted |= all_routers
    elif routers is LoraRouters.AUTO and preset in (LoraTargets.FULL_LAYER, LoraTargets.MLP):
        wanted |= all_routers & set(_AUTO_ROUTERS.get(survey.model_type, ()))
    elif routers is LoraRouters.OFF and preset is not LoraTargets.CUSTOM:
        wanted -= all_routers
    return wanted


def _in_preset(projection: Projection, preset: LoraTargets) -> bool:
    part = projection.part
    if projection.kind is Kind.EMBEDDING:
        return False
    match preset:
        case LoraTargets.FULL_LAYER:
            return part in (Part.ATTENTION, Part.MLP)
        case LoraTargets.ATTENTION:
            return part is Part.ATTENTION
        case LoraTargets.ATTENTION_QV:
            return part is Part.ATTENTION and bool(roles(projection.key) & {"q", "v"})
        case LoraTargets.MLP:
            return part is Part.MLP
        case LoraTargets.ALL_LINEAR:
            return True
        case LoraTargets.CUSTOM:
            return False


def _refuse_strangers(survey: Survey, keys: Sequence[str], chosen: Sequence[int]) -> None:
    faults = [fault for key in keys if (fault := _fault(survey, key, chosen)) is not None]
    if faults:
        raise TargetError(
            "; ".join(faults),
            hint="`droidft models inspect` lists every module that can be adapted",
            field="lora_keys",
        )


def _fault(survey: Survey, key: str, chosen: Sequence[int]) -> str | None:
    """Why `key` cannot be adapted, or None if it can."""
    holders = [index for index, block in enumerate(survey.blocks) if key in block]
    if holders:
        first = survey.blocks[holders[0]][key]
        if first.part is Part.SELECTOR:
            return f"{key!r} only picks positions for sparse attention: no gradient reaches it"
        if first.uncalled:
            return (
                f"{key!r} is read by {survey.model_type} as a matrix and never called, so no adapter can stand there"
            )
        if not set(holders) & set(chosen):
            return f"{key!r} is in blocks {holders[0]} to {holders[-1]} only, which lora_num_layers leaves out"
        for index in chosen:
            if key in survey.left_out[index]:
                return f"{key!r} is a {survey.left_out[index][key][1]} in block {index}, which mlx-lm cannot adapt"
        return None
    if key in survey.outside:
        return None
    for block in survey.modules:
        if (fault := _named_otherwise(block, key)) is not None:
            return fault
    known = {key: None for block in survey.blocks for key in block} | dict.fromkeys(survey.outside)
    close = _nearest(key, list(known))
    return f"{key!r} names no module of a {survey.model_type} block" + (f"; nearest: {close}" if close else "")


def _named_otherwise(block: nn.Module, key: str) -> str | None:
    """The fault of a key that names an array, a container or a module of another class; None if nothing is there."""
    modules = dict(block.named_modules())
    owner, _, leaf = key.rpartition(".")
    if owner in modules and isinstance(modules[owner].get(leaf), mx.array):
        return f"{key!r} is an array, not a module: LoRA adapts linear layers, only fine_tune_type 'full' trains it"
    if key not in modules:
        return None
    inner = [each.key for each in projections(block) if each.key.startswith(f"{key}.")]
    if inner:
        return f"{key!r} is a group of modules; name them: {', '.join(inner)}"
    return f"{key!r} is a {type(modules[key]).__name__}, which mlx-lm cannot adapt"


def _nearest(key: str, known: list[str]) -> str:
    inside = [name for name in known if key.endswith(f".{name}")]
    ending = [name for name in known if name.endswith(f".{key}") or name.rpartition(".")[2] == key.rpartition(".")[2]]
    close = inside or ending or difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    return ", ".join(repr(name) for name in close[:4])


def _nothing(survey: Survey, preset: LoraTargets, present: Sequence[Projection]) -> TargetError:
    offered = list({each.key: None for each in present})
    if offered:
        has = f"its blocks have {', '.join(offered)}"
        hint = "use lora_targets 'full-layer', or 'custom' with lora_keys"
    else:
        kinds = sorted({kind for block in survey.left_out for _, kind in block.values()})
        has = f"its blocks are made of {', '.join(kinds) or 'nothing'}, which mlx-lm cannot adapt"
        hint = "choose another base model"
    return TargetError(
        f"lora_targets {preset.value!r} matches nothing in {survey.model_type}: {has}",
        hint=hint,
        field="lora_targets",
    )


def _notes(
    survey: Survey,
    preset: LoraTargets,
    routers: LoraRouters,
    present: Sequence[Projection],
    adapted: Sequence[str],
) -> tuple[str, ...]:
    notes = []
    if preset is LoraTargets.ATTENTION_QV and (fused := [key for key in adapted if "k" in roles(key)]):
        notes.append(f"queries and values share a matrix with keys here, so all of it is adapted: {', '.join(fused)}")
    if preset is LoraTargets.CUSTOM:
        return tuple(notes)
    selectors = {p.key: None for p in present if p.part is Part.SELECTOR}
    if selectors:
        notes.append(f"left out because they only pick positions, which no gradient reaches: {', '.join(selectors)}")
    uncalled = {p.key: None for p in present if p.uncalled}
    if uncalled and preset is LoraTargets.ALL_LINEAR:
        notes.append(f"left out because the model reads them as matrices: {', '.join(uncalled)}")
    if left := _left_out(survey, preset, routers):
        notes.append(f"left out because mlx-lm cannot adapt them: {', '.join(left)}")
    return tuple(notes)


def _left_out(survey: Survey, preset: LoraTargets, routers: LoraRouters) -> list[str]:
    parts = {
        LoraTargets.MLP: {Part.MLP},
        LoraTargets.ATTENTION: {Part.ATTENTION},
        LoraTargets.ATTENTION_QV: {Part.ATTENTION},
        LoraTargets.ALL_LINEAR: set(Part),
    }.get(preset, {Part.ATTENTION, Part.MLP})
    if routers is LoraRouters.ON:
        parts = parts | {Part.ROUTER}
    left = (f"{key} ({kind})" for block in survey.left_out for key, (part, kind) in block.items() if part in parts)
    return list(dict.fromkeys(left))
