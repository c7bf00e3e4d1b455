"""What this machine has, what is missing, and how to fix it: the report of `droidft doctor` and of the server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droidft.engine.machine import device, host

if TYPE_CHECKING:
    from droidft.engine.machine.blas import Blas
    from droidft.engine.machine.device import Device

GIB = 2**30
LOW_MEMORY = 2 * GIB
LOW_DISK = 3 * GIB
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
NO_MLX = "install it again, see docs/install.md"
NO_CUDA = (
    "MLX's CUDA build needs a driver for its version of CUDA (580 or newer for CUDA 13) and no other libcuda.so, as "
    "in CUDA's folders `compat` and `stubs`, on LD_LIBRARY_PATH; see docs/install.md"
)


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    value: str
    fix: str = ""
    """How to fix it; empty if nothing is wrong."""


@dataclass(frozen=True)
class Report:
    """All findings."""

    findings: list[Finding]
    device: dict[str, Any]
    """A `Device`; empty when MLX cannot be loaded."""
    gflops: float
    versions: dict[str, str]

    @property
    def ok(self) -> bool:
        """Whether there is nothing to fix."""
        return not any(finding.fix for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "ok": self.ok,
            "device": self.device,
            "gflops": round(self.gflops, 1),
            "findings": [asdict(finding) for finding in self.findings],
            "versions": self.versions,
        }


def examine(root: Path) -> Report:
    """Look at the machine for the home folder `root`, whose `cache` keeps compiled kernels.

    Takes a second of computing, and longer where kernels have to be compiled first.
    """
    writable = _home(root)
    with tempfile.TemporaryDirectory() as spare:
        cache = Path(spare) if writable.fix else root / "cache"
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        machine, speed, computing = _mlx(cache)
    findings = [*computing, writable, *storage(root), *_packages(host.mlx_builds())]
    return Report(findings, machine, speed, host.versions())


def _mlx(cache: Path) -> tuple[dict[str, Any], float, list[Finding]]:
    """The device, its speed in GFLOP/s, and the findings about them."""
    try:
        machine = device.prepare(cache)
    except ImportError as error:  # a missing library or an unfit driver shows when MLX is loaded
        cuda = any("cuda" in build for build in host.mlx_builds())
        reason = f"MLX cannot be loaded: {error}"
        return {}, 0.0, [Finding("device", reason, fix=NO_CUDA if cuda else NO_MLX)]
    speed = device.measure_gflops()
    return machine.as_dict(), speed, [*_computing(machine, speed), *_kernels(machine, cache)]


def _computing(machine: Device, speed: float) -> Iterator[Finding]:
    yield Finding("device", f"{machine.kind.value}: {machine.name}, {machine.memory_bytes / GIB:.1f} GiB")
    product = f"{speed:,.0f} GFLOP/s in float32"
    if machine.blas is None:
        yield Finding("matrix products", product)
        return
    yield Finding("BLAS", f"{_library(machine.blas)}: {product}", fix=device.blas_warning(machine.blas) or "")
    yield Finding("C++ compiler", machine.compiler or "none", fix="" if machine.compiler else device.NO_COMPILER)


def _kernels(machine: Device, cache: Path) -> Iterator[Finding]:
    from droidft.engine.machine import kernels

    if machine.blas is None:
        return
    loaded = kernels.load(cache, blas=machine.blas.path, threads=machine.threads)
    if isinstance(loaded, kernels.Kernels):
        yield Finding("fused kernels", f"on, threads: {loaded.threads}")
        return
    reason = loaded.reason.strip().splitlines()[0]
    fix = device.NO_COMPILER
    if machine.compiler:
        fix = "training is slower without them; they need g++ and Python's headers (apt-get install g++ python3-dev)"
    yield Finding("fused kernels", f"off: {reason}", fix=fix)


def _library(library: Blas) -> str:
    words = [library.name, library.version, library.core, f"threads: {library.threads}"]
    return ", ".join(word for word in words if word)


def _home(root: Path) -> Finding:
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return Finding("home folder", str(root))
    except OSError as error:
        reason = f"{root} cannot be written: {error.strerror or error}"
        return Finding("home folder", reason, fix="set DROIDFT_HOME to a folder that you may write to")


def storage(root: Path) -> Iterator[Finding]:
    """Memory and disk as they are now."""
    memory, free = host.memory(), host.disk_free(root)
    few = f"less than {LOW_MEMORY / GIB:.0f} GiB is available: close other programs"
    shown = f"{memory.available / GIB:.1f} GiB available of {memory.total / GIB:.1f} GiB"
    yield Finding("memory", shown, fix=few if memory.available < LOW_MEMORY else "")
    full = f"less than {LOW_DISK / GIB:.0f} GiB is free: make room, or set DROIDFT_HOME to a folder on another disk"
    yield Finding("disk", f"{free / GIB:.1f} GiB free at {root}", fix=full if free < LOW_DISK else "")


def _packages(builds: list[str]) -> Iterator[Finding]:
    clash = "two of them overwrite each other: keep one, see docs/install.md" if len(builds) > 1 else ""
    yield Finding("MLX build", ", ".join(builds) or "default", fix=clash)
    offline = [name for name in OFFLINE_VARIABLES if os.environ.get(name, "").lower() in {"1", "true", "yes", "on"}]
    yield Finding("hub", f"offline ({', '.join(offline)} set)" if offline else "downloads allowed")
