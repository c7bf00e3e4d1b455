"""A home folder with something of everything in it, for tests that ask for all of it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from droidft.config import parse_config
from droidft.home import Home
from droidft.runs import folder as runs
from tests import tiny
from tests.conftest import CACHE
from tests.workers import here


@dataclass(frozen=True)
class Furnished:
    """Names that mean something in this home folder."""

    home: Path
    model: str
    data: str
    run: str
    adapter: str

    def value(self, parameter: str) -> Any:
        """What a parameter of this name may be."""
        return {
            "run": self.run,
            "name": self.adapter,
            "model": self.model,
            "model_path": self.model,
            "model_name": self.model,
            "train_data_path": self.data,
            "adapter_name": self.adapter,
        }.get(parameter)


def furnish(home: Path) -> Furnished:
    """Make everything in `home`; the training that it takes is done once for all tests."""
    original = _original()
    home.mkdir(exist_ok=True)
    shutil.copytree(original, home, symlinks=True, dirs_exist_ok=True)
    run = next((home / "runs").iterdir())
    for file in [*run.rglob("*.json*"), *(home / "adapters").rglob("*.json")]:
        file.write_text(file.read_text().replace(str(original), str(home)))
    return Furnished(home, "tiny", "chat.jsonl", run.name, "till")


@cache
def _original() -> Path:
    """A home folder in which a tiny model was trained for a few steps."""
    folder = tempfile.TemporaryDirectory(prefix="furnished")
    atexit.register(folder.cleanup)
    home = Path(folder.name).resolve() / "home"
    home.mkdir()
    (home / "cache").symlink_to(CACHE, target_is_directory=True)
    tiny.write_model(home / "models" / "tiny")
    (home / "data").mkdir()
    tiny.write_chat(home / "data" / "chat.jsonl")
    settings = {
        "model_path": str(home / "models" / "tiny"),
        "train_data_path": str(home / "data" / "chat.jsonl"),
        "batch_size": 4,
        "iterations": 4,
        "steps_per_report": 1,
        "save_every": 2,
        "lora_rank": 4,
        "adapter_name": "till",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DROIDFT_HOME", str(home))
        run = runs.create(Home(home), parse_config(settings))
        assert here.start(run).returncode == 0, run.last_record()
    return home
