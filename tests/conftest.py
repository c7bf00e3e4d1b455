"""Set-up shared by all tests: the fast BLAS before mlx is imported, a home folder of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("DROIDFT_TEST_CACHE") or Path(__file__).parent.parent / ".cache").absolute()


@pytest.fixture(scope="session", autouse=True)
def device() -> None:
    """Make MLX ready as a worker does."""
    from droidft.engine.device import prepare

    CACHE.mkdir(exist_ok=True)
    prepare(CACHE)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, but for the compiled kernels, which all tests share."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "cache").symlink_to(CACHE, target_is_directory=True)
    monkeypatch.setenv("DROIDFT_HOME", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder
