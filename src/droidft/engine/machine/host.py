"""What the machine has: memory, disk, processor, versions; without MLX."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = ("droidft", "mlx", "mlx-lm", "transformers", "tokenizers", "numpy")
CPUINFO = Path("/proc/cpuinfo")
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """Main memory in bytes; `available` is what a new process can get without swapping."""

    total: int
    available: int


def memory() -> Memory:
    """Main memory of this machine, or of this container where its limit is lower."""
    machine = psutil.virtual_memory()
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no such file, or `max`: no limit
        return Memory(machine.total, machine.available)
    return Memory(min(machine.total, limit), min(machine.available, max(0, limit - used)))


def disk_free(path: Path) -> int:
    """Bytes that may still be written where `path` is, or where it would be made."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def processor() -> str:
    """The processor's name as its maker gives it, where the system knows it; else its architecture."""
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string").strip()
    return _cpuinfo().get("model name") or platform.machine()


def cpu_flags() -> set[str]:
    """The processor's instruction sets, by Linux's names; empty on other systems."""
    return set((_cpuinfo().get("flags") or _cpuinfo().get("Features") or "").split())  # x86 and ARM


def threads() -> int:
    """Processors that this process may use: its affinity, within a container's quota, which libraries do not see."""
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return max(1, min(allowed, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or `max`: no quota
        return allowed


def peak_rss() -> int:
    """Largest resident set of this process so far, in bytes. psutil has no such number."""
    if sys.platform == "linux":
        # Not getrusage: there a process that was started by a larger one begins with the larger one's peak.
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        if peak:
            return int(peak[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a run computes; nothing is imported."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def mlx_builds() -> list[str]:
    """Installed MLX backends, such as `mlx-cpu` and `mlx-cuda-13`. Two of them overwrite each other's files."""
    names = {str(package.metadata["Name"]).lower() for package in metadata.distributions()}
    return sorted(name for name in names if name == "mlx-cpu" or name.startswith("mlx-cuda"))


@lru_cache(maxsize=1)
def _cpuinfo() -> dict[str, str]:
    """Linux's facts about the first processor; empty on other systems."""
    try:
        first = CPUINFO.read_text().split("\n\n")[0]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _output(*command: str) -> str:
    environment = os.environ | {"LC_ALL": "C"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
