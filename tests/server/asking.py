"""What the tests of models, data and jobs share: waiting for a job, reading an error."""

from __future__ import annotations

import time
from typing import Any

from starlette.testclient import TestClient


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
