"""Running out of memory, in the words of MLX, Metal, CUDA, C++ and Python."""

from __future__ import annotations

import re

_SIGNS = re.compile(r"out of ?memory|insufficient memory|metal::malloc|unable to allocate|bad_alloc", re.IGNORECASE)


def names_memory(text: str) -> bool:
    """Whether a message or a log says that memory ran out."""
    return _SIGNS.search(text) is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out."""
    return isinstance(error, MemoryError) or names_memory(str(error))
