"""What the tests of models, data and jobs share: waiting for a job, reading an error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.conftest import CACHE


def finished(asker: TestClient, job: dict[str, Any], *, seconds: float = 60.0) -> dict[str, Any]:
    """The job when it has ended."""
    until = time.monotonic() + seconds
    while job["state"] == "running":
        assert time.monotonic() < until, job
        time.sleep(0.02)
        answer = asker.get(f"/api/jobs/{job['id']}")
        assert answer.status_code == 200, answer.text
        job = answer.json()
    return job


def error(answer: Any, status: int) -> dict[str, Any]:
    """The error of an answer, which has this status."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) == {"error"}
    return dict(body["error"])


@contextmanager
def kept_home(folder: Path) -> Iterator[Path]:
    """A home folder for all tests of a module, which share its server; like the fixture `home` otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        folder.mkdir()
        (folder / "cache").symlink_to(CACHE, target_is_directory=True)
        patch.setenv("DROIDFT_HOME", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HUB_CACHE", str(folder / "hub"))
        yield folder


def upload(asker: TestClient, name: str, content: bytes) -> Any:
    """The answer to an upload."""
    return asker.put(f"/api/data/files/{name}", content=content, headers={"Content-Type": "application/octet-stream"})
