"""A real server with a fresh home folder, and a tiny model with data below it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.server import live, questions
from tests.server.live import LiveServer


@pytest.fixture
def server(home: Path) -> Iterator[LiveServer]:
    """`droidft serve` on a fresh home folder that holds the model `tiny` and the data file `chat.jsonl`."""
    _furnish(home)
    with live.running(home) as running:
        yield running


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The same for all tests of a file that leave nothing behind: a server takes a second to start."""
    with questions.kept_home(tmp_path_factory.mktemp("shared") / "home") as home:
        _furnish(home)
        with live.running(home) as running:
            yield running


def _furnish(home: Path) -> None:
    tiny.write_model(home / "models" / "tiny")
    (home / "data").mkdir()
    tiny.write_chat(home / "data" / "chat.jsonl")


@pytest.fixture
def settings() -> dict[str, Any]:
    """A short run on what the `server` has."""
    return {
        "model_path": "tiny",
        "train_data_path": "chat.jsonl",
        "batch_size": 4,
        "iterations": 6,
        "steps_per_report": 1,
        "steps_per_eval": 50,
        "save_every": 5,
        "lora_rank": 4,
        "lora_alpha": 4.0,
    }
