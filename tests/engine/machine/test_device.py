"""The device as `prepare` leaves it: each case in a process of its own, with the real libraries."""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from droidft.engine.machine import blas, device, host, toolchain

linux_cpu = pytest.mark.skipif(
    sys.platform != "linux" or mx.default_device() != mx.Device(mx.cpu), reason="only MLX's CPU build on Linux"
)
SYSTEM_OPENBLAS = "libopenblas.so.0"

PREPARE = """
import json, sys
from pathlib import Path
from droidft.engine.machine import device
found = device.prepare(Path(sys.argv[1]))
import mlx.core as mx
left = mx.arange(35, dtype=mx.float32).reshape(5, 7)
product = (left @ left.T).tolist()
fused = mx.compile(lambda x: mx.tanh(x) * mx.sigmoid(x) + 1)(left).sum().item()
print(json.dumps(found.as_dict() | {"gflops": device.measure_gflops(0.05), "product": product, "fused": fused}))
"""


def prepared(cache: Path, code: str = PREPARE, **environment: str | None) -> dict[str, Any]:
    """What a new process reports; a variable that is None is taken from its environment."""
    base = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")} | environment
    clean = {name: value for name, value in base.items() if value is not None}
    done = subprocess.run([sys.executable, "-c", code, str(cache)], env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    left = np.arange(35).reshape(5, 7)
    assert report["product"] == (left @ left.T).tolist()
    return report


@linux_cpu
def test_a_fast_blas_takes_over(tmp_path: Path) -> None:
    fast = prepared(tmp_path)
    steady = prepared(tmp_path, OPENBLAS_NUM_THREADS="1")  # measures the same on a busy machine
    slow = prepared(tmp_path, DROIDFT_BLAS="none")
    assert fast["blas"]["fast"]
    assert fast["blas"]["name"] == "OpenBLAS"
    assert fast["threads"] == host.threads()
    assert steady["gflops"] > 4 * slow["gflops"]
    assert not slow["blas"]["fast"]
    assert slow["warnings"] == [
        "DROIDFT_BLAS=none gives MLX no fast BLAS, and products up to 100 times slower; unset it"
    ]


@linux_cpu
def test_it_takes_over_after_mlx_was_used(tmp_path: Path) -> None:
    code = "import mlx.core as mx; mx.eval(mx.ones((8, 8)) @ mx.ones((8, 8)))\n" + PREPARE
    report = prepared(tmp_path, code, OPENBLAS_NUM_THREADS="1")
    slow = prepared(tmp_path, DROIDFT_BLAS="none")
    assert report["blas"]["fast"]
    assert report["gflops"] > 4 * slow["gflops"]


@linux_cpu
def test_without_any_fast_library_one_warning_names_the_cure() -> None:
    assert device.blas_warning(blas.REFERENCE) == device.NO_FAST_BLAS
    assert "pip install scipy-openblas32" in device.NO_FAST_BLAS


@linux_cpu
def test_a_library_of_the_users_own(tmp_path: Path) -> None:
    assert not prepared(tmp_path, DROIDFT_BLAS=str(tmp_path / "missing.so"))["blas"]["fast"]
    try:
        ctypes.CDLL(SYSTEM_OPENBLAS)
    except OSError:
        pytest.skip(f"this machine has no {SYSTEM_OPENBLAS}")
    assert Path(prepared(tmp_path, DROIDFT_BLAS=SYSTEM_OPENBLAS)["blas"]["path"]).name == SYSTEM_OPENBLAS
    assert Path(prepared(tmp_path, LD_PRELOAD=SYSTEM_OPENBLAS)["blas"]["path"]).name == SYSTEM_OPENBLAS


@linux_cpu
def test_the_users_threads_and_kernels_stay(tmp_path: Path) -> None:
    report = prepared(tmp_path, OPENBLAS_NUM_THREADS="1", OPENBLAS_CORETYPE="HASWELL")
    assert report["threads"] == 1
    if host.cpu_flags() >= blas.AVX512:
        assert report["warnings"][0].startswith("OPENBLAS_CORETYPE=HASWELL is set: matrix products use Haswell")


@pytest.mark.parametrize("dtype", [mx.float32, mx.float64, mx.complex64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (64, 33, 129), (257, 300, 65)])
def test_products_of_every_kind_are_right(dtype: mx.Dtype, shape: tuple[int, int, int]) -> None:
    if dtype != mx.float32 and mx.default_device() != mx.Device(mx.cpu):
        pytest.skip("not computed on a GPU")
    rows, inner, columns = shape
    random = np.random.default_rng(0)
    left, right = random.normal(size=(rows, inner)), random.normal(size=(columns, inner))
    got = mx.array(left).astype(dtype) @ mx.array(right).astype(dtype).T
    np.testing.assert_allclose(np.array(got), left @ right.T, rtol=0, atol=1e-5 * inner)


@linux_cpu
def test_nothing_is_redirected_unless_every_name_is_there() -> None:
    before = dict(blas._jump_slots(blas.libmlx()))
    pointer = ctypes.c_uint64.from_address(before["cblas_sgemm"]).value
    assert not blas.redirect(blas.libmlx(), {"cblas_sgemm": 1, "no_such_function": 1})
    assert ctypes.c_uint64.from_address(before["cblas_sgemm"]).value == pointer
    assert not blas.redirect(Path("/nowhere/libmlx.so"), {"cblas_sgemm": 1})


def test_the_core_warning_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "cpu_flags", lambda: blas.AVX512 | {"avx2"})
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    old, new = blas.Blas("OpenBLAS", core="Haswell"), blas.Blas("OpenBLAS", core="SkylakeX")
    assert "set OPENBLAS_CORETYPE=SKYLAKEX" in (blas.core_warning(old) or "")
    assert blas.core_warning(new) is None
    assert blas.core_warning(blas.REFERENCE) is None
    monkeypatch.setattr(host, "cpu_flags", lambda: {"avx2"})
    assert blas.core_warning(old) is None


@pytest.mark.skipif(sys.platform != "linux", reason="containers' quotas are Linux's")
@pytest.mark.parametrize(
    ("quota", "threads"), [("100000 100000\n", 1), ("50000 100000\n", 1), ("max 100000\n", None)]
)
def test_a_containers_quota_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, threads: int | None
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(host, "CGROUP", tmp_path)
    assert host.threads() == (threads or len(os.sched_getaffinity(0)))


@linux_cpu
def test_kernels_are_compiled_into_the_cache_by_several_at_once(tmp_path: Path) -> None:
    if not next(toolchain._candidates(), None):
        pytest.skip("this machine has no C++ compiler")
    command = [sys.executable, "-c", PREPARE, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    reports = [json.loads(process.communicate()[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len({report["fused"] for report in reports}) == 1
    assert len(list(tmp_path.glob("jit/*/mlx/*/cpu/*.so"))) == 1
    assert not list(tmp_path.glob("jit/*/mlx/*/cpu/*.so.*"))


@linux_cpu
def test_without_a_compiler_mlx_works_with_one_warning(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to("/bin/sh")
    report = prepared(tmp_path / "cache", PATH=str(tmp_path / "bin"), CXX="/bin/false")
    if report["compiler"] is not None:
        assert "zig" in report["compiler"]
        pytest.skip("ziglang is installed: there is always a compiler")
    assert report["warnings"] == [device.NO_COMPILER]
    assert report["fused"] == pytest.approx(prepared(tmp_path / "other")["fused"], rel=1e-5)


@linux_cpu
def test_a_broken_compiler_is_passed_over(tmp_path: Path) -> None:
    if not (candidates := list(toolchain._candidates())):
        pytest.skip("this machine has no C++ compiler")
    assert prepared(tmp_path, CXX="/bin/false")["compiler"] == shlex.join(candidates[0])


@linux_cpu
def test_the_wrapper_passes_other_calls_on(tmp_path: Path) -> None:
    if not prepared(tmp_path)["compiler"]:
        pytest.skip("this machine has no C++ compiler")
    (wrapper,) = tmp_path.glob("jit/*/bin/g++")
    assert subprocess.run([wrapper, "--version"], capture_output=True).returncode == 0
    source = tmp_path / "wrong.cpp"
    source.write_text("int f( {")
    failed = subprocess.run([wrapper, "-shared", source, "-o", tmp_path / "wrong.so"], capture_output=True)
    assert failed.returncode != 0
    assert not list(tmp_path.glob("wrong.so*"))


@linux_cpu
def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert prepared(tmp_path / "file")["blas"]["fast"]


@linux_cpu
def test_a_cache_without_room_for_kernels_stops_nothing(tmp_path: Path) -> None:
    if not (whole := prepared(tmp_path))["compiler"]:
        pytest.skip("this machine has no C++ compiler")
    known = sorted(tmp_path.rglob("*"))
    limited = "import os, resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    other = PREPARE.replace("mx.tanh(x)", "mx.cos(x)").replace(
        "print(", "assert os.listdir(os.environ['TMPDIR']); print("
    )
    for code, known_kernel in ((PREPARE, True), (other, False)):
        report = prepared(tmp_path, limited + code)
        assert report["compiler"]
        assert (report["fused"] == whole["fused"]) == known_kernel
    assert sorted(tmp_path.rglob("*")) == known


def test_prepare_is_done_once(tmp_path: Path) -> None:
    first = device.prepare(tmp_path)
    assert device.prepare(tmp_path / "other") is first
    assert not list(tmp_path.iterdir())
    assert first.memory_bytes > 2**30
    assert first.threads >= 1


FAULTS = """
import json, resource, sys
from pathlib import Path
from droidft.engine.machine import device
device.prepare(Path(sys.argv[1]))
import mlx.core as mx
left = mx.arange(35, dtype=mx.float32).reshape(5, 7)
x = mx.ones((8, 2**19)); mx.eval(x)
def work():
    for _ in range(10):
        y = mx.exp(x); z = y + 1; w = z * y; mx.eval(w); del y, z, w
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(json.dumps({"faults": faults, "product": (left @ left.T).tolist()}))
"""


@linux_cpu
def test_freed_memory_is_reused(tmp_path: Path) -> None:
    kept = prepared(tmp_path, FAULTS)["faults"]
    users_own = prepared(tmp_path, FAULTS, MALLOC_MMAP_THRESHOLD_="131072")["faults"]
    assert kept * 20 < users_own


@pytest.mark.parametrize(
    ("limit", "used", "total", "available"),
    [
        (None, None, 16, 12),
        ("max", "3", 16, 12),
        ("8", "3", 8, 5),
        ("8", "9", 8, 0),
        ("64", "30", 16, 12),
    ],
)
def test_memory_is_the_machines_or_the_containers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str | None,
    used: str | None,
    total: int,
    available: int,
) -> None:
    machine = SimpleNamespace(total=16, available=12)
    monkeypatch.setattr(host.psutil, "virtual_memory", lambda: machine)
    monkeypatch.setattr(host, "CGROUP", tmp_path)
    for name, value in (("memory.max", limit), ("memory.current", used)):
        if value is not None:
            (tmp_path / name).write_text(f"{value}\n")
    assert host.memory() == host.Memory(total, available)


def test_this_machine_is_described(tmp_path: Path) -> None:
    memory = host.memory()
    assert 0 < memory.available <= memory.total
    assert 2**20 < host.peak_rss() < 2 * memory.total
    assert 1 <= host.threads() <= (os.cpu_count() or 1)
    assert host.disk_free(tmp_path / "not" / "made" / "yet") > 0
    assert host.processor()
    versions = host.versions()
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(host.PACKAGES) < versions.keys()
    assert "not installed" not in versions.values()


def test_the_key_of_compiled_kernels_changes_with_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    before = toolchain._key(["g++"])
    monkeypatch.setattr(host, "cpu_flags", lambda: {"sse2"})
    assert toolchain._key(["g++"]) != before


def test_what_decides_the_last_bits_of_a_gpu_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = device.Device(device.DeviceKind.CUDA, "a GPU", 1 << 34, 8)
    monkeypatch.delenv("MLX_ENABLE_TF32", raising=False)
    assert gpu.identity()["tf32"] == "on"
    monkeypatch.setenv("MLX_ENABLE_TF32", "0")
    assert gpu.identity()["tf32"] == "off"


def test_the_users_settings_of_cuda_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_ENABLE_CACHE_THRASHING_CHECK", "1")
    monkeypatch.delenv("MLX_PTX_CACHE_DIR", raising=False)
    device._set_up_cuda(tmp_path)
    assert os.environ["MLX_ENABLE_CACHE_THRASHING_CHECK"] == "1"
    assert os.environ["MLX_PTX_CACHE_DIR"] == str(tmp_path / "ptx")
