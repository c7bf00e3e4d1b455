"""No process of ours runs code that lies in the working directory: a canary in place of every library module."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from droidft.config import parse_config
from droidft.home import Home
from droidft.models import embedded
from droidft.runs import folder as runs
from droidft.support import processes
from droidft.support.channel import Child, ChildError
from tests import tiny
from tests.conftest import CACHE
from tests.server import live

CANARIES = (
    "json", "re", "asyncio", "pydantic", "numpy", "safetensors", "mlx", "mlx_lm", "transformers", "droidft", "tests",
    "pip", "fastapi", "uvicorn", "jinja2", "yaml", "rich", "sqlite3", "tokenizers",
)  # fmt: skip


@pytest.fixture
def sung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory holds modules that write to a file when they are imported; that file."""
    trap, song = tmp_path / "trap", tmp_path / "song"
    trap.mkdir()
    for name in CANARIES:
        (trap / f"{name}.py").write_text(f"open({str(song)!r}, 'a').write('{name}\\n')\n")
    monkeypatch.chdir(trap)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    yield song
    assert not song.exists(), f"run from the working directory: {song.read_text().split()}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a model and data."""
    root = tmp_path / "home"
    tiny.write_model(root / "models" / "tiny")
    (root / "data").mkdir()
    tiny.write_chat(root / "data" / "chat.jsonl")
    (root / "cache").symlink_to(CACHE, target_is_directory=True)
    monkeypatch.setenv("DROIDFT_HOME", str(root))
    return root


def test_the_canaries_sing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shlex.py").write_text("print('sung')")
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([sys.executable, "-m", "shlex"], capture_output=True, text=True)
    assert done.stdout == "sung\n"


@pytest.mark.parametrize("kind", ["answer", "inspect", "settle", "trial"])
def test_a_process_that_answers_imports_nothing_from_here(kind: str, sung: Path, home: Path) -> None:
    questions = {
        "answer": ("nothing", {}),
        "inspect": ("models", {"home": str(home)}),
        "settle": ("fix", {"home": str(home), "experiment": "none", "timed": False}),
        "trial": ("try", {"home": str(home), "config": {}}),
    }

    async def ask() -> None:
        child = Child(f"droidft.workers.{kind}")
        with suppress(ChildError):  # whatever it answers, it has imported what it needs for that
            await child.call(*questions[kind])
        await child.close()

    asyncio.run(ask())


def test_a_run_imports_nothing_from_here(sung: Path, home: Path) -> None:
    settings = {
        "model_path": "tiny", "train_data_path": str(home / "data" / "chat.jsonl"), "iterations": 1, "lora_rank": 2,
    }  # fmt: skip
    run = runs.create(Home(home), parse_config(settings))
    assert run.start().wait(timeout=300) == 0, run.log_file.read_text()


def test_the_server_and_what_it_starts_import_nothing_from_here(sung: Path, home: Path) -> None:
    with live.running(home) as server:
        assert server.get("/api/models")
        assert server.get("/api/models/tiny/targets")["blocks"] == 2


@pytest.mark.parametrize("words", [["droidft"], ["droidft.cli"]])
def test_the_terminal_imports_nothing_from_here(words: list[str], sung: Path, home: Path) -> None:
    """Where the package lies on the path as in a wheel: what `python -m` puts before it goes again."""
    (Path.cwd() / "droidft.py").unlink()  # Python itself looks for that one before any code of ours runs
    done = subprocess.run([sys.executable, "-m", *words, "models", "list"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pip_is_not_taken_from_here(sung: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(Exception, match="pip could not download"):
        embedded.install(home / "models", cache_dir=home / "empty")


def test_an_empty_part_of_the_python_path_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep + "/somewhere" + os.pathsep)
    assert processes.environment()["PYTHONPATH"] == "/somewhere"
    monkeypatch.setenv("PYTHONPATH", os.pathsep)
    assert "PYTHONPATH" not in processes.environment(A="b")
    assert processes.environment(A="b")["A"] == "b"
