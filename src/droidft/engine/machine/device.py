"""Metal, CUDA or CPU: makes MLX ready in this process, and describes what it runs on.

Every process that computes (worker, chat, tests, bench) does so inside `computing`. Metal and CUDA need no
preparation. On a Linux CPU `prepare` gives MLX a fast BLAS (`blas.py`) and a C++ compiler (`toolchain.py`), and keeps
glibc from returning memory to the system after every operation; `computing` then puts the fused kernels in place.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from droidft.engine.machine import blas, host, toolchain
from droidft.engine.machine.limits import limits

# mallopt(3): blocks below 32 MiB, the most that glibc allows, come from the heap, and up to 512 MiB of free heap
# are kept. Otherwise each activation is mapped, cleared by the kernel and unmapped again, about 5 % of a step.
M_TRIM_THRESHOLD, TRIM_BYTES = -1, 512 * 2**20
M_MMAP_THRESHOLD, MMAP_BYTES = -3, 32 * 2**20

KERNELS = "DROIDFT_KERNELS"
"""Variable of the environment: `off` leaves a CPU to plain MLX, as on a GPU."""

NO_FAST_BLAS = (
    "MLX computes with its reference BLAS, up to 100 times slower than this machine can; "
    "install one with `pip install scipy-openblas32` (or `apt-get install libopenblas0-pthread`)"
)
NO_COMPILER = (
    "no C++ compiler: MLX runs its kernels unfused and training is slower; "
    "install one with `apt-get install g++` or `pip install ziglang`"
)


class DeviceKind(StrEnum):
    """What MLX computes on."""

    CPU = "cpu"
    METAL = "metal"
    CUDA = "cuda"


@dataclass(frozen=True)
class Device:
    """What MLX computes on in this process, and with what."""

    kind: DeviceKind
    name: str
    memory_bytes: int
    """Memory for weights and activations: the GPU's own, or the machine's."""
    threads: int
    blas: blas.Blas | None = None
    """Only on a CPU under Linux; elsewhere MLX brings its own products."""
    compiler: str | None = None
    """The command behind MLX's `g++`; only on a CPU under Linux."""
    fused_kernels: bool = False
    """Whether `kernels.py` is in place; only on a CPU."""
    warnings: list[str] = field(default_factory=list)
    """What is slower than it could be, each with its fix."""

    def identity(self) -> dict[str, str]:
        """What decides the last bits of a result on this machine, for comparison when a run is resumed."""
        blas = f"{self.blas.name} {self.blas.version} {self.blas.core}".strip() if self.blas else "built in"
        identity = {
            "device": f"{self.kind} {self.name}",
            "blas": f"{blas}, {self.threads} threads",
            "kernels": "fused" if self.fused_kernels else "plain",
        }
        if self.kind is not DeviceKind.CPU:
            # Matrix units that shorten float32; MLX uses them unless told not to.
            identity["tf32"] = "off" if os.environ.get("MLX_ENABLE_TF32") == "0" else "on"
        return identity

    def free_bytes(self) -> int:
        """Memory that is still free, where MLX computes."""
        if self.kind is DeviceKind.CPU:
            return host.memory().available
        import mlx.core as mx

        return max(0, self.memory_bytes - mx.get_active_memory())

    def as_dict(self) -> dict[str, Any]:
        """As recorded with a run."""
        return asdict(self) | {"kind": self.kind.value}


@contextmanager
def computing(cache_dir: Path) -> Iterator[Device]:
    """MLX as fast as this machine allows, while the block lasts.

    Compiled kernels are kept in `cache_dir`. The device's `warnings` name what is slower than it could be.
    """
    machine = prepare(cache_dir)
    if machine.kind is not DeviceKind.CPU or os.environ.get(KERNELS) == "off":
        yield machine
        return
    # Imports mlx_lm, which must see the device as `prepare` left it.
    from droidft.engine.machine import kernels

    fused = kernels.load(cache_dir, blas=machine.blas.path if machine.blas else "", threads=machine.threads)
    if isinstance(fused, kernels.Unavailable):
        warning = f"fused CPU kernels are not in use, training is slower: {fused.reason}"
        machine = replace(machine, warnings=[*machine.warnings, warning])
    else:
        machine = replace(machine, fused_kernels=True)
    with kernels.fast_cpu_ops(fused):
        yield machine


def release() -> None:
    """Return the memory of models that nothing refers to any more to the system."""
    import mlx.core as mx

    gc.collect()
    mx.clear_cache()


_prepared: Device | None = None


def prepare(cache_dir: Path) -> Device:
    """Import MLX and make it fast on this machine; further calls return the device of the first.

    Args:
        cache_dir: where compiled kernels are kept, between runs; made if missing.
    """
    global _prepared
    if _prepared is None:
        _prepared = _prepare(cache_dir)
    return _prepared


def measure_gflops(seconds: float = 0.3) -> float:
    """Speed of MLX's float32 matrix product as it is now, the best of some `seconds` of trials.

    The shape is that of a small model's MLP on 1,024 tokens (2,048 on a GPU); at least one product is computed.

    Returns:
        10⁹ floating-point operations per second.
    """
    import mlx.core as mx

    scale = 1 if mx.default_device() == mx.Device(mx.cpu) else 4
    rows, inner, columns = 1024 * scale, 576 * scale, 1536 * scale
    left, right = mx.random.normal((rows, inner)), mx.random.normal((inner, columns))
    mx.eval(left, right, left[:8, :8] @ right[:8, :8])  # the small product starts the library's threads
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        mx.eval(left @ right)
        best = min(best, time.perf_counter() - start)
    return 2 * rows * inner * columns / best / 1e9


def _prepare(cache_dir: Path) -> Device:
    _set_up_cuda(cache_dir)
    import mlx.core as mx

    if mx.metal.is_available() or mx.cuda.is_available():
        return _gpu()
    if sys.platform != "linux":
        return Device(DeviceKind.CPU, host.processor(), host.memory().total, os.cpu_count() or 1)
    keep_memory()
    library = blas.install(blas.libmlx())
    compiler = toolchain.install(cache_dir)
    warnings = [blas_warning(library), None if compiler else NO_COMPILER]
    return Device(
        DeviceKind.CPU,
        host.processor(),
        host.memory().total,
        library.threads,
        library,
        compiler,
        warnings=[warning for warning in warnings if warning],
    )


def _set_up_cuda(cache_dir: Path) -> None:
    """What MLX's CUDA backend reads from the environment when it starts; what the user set stays."""
    # One plan of cuDNN for each shape: past twice the cache's size in misses MLX would end the process.
    os.environ.setdefault("MLX_ENABLE_CACHE_THRASHING_CHECK", "0")
    os.environ.setdefault("MLX_PTX_CACHE_DIR", str(cache_dir / "ptx"))


def blas_warning(library: blas.Blas) -> str | None:
    """Why matrix products are slower than they could be, and the fix; None if they are not."""
    if library.fast:
        return blas.core_warning(library)
    if choice := os.environ.get("DROIDFT_BLAS"):
        return f"DROIDFT_BLAS={choice} gives MLX no fast BLAS, and products up to 100 times slower; unset it"
    return NO_FAST_BLAS


def _gpu() -> Device:
    import mlx.core as mx

    kind = DeviceKind.METAL if mx.metal.is_available() else DeviceKind.CUDA
    facts = mx.device_info(mx.Device(mx.gpu))
    memory = facts.get("max_recommended_working_set_size") or facts.get("total_memory") or host.memory().total
    limits(int(memory), os.environ).apply(metal=kind is DeviceKind.METAL)
    name = str(facts.get("device_name", kind.value))
    return Device(kind, name, int(memory), os.cpu_count() or 1)


def keep_memory() -> bool:
    """Let glibc reuse freed memory instead of returning it; peak memory stays the same.

    Returns:
        Whether it was changed: not under another C library, nor where the user set glibc's own variables.
    """
    own = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"}
    libc = ctypes.CDLL(None)
    if own & os.environ.keys() or not hasattr(libc, "mallopt"):
        return False
    return bool(libc.mallopt(M_MMAP_THRESHOLD, MMAP_BYTES) and libc.mallopt(M_TRIM_THRESHOLD, TRIM_BYTES))
