"""Read a GGUF file: metadata and tensors, with every length checked against the file before it is believed.

The layout is the one of ggml's `docs/gguf.md` (versions 2 and 3). Tensors come out as float32 numpy arrays;
nothing here knows of models, and nothing needs mlx, whose own reader ends the process on a damaged file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.errors import ModelError

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

QUANT_NAMES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MAX_DIMENSIONS = 4


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies.

    `shape` is in numpy's order (rows first), `offset` in bytes from the start of the file.
    """

    name: str
    shape: tuple[int, ...]
    quant: str
    offset: int


@dataclass(frozen=True)
class GgufFile:
    """An open GGUF file: its metadata, its tensors by name, and the bytes."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    _bytes: Bytes

    def load(self, name: str) -> Floats:
        """The tensor `name`, dequantised to float32 in its own shape.

        Raises:
            ModelError: no such tensor, or a quantisation that cannot be read.
        """
        if name not in self.tensors:
            raise ModelError(f"{self.path.name} has no tensor {name!r}", hint="the file is incomplete; get it again")
        tensor = self.tensors[name]
        block, size, decode = _decoder(tensor, self.path)
        blocks = math.prod(tensor.shape) // block
        raw = self._bytes[tensor.offset : tensor.offset + blocks * size].reshape(blocks, size)
        # Scales of a damaged file may be infinite; whoever stores the weights looks for that.
        with np.errstate(all="ignore"):
            return decode(raw).reshape(tensor.shape)

    def check_readable(self) -> None:
        """Refuse the file if any tensor has a quantisation that cannot be read, or lies outside the file.

        Raises:
            ModelError: names the tensor and its type.
        """
        for tensor in self.tensors.values():
            block, size, _ = _decoder(tensor, self.path)
            if not tensor.shape or tensor.shape[-1] % block:
                raise ModelError(f"{self.path.name}: {tensor.name} has shape {tensor.shape}, not blocks of {block}")
            end = tensor.offset + math.prod(tensor.shape) // block * size
            if end > self._bytes.size:
                raise ModelError(
                    f"{self.path.name} is cut off: {tensor.name} ends at byte {end} of {self._bytes.size}",
                    hint="download the file again",
                )


def read(path: Path) -> GgufFile:
    """Open `path` and read its header; tensor data stays on disk until `load`.

    Raises:
        ModelError: not a GGUF file, an unknown version, or a damaged header.
    """
    if path.stat().st_size < 24:
        raise ModelError(f"{path.name} is too short to be a GGUF file")
    data: Bytes = np.memmap(path, dtype=np.uint8, mode="r")
    cursor = _Cursor(data, path.name)
    if cursor.take(4) != b"GGUF":
        raise ModelError(f"{path.name} is not a GGUF file: it does not start with 'GGUF'")
    version = cursor.number("<I")
    if version not in (2, 3):
        raise ModelError(f"{path.name} has GGUF version {version}; versions 2 and 3 can be read")
    tensor_count, metadata_count = cursor.number("<Q"), cursor.number("<Q")
    metadata = dict(cursor.entry() for _ in range(metadata_count))
    found = [cursor.tensor() for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ModelError(f"{path.name}: general.alignment is {alignment!r}, not a number of bytes")
    start = -(-cursor.position // alignment) * alignment
    tensors = {t.name: Tensor(t.name, t.shape, t.quant, start + t.offset) for t in found}
    if len(tensors) != tensor_count:
        raise ModelError(f"{path.name} names a tensor twice")
    return GgufFile(path, metadata, tensors, data)


class _Cursor:
    """Reads values one after another and refuses to run past the end."""

    def __init__(self, data: Bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.position = 0

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > self.data.size:
            raise ModelError(
                f"{self.name} is damaged: its header asks for {count} bytes at {self.position} of {self.data.size}",
                hint="download the file again",
            )
        piece = self.data[self.position : end].tobytes()
        self.position = end
        return piece

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def string(self) -> str:
        # Vocabularies may hold bytes that are no UTF-8; they must not stop the import.
        return self.take(self.number("<Q")).decode("utf-8", errors="replace")

    def entry(self) -> tuple[str, Any]:
        key = self.string()
        return key, self.value(self.number("<I"))

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array(self.number("<I"), self.number("<Q"))
        if kind not in _SCALARS:
            raise ModelError(f"{self.name} is damaged: unknown metadata type {kind} at byte {self.position}")
        return self.number(_SCALARS[kind])

    def array(self, kind: int, count: int) -> list[Any]:
        if kind == _STRING:
            if count > (self.data.size - self.position) // 8:
                raise ModelError(f"{self.name} is damaged: a list of {count} strings does not fit in the file")
            return [self.string() for _ in range(count)]
        if kind not in _SCALARS:
            raise ModelError(f"{self.name} is damaged: a list of metadata type {kind} at byte {self.position}")
        layout = _SCALARS[kind]
        raw = self.take(count * struct.calcsize(layout))
        return [value for (value,) in struct.iter_unpack(layout, raw)]

    def tensor(self) -> Tensor:
        name = self.string()
        dimensions = self.number("<I")
        if dimensions > _MAX_DIMENSIONS:
            raise ModelError(f"{self.name} is damaged: tensor {name!r} has {dimensions} dimensions")
        # GGUF writes the fastest dimension first.
        shape = tuple(self.number("<Q") for _ in range(dimensions))[::-1]
        kind = self.number("<I")
        return Tensor(name, shape, QUANT_NAMES.get(kind, f"type {kind}"), self.number("<Q"))


def _scale(raw: Bytes, at: int) -> Floats:
    """The float16 at byte `at` of every block: (blocks, 1)."""
    return np.ascontiguousarray(raw[:, at : at + 2]).view(np.float16).astype(np.float32)


def _nibbles(raw: Bytes) -> Floats:
    """Low halves of the bytes, then high halves: (blocks, n) -> (blocks, 2n)."""
    return np.concatenate([raw & 0x0F, raw >> 4], axis=1).astype(np.float32)


def _f32(raw: Bytes) -> Floats:
    return raw.copy().view(np.float32)


def _f16(raw: Bytes) -> Floats:
    return raw.copy().view(np.float16).astype(np.float32)


def _bf16(raw: Bytes) -> Floats:
    return (raw.copy().view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _q4_0(raw: Bytes) -> Floats:
    return _scale(raw, 0) * (_nibbles(raw[:, 2:]) - 8)


def _q4_1(raw: Bytes) -> Floats:
    return _scale(raw, 0) * _nibbles(raw[:, 4:]) + _scale(raw, 2)


def _q8_0(raw: Bytes) -> Floats:
    return _scale(raw, 0) * raw[:, 2:].view(np.int8).astype(np.float32)


def _q6_k(raw: Bytes) -> Floats:
    """256 values: 128 bytes of low nibbles, 64 of high bit pairs, 16 int8 scales, one float16 factor."""
    count = len(raw)
    low = raw[:, :128].reshape(count, 2, 2, 32)
    low = np.concatenate([low & 0x0F, low >> 4], axis=2)
    pairs = raw[:, 128:192].reshape(count, 2, 1, 32)
    high = (pairs >> np.array([0, 2, 4, 6], dtype=np.uint8).reshape(4, 1)) & 3
    values = (low | (high << 4)).astype(np.float32) - 32
    scales = raw[:, 192:208].view(np.int8).astype(np.float32).reshape(count, 2, 4, 2).repeat(16, axis=-1)
    product: Floats = (values * scales).reshape(count, 256) * _scale(raw, 208)
    return product


_DECODERS: dict[str, tuple[int, int, Callable[[Bytes], Floats]]] = {
    "F32": (1, 4, _f32),
    "F16": (1, 2, _f16),
    "BF16": (1, 2, _bf16),
    "Q4_0": (32, 18, _q4_0),
    "Q4_1": (32, 20, _q4_1),
    "Q8_0": (32, 34, _q8_0),
    # llama.cpp keeps the output layer of its Q4_0 files in Q6_K.
    "Q6_K": (256, 210, _q6_k),
}
"""Type -> values in a block, bytes in a block, how to read blocks (n, bytes) -> (n, values)."""


def _decoder(tensor: Tensor, path: Path) -> tuple[int, int, Callable[[Bytes], Floats]]:
    if tensor.quant not in _DECODERS:
        raise ModelError(
            f"{path.name}: {tensor.name} is quantised as {tensor.quant}, which cannot be imported",
            hint=f"use a file in one of {', '.join(_DECODERS)}, or the model's safetensors folder",
        )
    return _DECODERS[tensor.quant]
