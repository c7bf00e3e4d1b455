"""Adapter folders in mlx-lm's format: find, list, read. Nothing here needs mlx or writes to an adapter.

A folder holds `adapter_config.json` and any of `adapters.safetensors` (the latest), `best_adapters.safetensors`
and `0000025_adapters.safetensors`. Ours have a `droidft` section in the config that says which base model they
were trained on. What is damaged is refused with its reason; `diagnostics` warns of the rest.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from droidft.adapters.formats import refuse_other_formats
from droidft.errors import AdapterError, DroidError, NotFound
from droidft.support import stored
from droidft.support.names import NAME
from droidft.support.shapes import shape

Shape = tuple[int, ...]
Which = int | Literal["latest", "best"]
"""Which of a folder's weights: the latest, the best, or those of a step."""

CONFIG = "adapter_config.json"
LATEST = "adapters.safetensors"
BEST = "best_adapters.safetensors"
NUMBERED = re.compile(r"([0-9]{7,15})_adapters\.safetensors")
_LEAVES = ("lora_a", "lora_b", "m")

# Bits of the exponent: all of them set means NaN or infinity.
_EXPONENTS = {
    "F64": ("<u8", 0x7FF << 52),
    "F32": ("<u4", 0xFF << 23),
    "F16": ("<u2", 0x1F << 10),
    "BF16": ("<u2", 0xFF << 7),
}


MOST, MOST_SCALE = 2**31 - 1, 1e9
"""Of a rank or a number of layers, and of a scale: beyond them, weights of float32 overflow long before."""
OWNER = ".run"
"""File in an adapter folder that holds the id of the run it belongs to."""


@dataclass(frozen=True)
class AdapterInfo:
    """An adapter as its files describe it; the weights themselves stay on disk.

    `path` is the folder, `file` the weights chosen by `which`. `keys` is None where the config names none.
    `tensors` maps a full parameter name to its shape. `record` is our own section, empty for others' adapters.
    """

    name: str
    path: Path
    file: Path
    which: Which
    fine_tune_type: str
    num_layers: int
    rank: int | None
    scale: float | None
    dropout: float
    keys: tuple[str, ...] | None
    tensors: Mapping[str, Shape]
    base: str | None
    """Path or hub id of the base model it was trained on, if that was recorded."""
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def alpha(self) -> float | None:
        """Alpha in the paper's sense, scale x rank, whatever the training called alpha."""
        return None if self.scale is None or self.rank is None else self.scale * self.rank

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """Names of the adapted modules, inside their block where they are in one, in the file's order."""
        names = (_split(name)[1].rpartition(".")[0] for name in self.tensors)
        return tuple(dict.fromkeys(names))

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the blocks that the tensors adapt."""
        return tuple(sorted({block for name in self.tensors if (block := _split(name)[0]) is not None}))

    @cached_property
    def adapted(self) -> tuple[str, ...]:
        """Modules to be adapted: the config's keys, or the file's own where it names none or none that is there."""
        return self.keys if self.keys and set(self.keys) & set(self.modules) else self.modules

    @property
    def parameters(self) -> int:
        """Values in the chosen file."""
        return sum(math.prod(shape) for shape in self.tensors.values())

    @property
    def has_best(self) -> bool:
        """Whether the best weights of the run are here too."""
        return (self.path / BEST).exists()


@dataclass(frozen=True)
class Origin:
    """Where a new adapter comes from, recorded so that using it on another base is noticed."""

    model_path: Path
    fingerprint: Mapping[str, Any]
    """Hashes of the base model's configuration and weights."""
    data_format: str
    chat_template_sha256: str | None
    versions: Mapping[str, str]


@dataclass(frozen=True)
class AdapterSummary:
    """An adapter folder in a list; `info` is None where `problem` says why it cannot be used."""

    name: str
    path: Path
    info: AdapterInfo | None
    problem: str = ""


@shape
class AdapterEntry:
    """An adapter in the list; `problem` says why it cannot be used."""

    name: str
    problem: str
    fine_tune_type: str | None
    method: str | None
    rank: int | None
    alpha: float | None
    scale: float | None
    modules: list[str]
    blocks: int
    parameters: int
    base: str | None
    """Path or hub id of the model it was trained on."""
    run: str | None
    weights: list[str]
    """What may follow the `@`: latest, best, 200 …"""
    bytes: int


def entry(folder: Path, info: AdapterInfo | None, problem: str = "") -> AdapterEntry:
    """An adapter folder as the list shows it; `info` is None where `problem` says why it cannot be used."""
    record = info.record if info else {}
    files = {file.resolve() for file in folder.glob("*adapters.safetensors") if file.is_file()}
    bytes_ = 0
    for file in files:
        with suppress(OSError):  # removed just then
            bytes_ += file.stat().st_size
    return AdapterEntry(
        name=shown(folder),
        problem=problem,
        fine_tune_type=info.fine_tune_type if info else None,
        method=_text(record.get("method")),
        rank=info.rank if info else None,
        alpha=info.alpha if info else None,
        scale=info.scale if info else None,
        modules=list(info.modules) if info else [],
        blocks=len(info.layers) if info else 0,
        parameters=info.parameters if info else 0,
        base=info.base if info else None,
        run=_text(record.get("run")),
        weights=weights(folder),
        bytes=bytes_,
    )


def _text(value: Any) -> str | None:
    """A recorded value, if it is what it should be: others may have written the file."""
    return value if isinstance(value, str) else None


def find_adapter(ref: str, *, adapters_dir: Path) -> tuple[Path, Which]:
    """The folder and weights that `ref` means: a name below `adapters_dir` or a path, then `@best` or `@200`.

    Without an `@`, the weights of `usual`.

    Raises:
        NotFound: no such folder; the hint lists the nearest names.
        AdapterError: anything but `latest`, `best` or a step after the `@`.
    """
    name, at, chosen = ref.partition("@")
    which = parse_which(chosen) if at else None
    for folder in (adapters_dir / name, Path(name).expanduser()):
        if name and folder.is_dir():
            if folder.absolute().parent == adapters_dir.absolute():
                refuse_name(folder)
            return folder, usual(folder) if which is None else which
    known = (
        [entry.name for entry in sorted(adapters_dir.iterdir()) if entry.is_dir()] if adapters_dir.is_dir() else []
    )
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "`droidft adapters list` shows those here"
    raise NotFound(f"there is no adapter {name!r}", hint=hint)


def refuse_name(folder: Path) -> None:
    """The one rule for names of adapters in the home folder, listed and opened.

    Raises:
        AdapterError: the folder's name is none that an adapter can have.
    """
    if not NAME.fullmatch(folder.name):
        raise AdapterError(
            f"the adapter folder {shown(folder)!r} has a name that no adapter can have",
            hint="rename it: 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit",
        )


def usual(folder: Path) -> Which:
    """The weights that an adapter's bare name means, everywhere: the best evaluated ones, or else the latest."""
    return "best" if (folder / BEST).is_file() else "latest"


def parse_which(text: str) -> Which:
    """What stands after the `@`.

    Raises:
        AdapterError: neither `latest`, `best` nor a step.
    """
    if text == "latest":
        return "latest"
    if text == "best":
        return "best"
    if text.isascii() and text.isdigit():
        return int(text)
    raise AdapterError(f"{text!r} names no weights of an adapter", hint="write @latest, @best or a step such as @200")


def list_adapters(adapters_dir: Path) -> list[AdapterSummary]:
    """Every folder below `adapters_dir`, by name; weights are not read, only their headers."""
    folders = sorted(entry for entry in adapters_dir.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    # A folder that holds nothing but its owner's name belongs to a run that has not saved anything yet.
    return [_summary(folder) for folder in folders if _names(folder) != [OWNER]]


def _names(folder: Path) -> list[str]:
    """What is in a folder; nothing, where that cannot be known."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def read_adapter(path: Path, which: Which = "latest", *, check_values: bool = True) -> AdapterInfo:
    """Read the adapter folder `path`.

    `check_values` also reads every number and refuses NaN and infinity.

    Raises:
        NotFound: no such folder, or it lacks the weights that `which` asks for.
        AdapterError: config missing or meaningless; weights damaged, incomplete or not finite.
    """
    if not path.is_dir():
        raise NotFound(f"there is no adapter folder {path}")
    refuse_other_formats(path)
    config = _read_config(path)
    file = _weights(path, which)
    tensors = _read_header(file)
    info = _describe(path, file, which, config, tensors)
    if info.fine_tune_type != "full":
        _check_pairs(info)
    if check_values and (bad := non_finite(file)) is not None:
        raise AdapterError(
            f"{file.name} of adapter {path.name} holds {bad[1]} values that are NaN or infinite, in {bad[0]}",
            hint="the training had diverged: use an earlier checkpoint, or train with a lower learning rate",
        )
    return info


def weights(path: Path) -> list[str]:
    """Which weights the folder holds, as they may follow an `@`: latest, best, then steps."""
    named = [label for label, name in (("latest", LATEST), ("best", BEST)) if (path / name).is_file()]
    steps = (NUMBERED.fullmatch(name) for name in sorted(_names(path)))
    return [*named, *(str(int(match[1])) for match in steps if match)]


def _summary(folder: Path) -> AdapterSummary:
    try:
        refuse_name(folder)
        return AdapterSummary(shown(folder), folder, read_adapter(folder, check_values=False))
    except (DroidError, OSError) as error:
        return AdapterSummary(shown(folder), folder, None, str(error))


def _read_config(path: Path) -> dict[str, Any]:
    file = path / CONFIG
    if not os.path.lexists(file):
        raise AdapterError(
            f"adapter {shown(path)} has no {CONFIG}, so its rank, scale and layers are unknown",
            hint="copy it from where the adapter was trained; it lies beside the weights",
        )
    hint = "copy it from where the adapter was trained; it lies beside the weights"
    return stored.mapping(file, kind=AdapterError, hint=hint)


def owner_of(adapter: Path) -> str | None:
    """Id of the run that an adapter folder was made for; None where that is not known."""
    try:
        return stored.content(adapter / OWNER, most=1 << 10).decode("utf-8", "replace")
    except DroidError:
        return None


def shown(folder: Path) -> str:
    """The folder's name; bytes that are no UTF-8 are written as escapes."""
    return folder.name.encode("utf-8", "backslashreplace").decode()


def _weights(path: Path, which: Which) -> Path:
    name = {"latest": LATEST, "best": BEST}.get(str(which)) or f"{which:07}_adapters.safetensors"
    file = path / name
    if file.is_file():
        return file
    there = weights(path)
    raise NotFound(
        f"adapter {path.name} has no {name}",
        hint=f"it has {', '.join(f'@{label}' for label in there)}" if there else "it holds no weights at all",
    )


def _read_header(file: Path) -> dict[str, Shape]:
    """Names and shapes; the reference reader checks that the file is whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise AdapterError(
            f"{file.name} of adapter {file.parent.name} is damaged: {error}",
            hint="use another checkpoint of this adapter (`droidft adapters show`)",
        ) from error
    if not shapes:
        raise AdapterError(f"{file.name} of adapter {file.parent.name} holds no tensors")
    return shapes


def _describe(path: Path, file: Path, which: Which, config: dict[str, Any], tensors: dict[str, Shape]) -> AdapterInfo:
    name = path.name
    # Names of mlx-lm before 0.19: use_dora, lora_layers.
    kind = config.get("fine_tune_type") or ("dora" if config.get("use_dora") else "lora")
    if not isinstance(kind, str) or kind not in ("lora", "dora", "full"):
        raise AdapterError(f"{CONFIG} of {name} has fine_tune_type {_brief(kind)}; known are lora, dora and full")
    num_layers = config.get("num_layers", config.get("lora_layers", -1 if kind == "full" else None))
    if (
        isinstance(num_layers, bool)
        or not isinstance(num_layers, int)
        or num_layers == 0
        or not -1 <= num_layers <= MOST
    ):
        raise AdapterError(f"{CONFIG} of {name} has num_layers {_brief(num_layers)}, not -1 or a positive number")
    record = _section(config, "droidft")
    rank, scale, dropout, keys = (None, None, 0.0, None) if kind == "full" else _lora(name, config)
    recorded = config.get("model") or _section(record, "base").get("path")
    return AdapterInfo(
        name=name,
        path=path,
        file=file,
        which=which,
        fine_tune_type=kind,
        num_layers=num_layers,
        rank=rank,
        scale=scale,
        dropout=dropout,
        keys=keys,
        tensors=tensors,
        base=recorded if isinstance(recorded, str) and recorded else None,
        record=record,
    )


def _brief(value: Any) -> str:
    """A value of others as it may stand in a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _lora(name: str, config: dict[str, Any]) -> tuple[int, float, float, tuple[str, ...] | None]:
    parameters = config.get("lora_parameters")
    if not isinstance(parameters, dict):
        raise AdapterError(f"{CONFIG} of {name} has no lora_parameters", hint="it must give rank, scale and dropout")
    rank, scale, dropout = parameters.get("rank"), parameters.get("scale"), parameters.get("dropout", 0.0)
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= MOST:
        raise AdapterError(f"{CONFIG} of {name} has rank {_brief(rank)}, not a whole number from 1 to {MOST:,}")
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not abs(scale) <= MOST_SCALE:
        hint = "it has an alpha; mlx-lm's scale is alpha / rank" if "alpha" in parameters else ""
        reason = f"not a number up to {MOST_SCALE:g}"
        raise AdapterError(f"{CONFIG} of {name} has scale {_brief(scale)}, {reason}", hint=hint)
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise AdapterError(f"{CONFIG} of {name} has dropout {_brief(dropout)}, not a number from 0 to below 1")
    keys = parameters.get("keys")
    if keys is not None and not (isinstance(keys, list) and keys and all(isinstance(key, str) for key in keys)):
        raise AdapterError(f"{CONFIG} of {name} has keys {_brief(keys)}, not a list of module names")
    return rank, float(scale), float(dropout), None if keys is None else tuple(keys)


def _check_pairs(info: AdapterInfo) -> None:
    """Every adapted module has all its parts, and nothing else is in the file."""
    parts: dict[str, set[str]] = {}
    for name in info.tensors:
        module, _, leaf = name.rpartition(".")
        if leaf not in _LEAVES:
            raise AdapterError(f"{info.file.name} of {info.name} holds {name}, which is no part of an adapter")
        parts.setdefault(module, set()).add(leaf)
    needed = {"lora_a", "lora_b"} | ({"m"} if info.fine_tune_type == "dora" else set())
    for module, present in parts.items():
        if missing := sorted(needed - present):
            raise AdapterError(
                f"adapter {info.name} is incomplete: {module} lacks {', '.join(missing)}",
                hint="the file was cut or edited: use another checkpoint or train again",
            )
        if info.rank not in info.tensors[f"{module}.lora_a"]:
            shape = list(info.tensors[f"{module}.lora_a"])
            raise AdapterError(f"{module}.lora_a of {info.name} has shape {shape}, its config says rank {info.rank}")


def non_finite(file: Path) -> tuple[str, int] | None:
    """The first tensor of a safetensors file that holds NaN or infinity, and how many; None if every value is finite.

    Tensor by tensor on the raw bits, in whatever float type they are.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))  # checked by the reference reader
    header.pop("__metadata__", None)
    for name, tensor in header.items():
        if tensor["dtype"] not in _EXPONENTS:
            continue
        layout, mask = _EXPONENTS[tensor["dtype"]]
        start, end = tensor["data_offsets"]
        size = int(layout[2])
        bits = np.fromfile(file, dtype=layout, count=(end - start) // size, offset=8 + length + start)
        if bad := int(((bits & mask) == mask).sum()):
            return name, bad
    return None


def _split(name: str) -> tuple[int | None, str]:
    """Block number and the rest of `model.layers.3.mlp.up_proj.lora_a`; no number where there is no block."""
    parts = name.split(".")
    for index, part in enumerate(parts):
        if part.isdigit():
            return int(part), ".".join(parts[index + 1 :])
    return None, name
