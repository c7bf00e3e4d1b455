"""A model's own files cannot keep a process busy or take its memory: sentences, and the next question is answered."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from droidft import cli
from droidft.support.channel import Child, ChildError
from tests import tiny
from tests.workers.test_inspect import QUESTION

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% if a == b %}{% endif %}{% endfor %}{% endfor %}"
BOMB = "{% set x = 'x' * 10000000000 %}{{ x }}"
DEEP = "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}"
SIZES = {
    "num_hidden_layers": [10**9, 20_000, 10**30, -(10**9)],
    "vocab_size": [10**12],
    "hidden_size": [10**9, 1e300],
    "intermediate_size": [2**62],
    "rope_theta": [10**400],
    "layer_types": [["full_attention"] * 50_000],
    "text_config": [{"num_hidden_layers": 10**8}],
}


def _asked(home: Path, question: str, **params: Any) -> list[tuple[str, str, float]]:
    """Code, message and seconds of the question, then of one about a model that is whole."""

    async def ask() -> list[tuple[str, str, float]]:
        child, answers = Child("droidft.workers.inspect"), []
        try:
            await child.call("warm", {"home": str(home)})
            for name, more in ((question, params), ("targets", QUESTION | {"model": "whole"})):
                began = time.monotonic()
                try:
                    await child.call(name, {"home": str(home), **more})
                    answers.append(("", "", time.monotonic() - began))
                except ChildError as error:
                    answers.append((error.code, error.message, time.monotonic() - began))
        finally:
            await child.close()
        return answers

    return asyncio.run(ask())


@pytest.fixture
def models(home: Path) -> Path:
    """A home folder with two models, of which `tiny` is to be changed."""
    tiny.write_model(home / "models" / "tiny")
    tiny.write_model(home / "models" / "whole")
    (home / "data").mkdir(exist_ok=True)
    tiny.write_chat(home / "data" / "chat.jsonl")
    return home


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SIZES.items() for value in values])
def test_a_size_that_no_model_has_is_refused_before_anything_is_built(
    name: str, value: Any, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = models / "models" / "tiny" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    began = time.monotonic()
    assert cli.main(["models", "inspect", "tiny", "--offline"]) == 1
    assert time.monotonic() - began < 5
    shown = capsys.readouterr().err
    assert "config.json" in shown
    assert "error: " in shown


@pytest.mark.parametrize(
    ("template", "reason"),
    [(LOOP, "took longer than 5 s"), (BOMB, "of memory and was ended"), (DEEP, "nested too deeply")],
)
def test_a_template_without_end_is_ended_and_the_next_question_is_answered(
    template: str, reason: str, models: Path
) -> None:
    file = models / "models" / "tiny" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))
    config = {"model_path": "tiny", "train_data_path": str(models / "data" / "chat.jsonl")}
    (code, message, seconds), (after, _, quick) = _asked(models, "view_rows", config=config, rows=[0, 1])
    assert (code, after) == ("model", ""), message
    assert "the model's chat template" in message
    assert reason in message
    assert seconds < 20
    assert quick < 5
