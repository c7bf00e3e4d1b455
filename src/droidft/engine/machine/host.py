"""What the machine has: memory, disk, processor, versions. Knows nothing of MLX."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGES = ("droidft", "mlx", "mlx-lm", "transformers", "tokenizers", "numpy")
MEMINFO = Path("/proc/meminfo")
CPUINFO = Path("/proc/cpuinfo")
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """Main memory in bytes; `available` is what a new process can get without swapping."""

    total: int
    available: int


def memory() -> Memory:
    """Main memory of this machine, or of this container where its limit is lower."""
    if sys.platform == "darwin":
        return parse_vm_stat(_output("vm_stat"), total=int(_output("sysctl", "-n", "hw.memsize")))
    found = parse_meminfo(MEMINFO.read_text())
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no such file, or `max`: no limit
        return found
    return Memory(min(found.total, limit), min(found.available, max(0, limit - used)))


def parse_meminfo(text: str) -> Memory:
    """Memory from Linux's `/proc/meminfo`."""
    fields = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return Memory(fields["MemTotal"], fields["MemAvailable"])


def parse_vm_stat(text: str, *, total: int) -> Memory:
    """Memory from macOS's `vm_stat`: free, inactive and speculative pages can be had."""
    size = re.search(r"page size of (\d+) bytes", text)
    pages = {name: int(count) for name, count in re.findall(r"^Pages ([\w ]+):\s+(\d+)\.$", text, re.MULTILINE)}
    available = sum(pages.get(name, 0) for name in ("free", "inactive", "speculative"))
    return Memory(total, available * int(size.group(1)) if size else 0)


def disk_free(path: Path) -> int:
    """Bytes that may still be written where `path` is, or where it would be made."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def processor() -> str:
    """The processor's name, as its maker gives it where the system tells."""
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string").strip()
    found = re.search(r"^model name\s*:\s*(.+)$", CPUINFO.read_text(), re.MULTILINE) if CPUINFO.exists() else None
    return found.group(1) if found else platform.machine()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a run computes; nothing is imported."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def mlx_builds() -> list[str]:
    """Installed MLX backends, such as `mlx-cpu` and `mlx-cuda-13`. Two of them overwrite each other's files."""
    names = {str(found.metadata["Name"]).lower() for found in metadata.distributions()}
    return sorted(name for name in names if name == "mlx-cpu" or name.startswith("mlx-cuda"))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _output(*command: str) -> str:
    environment = os.environ | {"LC_ALL": "C"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
