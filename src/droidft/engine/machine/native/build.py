"""Compile the C++ kernels of this folder into one extension module, once per machine.

The file's name holds a hash of everything that decides its contents (sources, MLX, nanobind, compiler, processor), so
a stale one is never loaded. It is written under another name and moved into place: builds may run side by side.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from droidft.engine.machine import host

FOLDER = Path(__file__).parent
MODULE = "droidft_native"
KERNELS = ("pool", "product", "few", "frozen", "attention", "rows", "lora")
NODES = ("layers", "training", "bind")
COMMON = ("-std=c++20", "-fPIC", "-fvisibility=hidden", "-DNDEBUG")
TIMEOUT = 600.0  # seconds for one compiler call


class BuildError(Exception):
    """The extension cannot be built here; the message gives the reason and the fix."""


@dataclass(frozen=True)
class Toolchain:
    """Compiler, headers and libraries that the build uses."""

    compiler: list[str]
    compiler_version: str
    mlx: Path
    nanobind: Path
    python: Path
    processor: str

    def key(self) -> str:
        """Hash of everything that decides the built file."""
        parts = [
            self.compiler_version,
            self.processor,
            str(self.mlx),
            importlib.metadata.version("mlx"),
            importlib.metadata.version("nanobind"),
            sys.implementation.cache_tag,
            *(f"{p.name}\0{p.read_text(encoding='utf-8')}" for p in sources()),
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def sources() -> list[Path]:
    """The files whose contents decide the result, in a fixed order."""
    return sorted([*FOLDER.glob("*.cpp"), *FOLDER.glob("*.h"), Path(__file__)])


def build(cache_dir: Path) -> Path:
    """The extension for this machine, compiled into `cache_dir` (some ten seconds) unless it is there already.

    Raises:
        BuildError: something needed is missing, or the compiler failed.
    """
    tools = find_tools()
    target = cache_dir / f"{MODULE}-{tools.key()}.so"
    if target.exists():
        return target
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache_dir) as work:
        made = _compile(tools, Path(work))
        os.replace(made, target)
    return target


def find_tools() -> Toolchain:
    """Compiler, headers and libraries of this machine.

    Raises:
        BuildError: one of them is missing.
    """
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise BuildError(f"the kernels are for Linux on x86-64 and aarch64, not {sys.platform} {platform.machine()}")
    compiler = _compiler()
    python = Path(sysconfig.get_paths()["include"])
    if not (python / "Python.h").exists():
        raise BuildError(f"no Python.h in {python}; install Python's development headers")
    return Toolchain(
        compiler=compiler,
        compiler_version=_call([*compiler, "--version"]),
        mlx=_package("mlx.core").parent,
        nanobind=_package("nanobind"),
        python=python,
        processor=" ".join([platform.machine(), *sorted(host.cpu_flags())]),
    )


def _compiler() -> list[str]:
    """A C++ compiler with the standard library that MLX's wheels are built with."""
    named = shlex.split(os.environ.get("CXX", ""))
    compiler = next((c for c in (named, ["g++"], ["clang++"]) if c and shutil.which(c[0])), None)
    if compiler is None:
        raise BuildError("no C++ compiler; install g++")
    macros = _call([*compiler, "-std=c++20", "-x", "c++", "-include", "version", "-E", "-dM", "/dev/null"])
    if "__GLIBCXX__" not in macros:
        raise BuildError(f"{shlex.join(compiler)} uses a different C++ library from MLX's; install g++")
    return compiler


def _package(name: str) -> Path:
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise BuildError(f"the Python package {name.partition('.')[0]} is not installed")
    return Path(spec.origin).parent if name != "mlx.core" else Path(spec.origin)


def _compile(tools: Toolchain, work: Path) -> Path:
    native = "-march=native" if platform.machine() == "x86_64" else "-mcpu=native"
    # Not -ffast-math: NaN and infinity must come through.
    fast = ["-O3", native, "-fno-math-errno", "-fno-trapping-math"]
    bind = ["-O1", "-DNB_DOMAIN=mlx", f"-I{tools.python}", f"-I{tools.nanobind}/include"]
    jobs = {
        "nanobind": [*bind, f"-I{tools.nanobind}/ext/robin_map/include", f"{tools.nanobind}/src/nb_combined.cpp"],
        **{name: [*bind, f"-I{tools.mlx}/include", f"{FOLDER}/{name}.cpp"] for name in NODES},
        **{name: [*fast, f"{FOLDER}/{name}.cpp"] for name in KERNELS},
    }
    commands = [[*tools.compiler, *COMMON, *args, "-c", "-o", f"{work}/{name}.o"] for name, args in jobs.items()]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as executor:
        for _ in executor.map(_call, commands):
            pass
    library = tools.mlx / "lib"
    made = work / f"{MODULE}.so"
    objects = [f"{work}/{name}.o" for name in jobs]
    _call([*tools.compiler, "-shared", "-o", str(made), *objects, f"-L{library}", "-lmlx", f"-Wl,-rpath,{library}"])
    return made


def _call(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]} failed: {error}") from error
    if done.returncode != 0:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[-300:])
        raise BuildError(f"{command[0]} failed: {first}")
    return done.stdout
