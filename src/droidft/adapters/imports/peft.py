"""An adapter in PEFT's format comes in: `adapter_config.json` and `adapter_model.safetensors`.

    linear      lora_A.weight (r, in), lora_B.weight (out, r)
    embedding   lora_embedding_A (r, tokens), lora_embedding_B (width, r)
    parameter   lora_A.weight, lora_B.weight of the module that has it, which is wrapped once for each parameter:
                the last of them is outermost. Of experts, A is (experts * r, in) and B (out, r * experts)
    DoRA        lora_magnitude_vector (out)

The tensors decide what is adapted, not the patterns in `target_modules`. What would compute something else here is
refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from droidft.adapters.exports.places import Place, place_of
from droidft.adapters.folder import CONFIG
from droidft.adapters.formats import PEFT_WEIGHTS
from droidft.adapters.imports.experts import by_expert, written_in_turn
from droidft.adapters.imports.foreign import Foreign
from droidft.adapters.imports.matrices import MERGE, Base, bare
from droidft.adapters.imports.settings import refuse_settings, scale_of
from droidft.errors import AdapterError
from droidft.models import floats, headers
from droidft.models.factors import Factors
from droidft.models.floats import BYTES, Floats
from droidft.support import stored

_KEY = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+?)(?P<depth>(?:\.base_layer)*)"
    r"\.(?P<leaf>lora_A\.weight|lora_B\.weight|lora_embedding_A|lora_embedding_B|lora_magnitude_vector(?:\.weight)?)"
)
_UNCHANGED = re.compile(r"(?:base_model\.model\.)?(?P<tensor>.+?)(?:\.base_layer)?\.weight")
"""PEFT may store the weights of an embedding or a head that it adapts, as they are."""

_HEADS = ("lm_head", "embed_out", "output")
_ROWS = 4096
"""Of an embedding, compared at a time."""

Layer = tuple[str, int]
"""A module, and how many wrappers lie around the one that is meant."""


class PeftFolder(Foreign):
    """An adapter folder of PEFT's."""

    def __init__(self, path: Path) -> None:
        """Read its settings and the names of its tensors.

        Raises:
            AdapterError: it is damaged, or holds what cannot come in.
        """
        super().__init__(path)
        self.config = stored.mapping(path / CONFIG, kind=AdapterError)
        refuse_settings(path.name, self.config)
        self.tensors = _checked(_weights(path))
        recorded, dropout = self.config.get("base_model_name_or_path"), self.config.get("lora_dropout")
        self.base_name = recorded if isinstance(recorded, str) and recorded else None
        self.dropout = float(dropout) if isinstance(dropout, int | float) and 0 <= dropout < 1 else 0.0

    @property
    def program(self) -> str:
        """With its version, where that is recorded."""
        version = self.config.get("peft_version")
        return f"PEFT {version[:20]}" if isinstance(version, str) else "PEFT"

    def pairs(self, base: Base) -> list[Factors]:
        """Of every layer that it holds tensors of."""
        return _Reader(self, base).pairs()


def _weights(path: Path) -> Path:
    safe, pickled = (path / name for name in PEFT_WEIGHTS)
    if safe.is_file():
        return safe
    if pickled.is_file():
        raise AdapterError(
            f"adapter {path.name} has its weights in {pickled.name}, a pickle, which could run any program when read",
            hint="load it in PEFT and save it again: `model.save_pretrained(folder)` writes safetensors",
        )
    raise AdapterError(
        f"adapter {path.name} is in PEFT's format and has no {safe.name}", hint="copy the whole folder"
    )


def _checked(file: Path) -> dict[str, headers.Stored]:
    """The tensors of a file by name, after the reference reader has found it whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise AdapterError(f"{file.name} of adapter {file.parent.name} is damaged: {error}") from error
    tensors = headers.tensors(file)
    if other := next((name for name, each in tensors.items() if each.dtype not in BYTES), None):
        raise AdapterError(f"{other} of adapter {file.parent.name} is of type {tensors[other].dtype}, not a float")
    return tensors


@dataclass
class _Layer:
    """The tensors of one layer of LoRA, by their leaves."""

    tensors: dict[str, str] = field(default_factory=dict)
    wrappers: int = 0
    """Around and in it, on its module."""


class _Reader:
    """Reads a folder's tensors as pairs for the stored matrices of a base."""

    def __init__(self, folder: PeftFolder, base: Base) -> None:
        self.folder, self.base = folder, base
        self.index = _index(base)
        self.named = {bare(name): name for name in base.stored}
        named = folder.config.get("target_parameters")
        self.asked = tuple(f".{bare(str(name))}" for name in named) if isinstance(named, list) else ()
        """Ends of the names of parameters that were adapted."""
        self.in_turn = False
        """Whether B of the experts has one after the other."""

    def pairs(self) -> list[Factors]:
        """What the adapter does to the stored matrices of the base."""
        pairs: list[Factors] = []
        heads: list[Factors] = []
        embeddings: list[Factors] = []
        layers = self._layers()
        self.in_turn = written_in_turn(self._stacks(layers))
        for (module, depth), layer in layers.items():
            if self.base.tied and bare(module) in _HEADS:
                heads.append(self._head(module, layer))
                continue
            made = list(self._of(module, depth, layer))
            pairs += made
            embeddings += made if "lora_embedding_A" in layer.tensors else []
        if self.base.tied:
            self._refuse_untied(embeddings, heads)
        return pairs

    def _stacks(self, layers: dict[Layer, _Layer]) -> Iterator[tuple[Floats, int]]:
        """B of every parameter that holds all experts of a layer, joined parts each for itself; and their number."""
        for (module, depth), layer in layers.items():
            parameter = self._parameter(module, depth, layer)
            targets = self.index.get((bare(module), parameter or "weight"), [])
            if targets and (count := self._experts(targets)) > 1:
                b, parts = self.read(layer, "lora_B"), targets[0][1].parts
                if b.shape[1] % count == 0 and len(b) % parts == 0:
                    yield from ((half, count) for half in np.split(b, parts))

    def _experts(self, targets: list[tuple[str, Place]]) -> int:
        """Of a parameter that is kept in these tensors: one for each, or all in one."""
        shape = self.base.stored[targets[0][0]].shape
        return shape[0] if len(shape) == 3 else 1 + max(place.expert or 0 for _, place in targets)

    def _head(self, module: str, layer: _Layer) -> Factors:
        a, b = self.read(layer, "lora_A"), self.read(layer, "lora_B")
        return Factors(module, a, b, scale=scale_of(self.folder.config, module, len(a)))

    def _refuse_untied(self, embeddings: list[Factors], heads: list[Factors]) -> None:
        """Where the head is the embedding, mlx-lm adapts both at once; PEFT adapts each by itself."""
        tied = bool(self.folder.config.get("ensure_weight_tying"))
        if (not heads and (tied or not embeddings)) or (heads and embeddings and _equal(embeddings[0], heads[0])):
            return
        named = " and ".join(pair.called for pair in embeddings + heads)
        how = "each in its own way" if heads and embeddings else "alone"
        raise AdapterError(
            f"adapter {self.folder.name} changes {named} {how}, and in {self.base.path.name} the output head is the "
            "embedding: here both change, in one way",
            hint=f"{MERGE}; or train without {named}",
        )

    def _layers(self) -> dict[Layer, _Layer]:
        layers: dict[Layer, _Layer] = {}
        for name in self.folder.tensors:
            if (match := _KEY.fullmatch(name)) is None:
                self._refuse_unless_unchanged(name)
                continue
            depth = match["depth"].count(".base_layer")
            leaf = match["leaf"].removesuffix(".weight")
            layers.setdefault((match["module"], depth), _Layer()).tensors[leaf] = name
        if not layers:
            raise AdapterError(f"adapter {self.folder.name} holds no LoRA tensors")
        for (module, depth), layer in layers.items():
            layer.wrappers = 1 + max(other for name, other in layers if name == module)
            kinds = {frozenset({"lora_A", "lora_B"}), frozenset({"lora_embedding_A", "lora_embedding_B"})}
            if frozenset(layer.tensors) - {"lora_magnitude_vector"} not in kinds:
                held = ", ".join(layer.tensors)
                raise AdapterError(f"adapter {self.folder.name} has only {held} of {module} ({depth})")
        return layers

    def _refuse_unless_unchanged(self, name: str) -> None:
        match = _UNCHANGED.fullmatch(name)
        there = self.named.get(f"{bare(match['tensor'])}.weight") if match else None
        if there is None or not self._same(name, there):
            raise AdapterError(
                f"adapter {self.folder.name} holds {name}: weights that were trained whole, beside LoRA",
                hint=MERGE,
            )

    def _same(self, ours: str, theirs: str) -> bool:
        one, other = self.folder.tensors[ours], self.base.stored[theirs]
        if one.shape != other.shape or other.dtype not in BYTES:
            return False
        # The adapter may keep them in another type than the base, rounded once more.
        return bool(np.allclose(floats.read(one), floats.read(other), rtol=2**-7, atol=1e-6))

    def read(self, layer: _Layer, leaf: str) -> Floats:
        return floats.read(self.folder.tensors[layer.tensors[leaf]])

    def _of(self, module: str, depth: int, layer: _Layer) -> Iterator[Factors]:
        embedding = "lora_embedding_A" in layer.tensors
        dora = "lora_magnitude_vector" in layer.tensors
        if embedding and dora:
            raise AdapterError(
                f"adapter {self.folder.name} has DoRA on the embedding {module}: PEFT scales columns, mlx-lm rows",
                hint=MERGE,
            )
        parameter = self._parameter(module, depth, layer)
        targets = self.index.get((bare(module), parameter or "weight"))
        if not targets:
            raise AdapterError(
                f"adapter {self.folder.name} adapts {module}{f'.{parameter}' if parameter else ''}, which the model "
                f"{self.base.path.name} does not have",
                hint="name the model that it was trained on: --base MODEL; what came in for it fits its quantised "
                "copies too",
            )
        if embedding:
            a, b = self.read(layer, "lora_embedding_B").T, self.read(layer, "lora_embedding_A").T
        else:
            a, b = self.read(layer, "lora_A"), self.read(layer, "lora_B")
        magnitude = self.read(layer, "lora_magnitude_vector").reshape(-1) if dora else None
        yield from self._placed(module, parameter, targets, a, b, magnitude)

    def _placed(
        self,
        module: str,
        parameter: str | None,
        targets: list[tuple[str, Place]],
        a: Floats,
        b: Floats,
        magnitude: Floats | None,
    ) -> Iterator[Factors]:
        """The pairs of one layer; a parameter may be kept in many tensors, or a tensor hold many matrices."""
        stacked = len(self.base.stored[targets[0][0]].shape) == 3
        count = self._experts(targets)
        if len(a) % count or b.shape[1] != len(a) or (magnitude is not None and len(magnitude) != len(b)):
            raise AdapterError(
                f"adapter {self.folder.name} has factors {a.shape} and {b.shape} for {module}, which are no pair"
                + (f" for {count} experts" if count > 1 else ""),
                hint="name the model that it was trained on: --base MODEL",
            )
        rank = len(a) // count
        leaf = parameter or ("weight" if f".{bare(module)}.weight".endswith(self.asked) else None)
        scale = scale_of(self.folder.config, f"{module}.{leaf}" if leaf else module, rank)
        lefts = by_expert(b, count, in_turn=self.in_turn)
        rights = a.reshape(count, rank, -1)
        for tensor, place in targets:
            numbers = range(count) if stacked else [place.expert or 0]
            for number in numbers:
                height = len(b) // place.parts
                rows = slice(place.part * height, (place.part + 1) * height)
                yield Factors(
                    tensor,
                    rights[number],
                    lefts[number, rows],
                    number if stacked else None,
                    scale,
                    None if magnitude is None else magnitude[rows],
                    f"{module}.{parameter}" if parameter else module,
                )

    def _parameter(self, module: str, depth: int, layer: _Layer) -> str | None:
        """Which parameter of a module a layer is on: of several, the last is outermost. None for its weight."""
        known = {parameter for name, parameter in self.index if name == bare(module) and parameter != "weight"}
        if not known or (bare(module), "weight") in self.index:
            return None
        asked = self.asked
        mine = [each for each in known if f".{bare(module)}.{each}".endswith(asked)] if asked else list(known)
        mine.sort(key=lambda each: each.startswith("down"))
        if len(mine) != layer.wrappers:
            raise AdapterError(
                f"adapter {self.folder.name} has {layer.wrappers} layers on {module}, and its target_parameters name "
                f"{', '.join(mine)}",
                hint="save it again with the PEFT that trained it",
            )
        return mine[len(mine) - 1 - depth]


def _equal(one: Factors, other: Factors) -> bool:
    """Whether two pairs add the same."""
    if one.b.shape[0] != other.b.shape[0] or one.a.shape[1] != other.a.shape[1]:
        return False
    return all(
        np.allclose(
            one.scale * one.b[first : first + _ROWS] @ one.a, other.scale * other.b[first : first + _ROWS] @ other.a,
            rtol=1e-3, atol=1e-6,
        )
        for first in range(0, len(one.b), _ROWS)
    )  # fmt: skip


def _index(base: Base) -> dict[tuple[str, str], list[tuple[str, Place]]]:
    """Stored tensors by the module and parameter that PEFT may call them: transformers' names, and their own."""
    index: dict[tuple[str, str], list[tuple[str, Place]]] = {}
    for tensor, about in base.stored.items():
        if len(about.shape) not in (2, 3):
            continue
        at = place_of(tensor, base.model_type)
        index.setdefault((bare(at.module), at.parameter or "weight"), []).append((tensor, at))
        module, _, leaf = tensor.rpartition(".")
        if leaf == "weight" and (own := (bare(module), "weight")) not in index:
            index[own] = [(tensor, Place(module))]
    return index
