"""A model in this process: the answers of `droidft chat`, losses of a run's evaluation, logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import droidft
from droidft.errors import ConfigError, DataError, NotFound
from tests import tiny, typed

pytestmark = [
    pytest.mark.usefixtures("unprepared"),
    pytest.mark.filterwarnings("ignore:fused CPU kernels:UserWarning", "ignore:adapter mine:UserWarning"),
]
WARM = {"temperature": 1.5, "max_tokens": 24, "seed": 5}


@pytest.fixture
def trained(home: Path, material: dict[str, Any]) -> droidft.Run:
    settings = {"iterations": 30, "steps_per_eval": 10, "save_every": 10, "keep_checkpoints": 5}
    return droidft.train(material, **settings, adapter_name="mine").wait()


def chat(model: Path, *words: str) -> str:
    said = typed.droidft("chat", "--model", str(model), "--json", *words)
    assert said.status == 0, said
    return str(json.loads(said.out)["response"])


def test_answers_are_those_of_chat(trained: droidft.Run, material: dict[str, Any]) -> None:
    path = material["model_path"]
    drawing = ("--temperature", "1.5", "--max-tokens", "24", "--seed", "5")
    model = droidft.load(path, adapter=trained.adapter)
    assert model.adapter is not None
    assert (model.adapter.name, model.adapter.which, model.adapter.rank) == ("mine", "best", 4)
    with_adapter = model.answer("hello", **WARM)
    assert with_adapter == chat(path, "--adapter", "mine", "--prompt", "hello", *drawing)
    assert "".join(model.stream("hello", **WARM)) == with_adapter
    assert model.chat([{"role": "user", "content": "hello"}], **WARM) == with_adapter
    system = chat(path, "--adapter", "mine", "--prompt", "hello", "--system", "Shout.", *drawing)
    assert model.answer("hello", system="Shout.", **WARM) == system
    assert model.use().adapter is None
    alone = model.answer("hello", **WARM)
    assert alone == chat(path, "--prompt", "hello", *drawing) != with_adapter
    raw = model.answer("hello", use_chat_template=False, **WARM)
    assert raw == chat(path, "--prompt", "hello", "--raw", *drawing)

    stream = model.use("mine@best").stream("hello", **WARM)
    first = next(stream)
    model.use()
    assert first + "".join(stream) == with_adapter, "an answer keeps the adapter that it began with"
    stop = with_adapter[3:5]
    assert model.use("mine").answer("hello", **WARM, stop=[stop]) == with_adapter[: with_adapter.index(stop)]


def test_the_loss_is_that_of_the_evaluation(trained: droidft.Run, material: dict[str, Any], tmp_path: Path) -> None:
    rows = tiny.write_chat(tmp_path / "held.jsonl", rows=9, seed=3)
    settings = {"val_data_path": rows, "iterations": 10, "steps_per_eval": 10}
    run = droidft.train(material, **settings, adapter_name="other").wait()
    model = droidft.load(material["model_path"], "other@latest")
    losses = model.loss(rows, mask_prompt=True)
    assert losses.mean == pytest.approx(run.evaluations["loss"][-1], rel=1e-5)
    assert sum(losses.tokens) == run.evaluations["tokens"][-1]
    assert losses.places[8].endswith("held.jsonl:9")
    given = model.loss([json.loads(line) for line in rows.read_text().splitlines()], mask_prompt=True)
    assert (given.losses, given.data_hash) == (losses.losses, losses.data_hash)
    assert model.use().loss(rows, mask_prompt=True).mean == pytest.approx(run.evaluations["loss"][0], rel=1e-5)
    with pytest.raises(DataError, match=r"rows\.jsonl:1"):
        model.loss([{"prompt": "no answer"}])
    with pytest.raises(ConfigError, match="mask_prmpt is not a setting"):
        model.loss(rows, mask_prmpt=True)

    data = material["train_data_path"]
    means = [
        droidft.load(material["model_path"], *chosen).loss(data).mean
        for chosen in (("mine", "best"), ("mine",), ("mine@10",), ("mine", 10), ("mine", "latest"))
    ]
    assert means[0] == means[1]
    assert means[2] == means[3]


def test_logits_give_the_loss(home: Path, material: dict[str, Any]) -> None:
    model = droidft.load(material["model_path"])
    text = "a plain text"
    logits = model.logits(text)
    tokens = model.tokenizer.encode(text)
    assert (logits.shape, logits.dtype) == ((len(tokens), tiny.VOCABULARY), np.float32)
    assert np.array_equal(model.logits(np.array(tokens)), logits)
    tokens.append(model.tokenizer.eos_token_id)  # as a row of training data ends
    wide = model.logits(tokens)[:-1].astype(np.float64)
    expected = np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(len(wide)), tokens[1:]]
    row = model.loss([{"text": text}])
    assert (row.tokens, row.losses) == ([len(wide)], pytest.approx([expected.sum()], rel=1e-5))
    for wrong in ([], [tiny.VOCABULARY], [-1], [1] * 513):
        with pytest.raises(ConfigError):
            model.logits(wrong)


def test_what_is_wrong_is_said_before_the_model_loads(home: Path, material: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match="there is no adapter 'mine'"):
        droidft.load("no-such-model", "mine")
    with pytest.raises(NotFound, match="there is no model 'no-such-model'"):
        droidft.load("no-such-model")
    model = droidft.load(material["model_path"])
    assert repr(model) == f"<droidft.Model {material['model_path']}>"
    with pytest.raises(ConfigError, match="temperature is 11"):
        model.answer("hello", temperature=11)
    with pytest.raises(ConfigError, match="temprature is not a sampling parameter"):
        model.answer("hello", temprature=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="a system prompt needs a chat template, and it is turned off"):
        model.answer("hello", system="Shout.", use_chat_template=False)
