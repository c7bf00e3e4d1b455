"""What blind votes add up to, as Compare asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.server.serving import serving


@pytest.fixture
def asker(home: Path) -> Iterator[TestClient]:
    with serving(home) as found:
        yield found


def shares(asker: TestClient, *wins: int) -> Any:
    answer = asker.get("/api/votes/shares", params={"wins": list(wins)})
    assert answer.status_code == 200
    return answer.json()


def test_two_sides_share_one_interval(asker: TestClient) -> None:
    found = shares(asker, 3, 7)
    assert (found["chance"], found["level"], found["preferred"]) == (0.5, 0.95, None)
    base, adapter = found["shares"]
    assert (base["share"], adapter["share"]) == (0.3, 0.7)
    assert (adapter["low"], adapter["high"]) == pytest.approx((1 - base["high"], 1 - base["low"]))


def test_a_preference_is_one_only_beyond_chance(asker: TestClient) -> None:
    assert shares(asker, 2, 8)["preferred"] is None
    assert shares(asker, 0, 6)["preferred"] == 1
    assert shares(asker, 8, 1)["preferred"] == 0


def test_without_a_vote_nothing_is_known(asker: TestClient) -> None:
    found = shares(asker, 0, 0)
    assert found["shares"] == [{"share": None, "low": 0.0, "high": 1.0}] * 2
    assert found["preferred"] is None


def test_more_sides_are_held_to_more(asker: TestClient) -> None:
    found = shares(asker, 2, 10, 0)
    assert found["level"] == pytest.approx(1 - 0.05 / 3)
    assert (found["chance"], found["preferred"]) == (pytest.approx(1 / 3), 1)
    assert found["shares"][1]["low"] < shares(asker, 2, 10)["shares"][1]["low"]
