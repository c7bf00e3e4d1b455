"""Floating point numbers in the types of weight files, as float32 and back, each rounded once to the nearest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from droidft.models.headers import Stored

Floats = NDArray[np.float32]

_AT_ONCE = 1 << 18
"""Values that are rounded together: what is worked on stays in the processor's cache."""
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Of a number, by the names that safetensors has for the types."""


def decoded(raw: bytes | bytearray | memoryview, dtype: str) -> Floats:
    """The numbers in `raw`, flat. Raises KeyError for a type that is none of `BYTES`."""
    return _DECODERS[dtype](raw)


def read(stored: Stored) -> Floats:
    """The numbers of a tensor in a weight file, in its shape. Raises as `decoded`."""
    with stored.file.open("rb") as stream:
        stream.seek(stored.start)
        return decoded(stream.read(stored.end - stored.start), stored.dtype).reshape(stored.shape)


def encoded(values: Floats, dtype: str) -> bytes:
    """`values` in the type `dtype`, rounded to the nearest, ties to even; what is too large becomes infinite."""
    return _ENCODERS[dtype](np.ascontiguousarray(values, dtype=np.float32))


def rounded(values: Floats, dtype: str) -> Floats:
    """What is left of `values` in the type `dtype`."""
    return decoded(encoded(values, dtype), dtype).reshape(values.shape)


def _from_bfloat16(raw: bytes | bytearray | memoryview) -> Floats:
    halves = np.frombuffer(raw, dtype="<u2")
    bits = np.empty(len(halves), dtype=np.uint32)
    np.left_shift(halves, 16, out=bits, dtype=np.uint32)
    return bits.view(np.float32)


def _to_bfloat16(values: Floats) -> bytes:
    bits = values.reshape(-1).view(np.uint32)
    made = np.empty(len(bits), dtype="<u2")
    for start in range(0, len(bits), _AT_ONCE):
        part = bits[start : start + _AT_ONCE]
        # Half a unit of the last place, less one where the place before is even: halves go to the even one.
        nearest = part >> 16
        nearest &= 1
        nearest += 0x7FFF
        nearest += part
        nearest >>= 16
        if (unknown := np.isnan(part.view(np.float32))).any():
            nearest[unknown] = (part[unknown] >> 16) | 0x40
        made[start : start + _AT_ONCE] = nearest
    return made.tobytes()


def _from(layout: str) -> Callable[[bytes | bytearray | memoryview], Floats]:
    return lambda raw: np.frombuffer(raw, dtype=layout).astype(np.float32)


def _to(layout: str) -> Callable[[Floats], bytes]:
    def encode(values: Floats) -> bytes:
        with np.errstate(over="ignore"):
            return values.astype(layout).tobytes()

    return encode


_DECODERS = {"F64": _from("<f8"), "F32": _from("<f4"), "F16": _from("<f2"), "BF16": _from_bfloat16}
_ENCODERS = {"F64": _to("<f8"), "F32": _to("<f4"), "F16": _to("<f2"), "BF16": _to_bfloat16}
