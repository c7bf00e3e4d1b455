"""`droidft doctor`: what this machine has, what is missing, and how to mend it."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droidft.home import Home

if TYPE_CHECKING:
    from droidft.engine.blas import Blas
    from droidft.engine.device import Device

GIB = 2**30
LOW_MEMORY = 2 * GIB
LOW_DISK = 3 * GIB
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    value: str
    fix: str = ""
    """How to mend it; empty when nothing is wrong."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the form of the report."""
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the report; the status is 1 when something should be mended."""
    from droidft.engine import device, machine

    home = Home.find()
    writable = _home(home.root)
    with tempfile.TemporaryDirectory() as spare:
        cache = Path(spare) if writable.fix else home.cache
        found = device.prepare(cache)
        speed = device.measure_gflops()
        computing = [*_computing(found, speed), *_kernels(found, cache)]
        findings = [*computing, writable, *_storage(home.root), *_packages(machine.mlx_builds())]
    versions = machine.versions()
    if args.json:
        print(json.dumps(_as_json(found, speed, findings, versions), indent=2, ensure_ascii=False))
    else:
        _show(findings, versions)
    return 1 if any(finding.fix for finding in findings) else 0


def _computing(found: Device, speed: float) -> Iterator[Finding]:
    from droidft.engine import device

    yield Finding("device", f"{found.kind.value}: {found.name}, {found.memory_bytes / GIB:.1f} GiB")
    product = f"{speed:,.0f} GFLOP/s in float32"
    if found.blas is None:
        yield Finding("matrix products", product)
        return
    yield Finding("BLAS", f"{_library(found.blas)}: {product}", fix=device.blas_warning(found.blas) or "")
    yield Finding("C++ compiler", found.compiler or "none", fix="" if found.compiler else device.NO_COMPILER)


def _kernels(found: Device, cache: Path) -> Iterator[Finding]:
    from droidft.engine import device, kernels

    if found.blas is None:
        return
    loaded = kernels.load(cache, blas=found.blas.path, threads=found.threads)
    if isinstance(loaded, kernels.Kernels):
        yield Finding("fused kernels", f"on, threads: {loaded.threads}")
        return
    reason = loaded.reason.strip().splitlines()[0]
    cure = device.NO_COMPILER
    if found.compiler:
        cure = "training is slower without them; they need g++ and Python's headers (apt-get install g++ python3-dev)"
    yield Finding("fused kernels", f"off: {reason}", fix=cure)


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


def _storage(root: Path) -> Iterator[Finding]:
    from droidft.engine import machine

    memory, free = machine.memory(), machine.disk_free(root)
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


def _as_json(found: Device, speed: float, findings: list[Finding], versions: dict[str, str]) -> dict[str, Any]:
    return {
        "ok": not any(finding.fix for finding in findings),
        "device": found.as_dict(),
        "gflops": round(speed, 1),
        "findings": [asdict(finding) for finding in findings],
        "versions": versions,
    }


def _show(findings: list[Finding], versions: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row("[yellow]✗[/]" if finding.fix else "[green]✓[/]", finding.name, finding.value)
    table.add_row("", "versions", ", ".join(f"{name} {version}" for name, version in versions.items()))
    console.print(table)
    problems = [finding for finding in findings if finding.fix]
    console.print("\nNothing to mend." if not problems else "\nTo mend:")
    for problem in problems:
        console.print(f"  [bold]{problem.name}[/]: {problem.fix}")
