"""Our own reader against what measures rows elsewhere, and what is asked about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from droidft.adapters.exports.readers.reading import Request
from droidft.config import TrainingConfig
from droidft.data.prepare import prepare
from droidft.engine.evaluation import certify
from droidft.engine.evaluation.measure import Rows, row_losses
from droidft.engine.generation.generate import generate_batch
from droidft.engine.generation.prompt import Prompt
from droidft.engine.model import loading
from droidft.engine.model.loss import SplitModel
from droidft.engine.training.method import Interrupted
from tests import tiny


def request_of(rows: Any, tokenizer: Any, **more: int) -> Request:
    return certify.request_of(rows, tokenizer, vocabulary=tiny.VOCABULARY, **more)


@pytest.fixture(scope="module")
def loaded(material: dict[str, str]) -> tuple[Any, Any, Any]:
    folder = Path(material["model_path"])
    tokenizer = loading.load_tokenizer(folder)
    config = TrainingConfig(**material, mask_prompt=True)
    return loading.load_model(folder)[0], tokenizer, prepare(config, tokenizer).train


def test_losses_are_those_that_a_measurement_takes(loaded: tuple[Any, Any, Any], arithmetic: None) -> None:
    model, tokenizer, rows = loaded
    read = certify.read(model, tokenizer, request_of(rows, tokenizer))
    measured = row_losses(SplitModel(model), Rows.of(rows), batch_size=4, should_stop=lambda: False)
    assert read.losses == pytest.approx(measured.losses, rel=1e-5)
    assert read.counts == measured.tokens
    assert read.mean == pytest.approx(measured.mean, rel=1e-5)


def test_shown_logits_are_the_models(loaded: tuple[Any, Any, Any]) -> None:
    model, tokenizer, rows = loaded
    request = request_of(rows, tokenizer)
    read = certify.read(model, tokenizer, request)
    assert len(request.shown) == 64
    for (row, place), logits in zip(request.shown, read.logits, strict=True):
        asked = request.rows[row]
        position = asked.targets[place] - 1
        expected = np.array(model(mx.array([asked.tokens[: position + 1]]))[0, -1])
        np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_conversations_are_asked_as_text_and_answered_as_the_same_tokens(loaded: tuple[Any, Any, Any]) -> None:
    model, tokenizer, rows = loaded
    request = request_of(rows, tokenizer)
    assert request.conversations[0].startswith("<|im_start|>user\n")
    read = certify.read(model, tokenizer, request)
    assert read.conversations == [row.tokens.tolist() for row in rows]
    assert read.template == tokenizer.chat_template


def test_answers_are_those_that_the_model_gives(loaded: tuple[Any, Any, Any]) -> None:
    model, tokenizer, rows = loaded
    request = request_of(rows, tokenizer, answered=3, max_tokens=6)
    assert [prompt[-1] for prompt in request.prompts] == [row.tokens[row.targets[0] - 1] for row in request.rows[:3]]
    read = certify.read(model, tokenizer, request)
    texts = generate_batch(model, tokenizer, [Prompt(it, True) for it in request.prompts], max_tokens=6)
    ends = set(tokenizer.eos_token_ids)
    shown = [tokenizer.decode([token for token in answer if token not in ends]) for answer in read.answers]
    assert shown == texts


def test_of_a_row_that_is_all_target_the_first_half_is_the_prompt(material: dict[str, str]) -> None:
    tokenizer = loading.load_tokenizer(Path(material["model_path"]))
    rows = prepare(TrainingConfig(**material), tokenizer).train
    request = request_of(rows, tokenizer)
    assert request.rows[0].targets[0] == 1
    assert len(request.prompts[0]) == len(request.rows[0].tokens) // 2


def test_reading_can_be_called_off(loaded: tuple[Any, Any, Any]) -> None:
    model, tokenizer, rows = loaded
    with pytest.raises(Interrupted):
        certify.read(model, tokenizer, request_of(rows, tokenizer), should_stop=lambda: True)
