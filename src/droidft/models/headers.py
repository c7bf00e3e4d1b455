"""What the headers of a model's weight files say, and whether two tensors hold the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from droidft.support.stamps import Stamp, stamps

_HEADS = ("lm_head.weight",)
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "tok_embeddings.weight")
_CHUNK = 1 << 24


@dataclass(frozen=True)
class Stored:
    """A tensor in a weight file: its type and shape, and where in the file its bytes are."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def tensors(*files: Path) -> dict[str, Stored]:
    """All tensors in weight files by name. The files have to be whole."""
    return {name: stored for file in files for name, stored in _header(file)}


def names(*files: Path) -> tuple[str, ...]:
    """Names of the tensors in weight files, without an output head that holds the same bytes as the embedding.

    The files have to be whole.
    """
    return _names(files, stamps(*files))


@lru_cache(maxsize=8)
def _names(files: tuple[Path, ...], stamp: tuple[Stamp, ...]) -> tuple[str, ...]:
    del stamp
    held = tensors(*files)
    head = next((name for name in held if name.endswith(_HEADS)), None)
    embedding = next((name for name in held if name.endswith(_EMBEDDINGS)), None)
    if head and embedding and _same(held[head], held[embedding]):
        del held[head]
    return tuple(held)


def _header(file: Path) -> Iterator[tuple[str, Stored]]:
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
    for name, about in header.items():
        if name != "__metadata__":
            start, end = about["data_offsets"]
            yield name, Stored(file, about["dtype"], tuple(about["shape"]), 8 + size + start, 8 + size + end)


def _same(one: Stored, other: Stored) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    with one.file.open("rb") as first, other.file.open("rb") as second:
        first.seek(one.start)
        second.seek(other.start)
        for left in range(one.end - one.start, 0, -_CHUNK):
            if first.read(min(left, _CHUNK)) != second.read(min(left, _CHUNK)):
                return False
    return True
