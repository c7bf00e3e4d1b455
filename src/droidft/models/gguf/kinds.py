"""Quantisations that a GGUF file can be written in: the type of each tensor, and its packing.

The mixtures of types are llama.cpp's (`llama-quant.cpp`): Q4_K_M and Q5_K_M give more bits to the values of attention
and to the second half of the feed-forward in the blocks that need them most, and to the output head. Vectors, norms
and routers stay in float32. K-quants pack rows of 256 values; where a row is no multiple of that, a type with blocks
of 32 takes its place, as in llama.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, LlamaFileType, quants
from gguf import GGMLQuantizationType as Type

from droidft.errors import ModelError
from droidft.models.gguf.layout import EMBEDDING, HEAD
from droidft.models.gguf.reader import Floats

_VALUES_AT_ONCE = 2**20
"""Values packed at a time: packing makes several copies of them."""
_FALLBACK = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0, Type.Q8_0: Type.F16}
K_QUANTS = (Type.Q4_K, Type.Q5_K, Type.Q6_K)
"""Types that the package libgguf packs."""
_MANY_EXPERTS = 8
_LARGEST_LLAMA = 80
"""Blocks of the Llamas with 70 billion parameters, eight of whose heads share their values."""


Pack = Callable[[str, Floats, Type], npt.NDArray[np.uint8]]
"""Packs a tensor, given its name, values and type, to bytes of `packed_shape`."""


@dataclass(frozen=True)
class _Kind:
    file_type: LlamaFileType
    default: Type
    mixed: bool = False
    """Whether some tensors have more bits."""


_KINDS = {
    "F32": _Kind(LlamaFileType.ALL_F32, Type.F32),
    "F16": _Kind(LlamaFileType.MOSTLY_F16, Type.F16),
    "BF16": _Kind(LlamaFileType.MOSTLY_BF16, Type.BF16),
    "Q8_0": _Kind(LlamaFileType.MOSTLY_Q8_0, Type.Q8_0),
    "Q6_K": _Kind(LlamaFileType.MOSTLY_Q6_K, Type.Q6_K),
    "Q5_K_M": _Kind(LlamaFileType.MOSTLY_Q5_K_M, Type.Q5_K, mixed=True),
    "Q4_K_M": _Kind(LlamaFileType.MOSTLY_Q4_K_M, Type.Q4_K, mixed=True),
}
KINDS = tuple(_KINDS)
"""Quantisations that can be written, the largest first."""


@dataclass(frozen=True)
class Sizes:
    """What of a model decides on the types of its tensors."""

    blocks: int
    experts: int
    grouped: bool
    """Whether several heads share keys and values."""


def file_type(kind: str) -> int:
    """`general.file_type` of a file of this quantisation."""
    return int(_of(kind).file_type)


def types(kind: str, shapes: Mapping[str, tuple[int, ...]], sizes: Sizes) -> tuple[dict[str, Type], list[str]]:
    """The type of each tensor, and the names of those whose rows do not fit the type that was meant for them.

    Raises:
        ModelError: an unknown quantisation.
    """
    made: dict[str, Type] = {}
    fallen: list[str] = []
    for name, shape in shapes.items():
        meant = _meant(_of(kind), name, shape, sizes, tied=HEAD not in shapes)
        made[name] = meant
        while shape[-1] % GGML_QUANT_SIZES[made[name]][0]:
            made[name] = _FALLBACK.get(made[name], Type.F16)
        if made[name] != meant:
            fallen.append(name)
    return made, fallen


def _of(kind: str) -> _Kind:
    if kind not in _KINDS:
        raise ModelError(f"there is no quantisation {kind!r}", hint=f"choose one of {', '.join(KINDS)}")
    return _KINDS[kind]


def _meant(kind: _Kind, name: str, shape: tuple[int, ...], sizes: Sizes, *, tied: bool) -> Type:
    if len(shape) < 2 or name.endswith(("norm.weight", "ffn_gate_inp.weight")):
        return Type.F32
    if kind.default not in K_QUANTS:
        return kind.default
    if name == HEAD or (name == EMBEDDING and tied):
        return Type.Q6_K if shape[-1] % GGML_QUANT_SIZES[kind.default][0] == 0 else Type.Q8_0
    part = name.split(".")[2] if name.startswith("blk.") else ""
    if sizes.experts == _MANY_EXPERTS and part in ("attn_k", "attn_v"):
        return Type.Q8_0
    return _mixed(kind, part, name, sizes) if kind.mixed else kind.default


def _mixed(kind: _Kind, part: str, name: str, sizes: Sizes) -> Type:
    more = _more_bits(int(name.split(".")[1]), sizes.blocks) if part else False
    if part == "attn_qkv":
        return {Type.Q4_K: Type.Q5_K, Type.Q5_K: Type.Q6_K}[kind.default]
    if part in ("attn_v", "ffn_down", "ffn_down_exps") and more:
        return Type.Q6_K
    if kind.default == Type.Q4_K:
        if part == "attn_v" and sizes.blocks == _LARGEST_LLAMA and sizes.grouped:
            return Type.Q5_K
        if part == "attn_output" and sizes.experts == _MANY_EXPERTS:
            return Type.Q5_K
    return kind.default


def _more_bits(block: int, blocks: int) -> bool:
    """The first and last eighth of the blocks, and every third between them."""
    eighth = blocks // 8
    return block < eighth or block >= 7 * blocks // 8 or (block - eighth) % 3 == 2


def packed_shape(shape: tuple[int, ...], kind: Type) -> tuple[int, ...]:
    """The shape in bytes of a packed tensor."""
    values, size = GGML_QUANT_SIZES[kind]
    return (*shape[:-1], shape[-1] // values * size)


def packer(kind: str) -> Pack:
    """What packs the tensors of a file of this quantisation.

    Raises:
        ModelError: the package that packs K-quants is not installed; when called: values that are not finite, or too
            large for float16.
    """
    if _of(kind).default in K_QUANTS:
        try:
            import libgguf  # noqa: F401
        except ImportError as error:
            raise ModelError(
                f"{kind} needs the package libgguf, which is not installed",
                hint="pip install 'droidft[gguf]', or choose Q8_0, which needs nothing",
            ) from error
    return _pack


def _pack(name: str, weight: Floats, kind: Type) -> npt.NDArray[np.uint8]:
    if not np.isfinite(weight).all():
        raise ModelError(f"{name} holds NaN or infinity", hint="the weights or the adapter are damaged")
    if kind == Type.F16 and (largest := float(np.abs(weight).max(initial=0.0))) > 65504:
        raise ModelError(f"{name} holds {largest:g}, beyond float16's 65504", hint="export it as BF16")
    if kind == Type.F32:
        return np.ascontiguousarray(weight, np.float32).view(np.uint8)
    rows = np.ascontiguousarray(weight, np.float32).reshape(-1, weight.shape[-1])
    step = max(1, _VALUES_AT_ONCE // rows.shape[-1])
    made = np.empty(packed_shape(rows.shape, kind), np.uint8)
    for start in range(0, len(rows), step):
        made[start : start + step] = _quantised(rows[start : start + step], kind)
    return made.reshape(packed_shape(weight.shape, kind))


def _quantised(rows: Floats, kind: Type) -> npt.NDArray[np.uint8]:
    if kind in K_QUANTS:
        import libgguf

        bytes_of_rows: Any = libgguf.quantize_rows(rows, int(kind))
        return np.asarray(bytes_of_rows, np.uint8).reshape(packed_shape(rows.shape, kind))
    return quants.quantize(rows, kind).view(np.uint8).reshape(packed_shape(rows.shape, kind))
