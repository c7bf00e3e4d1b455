"""Set-up shared by all tests: the fast BLAS before mlx is imported, a home folder of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("DROIDFT_TEST_CACHE") or Path(__file__).parent.parent / ".cache")


@pytest.fixture(scope="session", autouse=True)
def device() -> None:
    """Make MLX ready as a worker does."""
    from droidft.engine.device import prepare

    CACHE.mkdir(exist_ok=True)
    prepare(CACHE)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home folder."""
    folder = tmp_path / "home"
    monkeypatch.setenv("DROIDFT_HOME", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield folder
