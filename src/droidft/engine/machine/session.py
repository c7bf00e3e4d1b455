"""What a process that computes does first: the device made ready, the fused kernels in place."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from droidft.engine.machine import device
from droidft.engine.machine.device import Device, DeviceKind


@contextmanager
def computing(cache_dir: Path) -> Iterator[Device]:
    """MLX as fast as this machine allows, while the block lasts.

    Compiled kernels are kept in `cache_dir`. The device's `warnings` say what is slower than it need be.
    """
    machine = device.prepare(cache_dir)
    if machine.kind is not DeviceKind.CPU:
        yield machine
        return
    # Imports mlx_lm, which must see the device as `prepare` left it.
    from droidft.engine.machine import kernels

    library = machine.blas
    fused = kernels.load(
        cache_dir, blas=str(library.path) if library and library.path else "", threads=machine.threads
    )
    if isinstance(fused, kernels.Unavailable):
        warning = f"fused CPU kernels are not in use, training is slower: {fused.reason}"
        machine = replace(machine, warnings=[*machine.warnings, warning])
    else:
        machine = replace(machine, fused_kernels=True)
    with kernels.fast_cpu_ops(fused):
        yield machine


def release() -> None:
    """Give the memory of models that nothing refers to any more back to the system."""
    import mlx.core as mx

    gc.collect()
    mx.clear_cache()
