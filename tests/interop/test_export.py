"""`droidft.export` where the readers of others are installed: the certificate names them, and passes."""

from __future__ import annotations

from pathlib import Path

import pytest

import droidft
from tests import tiny
from tests.interop import models

READERS = {
    "peft": "transformers",
    "merged": "transformers",
    "mlx": "mlx-lm",
    "gguf": "xllamacpp",
    "gguf-adapter": "xllamacpp",
    "ollama": "xllamacpp",
}
pytestmark = pytest.mark.xdist_group("export")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home folder, and the name of an adapter in it."""
    folder = tmp_path_factory.mktemp("export")
    run = droidft.train(
        model_path=str(models.write("qwen3", folder / "base")),
        train_data_path=str(tiny.write_chat(folder / "chat.jsonl", rows=100)),
        home=models.write_home(folder / "home"),
        validation_fraction=0.2,
        iterations=30,
        steps_per_eval=15,
        learning_rate=3e-3,
    ).wait()
    return folder / "home", run.adapter


@pytest.mark.parametrize("form", READERS)
def test_an_export_is_certified_by_the_program_that_it_is_for(form: str, trained: tuple[Path, str]) -> None:
    home, adapter = trained
    done = droidft.export(adapter, form, home=home)
    made = done.certificate
    assert made.passed, made.sentence
    assert READERS[form] in made.reader
    assert made.reader_note == ""
    assert made.loss.base - made.loss.trained > 1
    assert made.logits is not None
    assert made.tokens_equal.equal == made.tokens_equal.conversations > 0
    assert made.greedy.answers > 0
