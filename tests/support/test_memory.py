"""Messages of several backends say that memory ran out; others do not."""

from __future__ import annotations

import pytest

from droidft.support.memory import is_out_of_memory, is_watchdog


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[metal::malloc] Attempting to allocate 68719476736 bytes which is greater than the maximum"),
        RuntimeError("[malloc] Unable to allocate 1099511627776 bytes."),
        RuntimeError("Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"),
        RuntimeError("cudaMalloc failed: out of memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("cudaEventSynchronize failed: an illegal memory access was encountered"),
    ],
)
def test_each_backend_has_its_own_words(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_other_errors_are_no_lack_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("[matmul] shapes do not match"))


def test_the_watchdog_of_metal_is_no_lack_of_memory() -> None:
    error = RuntimeError(
        "[METAL] Command buffer execution failed: Impacting Interactivity "
        "(0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)."
    )
    assert is_watchdog(error)
    assert not is_out_of_memory(error)
    assert not is_watchdog(RuntimeError("out of memory"))
