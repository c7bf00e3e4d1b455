"""A fast BLAS for MLX on a Linux CPU.

MLX's Linux wheels carry the reference BLAS, about a hundred times slower than OpenBLAS. `libmlx.so` reaches
`cblas_sgemm` and its kin through its jump table, as every shared library does; `redirect` writes the addresses
of a fast library there. Nothing is compiled, nothing becomes visible to other libraries, and it works whether
or not mlx was imported before. See docs/decisions/0002-fast-blas.md.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from droidft.engine.machine import host

PRODUCTS = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm")
SYSTEM_LIBRARIES = ("libopenblas.so.0", "libmkl_rt.so.2", "libblis.so.4")
JUMP_SLOT = {"x86_64": 7, "aarch64": 1026}
AVX512 = {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
AVX512_CORES = {"skylakex", "cooperlake", "sapphirerapids"}

# Tags of an ELF dynamic section and the size of its entries (System V ABI, 64 bits).
_DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_JMPREL = 2, 5, 6, 23
_DYN_SIZE, _RELA_SIZE, _SYM_SIZE = 16, 24, 24
_RTLD_DI_LINKMAP = 2


@dataclass(frozen=True)
class Blas:
    """The library that multiplies MLX's matrices."""

    name: str
    version: str = ""
    core: str = ""
    """The processor family whose kernels OpenBLAS chose."""
    path: str = ""
    threads: int = 0
    fast: bool = True


REFERENCE = Blas(name="reference BLAS bundled with MLX", threads=1, fast=False)


class _LinkMap(ctypes.Structure):
    _fields_ = (("base", ctypes.c_size_t), ("name", ctypes.c_char_p), ("dynamic", ctypes.c_size_t))


def install(libmlx: Path) -> Blas:
    """Give the `libmlx.so` of this process the fastest BLAS on this machine.

    `DROIDFT_BLAS` names a library to use instead, or `none`; one that the user preloaded is left alone.

    Returns:
        What MLX now uses: `REFERENCE` if there is nothing faster, or this system is not supported.
    """
    choice = os.environ.get("DROIDFT_BLAS", "")
    if choice == "none" or platform.machine() not in JUMP_SLOT or sys.maxsize <= 2**32:
        return REFERENCE
    if preloaded := _preloaded():
        return preloaded
    for path, prefix in [(choice, "")] if choice else _candidates():
        library = _open(path)
        products = {name: _address(library, prefix + name) for name in PRODUCTS} if library else {}
        if library and all(products.values()) and redirect(libmlx, products):
            return _describe(library, prefix)
    return REFERENCE


def core_warning(blas: Blas) -> str | None:
    """Why OpenBLAS runs below this processor's speed, if it does: half of it is lost without AVX-512."""
    if not blas.core or blas.core.lower() in AVX512_CORES or not host.cpu_flags() >= AVX512:
        return None
    chosen = os.environ.get("OPENBLAS_CORETYPE")
    cause = f"OPENBLAS_CORETYPE={chosen} is set" if chosen else "OpenBLAS does not know this processor"
    fix = "unset it" if chosen else "set OPENBLAS_CORETYPE=SKYLAKEX"
    return f"{cause}: matrix products use {blas.core} kernels and not AVX-512, at about half the speed; {fix}"


def libmlx() -> Path:
    """The shared library that the `mlx` of this environment runs on, located without importing it."""
    package = importlib.util.find_spec("mlx")
    folders = (package.submodule_search_locations or []) if package else []
    return next((path for folder in folders for path in Path(folder, "lib").glob("libmlx.so")), Path("libmlx.so"))


def redirect(library: Path, targets: dict[str, int]) -> bool:
    """Make the loaded shared `library` call `targets[name]` (an address) wherever it calls `name`.

    Returns:
        Whether every name is in its jump table; if not, nothing was changed.
    """
    slots = {name: slot for name, slot in _jump_slots(library) if name in targets}
    if slots.keys() != targets.keys() or not all(_make_writable(slot) for slot in slots.values()):
        return False
    for name, slot in slots.items():
        ctypes.c_uint64.from_address(slot).value = targets[name]
    return True


def _candidates() -> Iterator[tuple[str, str]]:
    """Paths of libraries with the prefix of their symbols, best first."""
    package = importlib.util.find_spec("scipy_openblas32")  # not imported: importing shows it to everybody
    for folder in (package.submodule_search_locations or []) if package else []:
        for path in sorted(Path(folder, "lib").glob("libscipy_openblas*.so*")):
            yield str(path), "scipy_"
    for name in SYSTEM_LIBRARIES:
        yield name, ""


def _open(path: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError:
        return None


def _address(library: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 if hasattr(library, name) else 0


def _preloaded() -> Blas | None:
    """The BLAS that `LD_PRELOAD` or the interpreter itself put before everything else, if any."""
    everything = ctypes.CDLL(None)
    return _describe(everything, "") if hasattr(everything, "cblas_sgemm") else None


def _describe(library: ctypes.CDLL, prefix: str) -> Blas:
    path = _path_of(_address(library, prefix + "cblas_sgemm"))
    if not hasattr(library, prefix + "openblas_get_config"):
        return Blas(name=Path(path).name, path=path, threads=host.threads())
    set_threads = getattr(library, prefix + "openblas_set_num_threads")
    get_threads = getattr(library, prefix + "openblas_get_num_threads")
    if not {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"} & os.environ.keys() and host.threads() < get_threads():
        set_threads(host.threads())
    return Blas(
        name="OpenBLAS",
        version=_text(library, prefix + "openblas_get_config").removeprefix("OpenBLAS ").split()[0],
        core=_text(library, prefix + "openblas_get_corename"),
        path=path,
        threads=get_threads(),
    )


def _text(library: ctypes.CDLL, function: str) -> str:
    call = getattr(library, function)
    call.restype = ctypes.c_char_p
    value: bytes = call() or b""
    return value.decode()


class _DlInfo(ctypes.Structure):
    _fields_ = (
        ("path", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _path_of(address: int) -> str:
    """File that holds the code at `address`."""
    info = _DlInfo()
    known = ctypes.CDLL(None).dladdr(ctypes.c_void_p(address), ctypes.byref(info))
    return os.fsdecode(info.path) if known and info.path else ""


def _jump_slots(path: Path) -> Iterator[tuple[str, int]]:
    """Names that the loaded library `path` calls in others, with the address of the pointer it calls them by."""
    try:
        library = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:  # not loaded: there is nothing to redirect
        return
    link_map = ctypes.POINTER(_LinkMap)()
    if ctypes.CDLL(None).dlinfo(ctypes.c_void_p(library._handle), _RTLD_DI_LINKMAP, ctypes.byref(link_map)):
        return
    base = link_map.contents.base
    tags = dict(_dynamic_section(link_map.contents.dynamic))
    if not {_DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_JMPREL} <= tags.keys():
        return
    # glibc turns these offsets into addresses when it loads a library, other C libraries do not.
    names, symbols, jumps = (
        value if value >= base else base + value for value in (tags[_DT_STRTAB], tags[_DT_SYMTAB], tags[_DT_JMPREL])
    )
    for at in range(jumps, jumps + tags[_DT_PLTRELSZ], _RELA_SIZE):
        offset, info = (ctypes.c_uint64 * 2).from_address(at)
        if info & 0xFFFFFFFF == JUMP_SLOT[platform.machine()]:
            name = ctypes.c_uint32.from_address(symbols + (info >> 32) * _SYM_SIZE).value
            yield ctypes.string_at(names + name).decode(), base + offset


def _dynamic_section(address: int) -> Iterator[tuple[int, int]]:
    while True:
        tag, value = (ctypes.c_uint64 * 2).from_address(address)
        if tag == 0:
            return
        yield tag, value
        address += _DYN_SIZE


def _make_writable(address: int) -> bool:
    """Allow writing to the pointer at `address`: a library linked with full RELRO has its jump table locked."""
    page = address & -mmap.PAGESIZE
    rights = mmap.PROT_READ | mmap.PROT_WRITE
    return bool(ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), rights) == 0)
