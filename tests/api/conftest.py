"""A tiny model with data, and a process that is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from droidft.api import answering
from tests import tiny


@pytest.fixture(scope="package")
def material(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of a run that takes a second or two."""
    folder = tmp_path_factory.mktemp("material")
    return {
        "model_path": tiny.write_model(folder / "model"),
        "train_data_path": tiny.write_chat(folder / "chat.jsonl"),
        "batch_size": 4,
        "lora_rank": 4,
        "mask_prompt": True,
        "early_stop": False,
        "learning_rate": 3e-3,
    }


@pytest.fixture
def unprepared() -> Iterator[None]:
    """After the test, MLX's operations are its own again."""
    yield
    answering._release()
