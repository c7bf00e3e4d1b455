"""Open a GGUF file: metadata as Python values, tensors dequantised one at a time.

Reading and dequantising are the `gguf` package's, by the makers of the format. Its reader trusts a file, so every
length is checked against the file before it is believed, and what it raises becomes an error that names the file.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType, ReaderField, quants

from droidft.errors import ModelError

Floats = npt.NDArray[np.float32]

MOST_VALUES = 2**22
"""Values that a header may hold: three times what the largest vocabularies need. Each takes about 200 bytes."""
_MOST_DIMENSIONS = 4
_VALUES_AT_ONCE = 2**22

# What the package's reader raises on bytes that make no sense.
_DAMAGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class Tensor:
    """One tensor as it is stored: `data` still lies on disk, packed; `shape` is that of its values, rows first."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    data: npt.NDArray[Any]


@dataclass(frozen=True)
class GgufFile:
    """An open GGUF file: its metadata and its tensors by name."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    types: Mapping[str, tuple[GGUFValueType, ...]] = field(default_factory=dict)
    """Of the values in `metadata`: one for a number or a text, `ARRAY` and that of its items for a list."""

    def load(self, name: str) -> Floats:
        """The tensor `name`, dequantised to float32 in its own shape.

        Raises:
            ModelError: no such tensor, or a type that cannot be dequantised.
        """
        if name not in self.tensors:
            raise ModelError(f"{self.path.name} has no tensor {name!r}", hint="the file is incomplete; get it again")
        self._check(self.tensors[name])
        # Scales of a damaged file may be infinite; whoever stores the weights looks for that.
        with np.errstate(all="ignore"):
            return _dequantised(self.tensors[name])

    def check_readable(self) -> None:
        """Refuse the file if any tensor is of a type that cannot be dequantised, or holds no rows.

        Raises:
            ModelError: names the tensor and its type.
        """
        for tensor in self.tensors.values():
            self._check(tensor)

    def _check(self, tensor: Tensor) -> None:
        if tensor.kind not in dequantised_types():
            raise ModelError(
                f"{self.path.name}: {tensor.name} is quantised as {tensor.kind.name}, which cannot be imported",
                hint=f"use a file in one of {', '.join(kind.name for kind in dequantised_types())}, "
                "or the model's safetensors folder",
            )
        if 0 in tensor.shape or not tensor.shape:
            raise ModelError(f"{self.path.name} is damaged: {tensor.name} has shape {tensor.shape}")


def read(path: Path) -> GgufFile:
    """Open `path` and read its header; tensor data stays on disk until `load`.

    Raises:
        ModelError: not a GGUF file, an unknown version, a damaged header, or a tensor beyond the end of the file.
    """
    _check_start(path)
    try:
        with np.errstate(all="ignore"):
            reader = _Bounded(path)
            if reader.byte_order == "S":
                raise ModelError(f"{path.name} is written in the other byte order", hint="use a little-endian file")
            metadata = {name: _value(field) for name, field in reader.fields.items() if not name.startswith("GGUF.")}
            types = {name: tuple(reader.fields[name].types) for name in metadata}
            shapes = [tuple(int(size) for size in reversed(tensor.shape)) for tensor in reader.tensors]
            tensors = {
                tensor.name: Tensor(tensor.name, shape, tensor.tensor_type, tensor.data)
                for tensor, shape in zip(reader.tensors, shapes, strict=True)
            }
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror or error}") from error
    except _DAMAGE as error:
        if GGMLQuantizationType.__name__ in str(error):
            raise ModelError(
                f"{path.name} holds a tensor of a type unknown to the installed gguf: {error}",
                hint="use a file in an older type, such as Q4_K_M, or the model's safetensors folder",
            ) from error
        raise ModelError(f"{path.name} is damaged: {error}", hint="download the file again") from error
    return GgufFile(path, metadata, tensors, types)


@functools.cache
def dequantised_types() -> tuple[GGMLQuantizationType, ...]:
    """Every tensor type whose values can be read, in ggml's order."""
    return tuple(kind for kind in GGMLQuantizationType if kind == GGMLQuantizationType.F64 or _is_dequantised(kind))


def _is_dequantised(kind: GGMLQuantizationType) -> bool:
    block = np.zeros((1, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    try:
        quants.dequantize(block, kind)
    except NotImplementedError:
        return False
    return True


def _check_start(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            start = stream.read(24)
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror or error}") from error
    if len(start) < 24:
        raise ModelError(f"{path.name} is too short to be a GGUF file")
    if start[:4] != b"GGUF":
        raise ModelError(f"{path.name} is not a GGUF file: it does not start with 'GGUF'")
    version = int.from_bytes(start[4:8], "little")
    # The lower half of the number is zero where the bytes are in the other order.
    if version not in (2, 3) and version & 0xFFFF:
        raise ModelError(f"{path.name} has GGUF version {version}; versions 2 and 3 can be read")


class _Bounded(GGUFReader):
    """The package's reader, kept inside the file: its own takes what lies beyond the end for empty and reads on."""

    values = 0

    def _get(
        self,
        offset: int,
        dtype: npt.DTypeLike,
        count: int = 1,
        override_order: Literal["I", "S", "<"] | None = None,
    ) -> npt.NDArray[Any]:
        kind = np.dtype(dtype).newbyteorder(override_order or self.byte_order)
        end = int(offset) + int(count) * kind.itemsize
        if end > self.data.size:
            raise ValueError(f"it is cut off, or asks for bytes up to {end} of {self.data.size}")
        if kind.itemsize == 8 and kind.kind == "u" and count > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor has {count} dimensions; at most {_MOST_DIMENSIONS} make sense")
        self.values += 1
        if self.values > MOST_VALUES:
            raise ValueError(f"its header holds more than {MOST_VALUES:,} values")
        return np.frombuffer(self.data, kind, int(count), int(offset))


def _value(field: ReaderField) -> Any:
    """A metadata field as a Python value: a number, a text, or a list of either."""
    is_text = field.types[-1] == GGUFValueType.STRING
    # Vocabularies may hold bytes that are no UTF-8; they must not stop the import.
    values = [
        field.parts[at].tobytes().decode("utf-8", errors="replace") if is_text else field.parts[at][0].item()
        for at in field.data
    ]
    return values if field.types[0] == GGUFValueType.ARRAY else values[0]


def _dequantised(tensor: Tensor) -> Floats:
    if tensor.kind == GGMLQuantizationType.F64:
        return tensor.data.astype(np.float32)
    # The package would hold the result twice; a group of rows at a time it does not.
    rows = tensor.data.reshape(-1, tensor.data.shape[-1])
    values = np.empty((len(rows), tensor.shape[-1]), dtype=np.float32)
    step = max(1, _VALUES_AT_ONCE // tensor.shape[-1])
    for start in range(0, len(rows), step):
        values[start : start + step] = quants.dequantize(rows[start : start + step], tensor.kind)
    return values.reshape(tensor.shape)
