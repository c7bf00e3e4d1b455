"""Running out of memory, in the words of MLX, Metal, CUDA, C++ and Python."""

from __future__ import annotations

import re

LESS_MEMORY = (
    "lower batch_size (raise grad_accumulation_steps to match), max_seq_length or lora_rank, or set grad_checkpoint"
)
"""How a run needs less memory."""
RESUME_WITH_LESS = f"free memory and resume the run; or start a new one with less: {LESS_MEMORY}"
"""What to do about a run that memory ran out on: none of these settings can change when it is resumed."""
# On CUDA a lack of memory may show as an illegal access (mlx issue 2821).
_SIGNS = re.compile(
    r"out of ?memory|insufficient memory|metal::malloc|unable to allocate|bad_alloc|illegal memory access",
    re.IGNORECASE,
)
_WATCHDOG = re.compile(r"ImpactingInteractivity|kIOGPUCommandBufferCallbackErrorTimeout", re.IGNORECASE)


def names_memory(text: str) -> bool:
    """Whether a message or a log says that memory ran out."""
    return _SIGNS.search(text) is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out."""
    return isinstance(error, MemoryError) or names_memory(str(error))


def is_watchdog(error: BaseException) -> bool:
    """Whether macOS ended the work on the GPU, since it kept the screen from being drawn for too long."""
    return _WATCHDOG.search(str(error)) is not None
