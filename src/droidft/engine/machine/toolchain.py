"""The C++ compiler that MLX's CPU backend calls, under the name of `g++`, for the kernels of `mx.compile`.

`install` puts our own `g++` first on the PATH of this process. It calls the compiler of this machine, adds
`-march=native`, and moves the finished library into place, so that two runs that compile the same kernel never
load each other's half-written file. The kernels go to a folder of the user's own, named after compiler and
processor; MLX's default is one folder for all users of the machine.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from droidft.engine.machine import host

NATIVE = "-march=native"
PROBE = '#include <cmath>\nextern "C" float droidft_probe(float x) { return std::exp(x); }\n'
ROOM_BYTES = 4 << 20
"""What a few kernels take, with all that a compiler writes on the way."""
PROBE_SECONDS = 300  # zig builds its C++ library when first used

WRAPPER = """#!/bin/sh
# Written by droidft. MLX calls `g++ ... -o FILE`; FILE appears only when it is complete.
previous= last=
for word in "$@"; do previous=$last; last=$word; done
if [ "$previous" != -o ]; then exec {command} "$@"; fi
{command} "$@" -o "$last.$$" && mv -f "$last.$$" "$last"
"""


def install(cache_dir: Path) -> str | None:
    """Make MLX's compiled kernels use the best compiler of this machine; its own are kept below `cache_dir`.

    Returns:
        The command that is called, or None when no compiler works: MLX then runs its kernels one by one.
    """
    tempfile.gettempdir()  # remembered by Python before TMPDIR, which only MLX is meant to see, is changed
    for command in _candidates():
        folder = cache_dir / "jit" / _key(command)
        try:
            if (folder / "bin" / "g++").exists() or _prepare(command, folder):
                _enter(folder)
                return shlex.join(command)
        except OSError:  # the cache cannot be written: MLX uses its own folder and g++
            return shlex.join(command) if command == [shutil.which("g++")] else None
    return None


def _candidates() -> Iterator[list[str]]:
    if own := os.environ.get("CXX"):
        yield shlex.split(own)
    for name in ("g++", "clang++", "c++"):
        # Ours, when this process inherited the PATH of one that called `install`, would call itself.
        path = shutil.which(name, path=os.pathsep.join(_foreign_path()))
        if path:
            yield [path]
    zig = importlib.util.find_spec("ziglang")
    for folder in (zig.submodule_search_locations or []) if zig else []:
        yield [str(Path(folder, "zig")), "c++"]


def _foreign_path() -> list[str]:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [folder for folder in folders if Path(folder).parent.parent.name != "jit"]


def _key(command: list[str]) -> str:
    """Changes with the compiler and the processor: what `-march=native` made for one may crash on another."""
    file = Path(shutil.which(command[0]) or command[0]).resolve()
    version = file.stat().st_mtime_ns if file.exists() else 0
    return hashlib.sha256(repr((command, str(file), version, sorted(host.cpu_flags()))).encode()).hexdigest()[:12]


def _prepare(command: list[str], folder: Path) -> bool:
    """Write the `g++` that calls `command` into `folder`, if what `command` compiles can be loaded."""
    (folder / "bin").mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        source = Path(work, "probe.cpp")
        source.write_text(PROBE, encoding="utf-8")
        for flags in ([NATIVE], []):
            if _compiles([*command, *flags], source):
                wrapper = Path(work, "g++")
                wrapper.write_text(WRAPPER.format(command=shlex.join([*command, *flags])), encoding="utf-8")
                wrapper.chmod(0o700)
                wrapper.replace(folder / "bin" / "g++")
                return True
    return False


def _compiles(command: list[str], source: Path) -> bool:
    library = source.with_suffix(".so")
    call = [*command, "-std=c++17", "-O3", "-fPIC", "-shared", str(source), "-o", str(library)]
    try:
        subprocess.run(call, check=True, capture_output=True, timeout=PROBE_SECONDS)
        return hasattr(ctypes.CDLL(str(library)), "droidft_probe")
    except (OSError, subprocess.SubprocessError):
        return False


def _enter(folder: Path) -> None:
    os.environ["PATH"] = os.pathsep.join([str(folder / "bin"), *_foreign_path()])
    os.environ["TMPDIR"] = str(folder if _has_room(folder) else _elsewhere(folder))


def _has_room(folder: Path) -> bool:
    """Whether kernels can be written to `folder`: MLX would fail in the middle of an answer."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return file.write(bytes(ROOM_BYTES)) == ROOM_BYTES
    except OSError:  # full or read-only
        return False


def _elsewhere(folder: Path) -> str:
    """A folder of this process alone, with the kernels that `folder` has; removed when the process ends."""
    place = tempfile.mkdtemp(prefix="droidft-jit-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    if (folder / "mlx").is_dir():
        shutil.copytree(folder / "mlx", Path(place, "mlx"), copy_function=os.symlink)
    return place
