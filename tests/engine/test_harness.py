"""The evaluation harness on a tiny model: every number against plain logits in NumPy."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from droidft.engine import models
from droidft.engine.method import Interrupted
from droidft.errors import NotFound
from tests import tiny

pytest.importorskip("lm_eval", reason="the extra `harness` is not installed")
TASKS = Path(__file__).parent / "harness_tasks"


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    folder = tiny.write_model(tmp_path / "model")
    model, _ = models.load_model(folder)
    model.eval()
    return model, models.load_tokenizer(folder)


@pytest.fixture
def tasks(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The task files, with their data beside them."""
    generator = random.Random(0)
    rows = [
        {
            "question": "".join(generator.choices("abcdefgh ", k=12)).strip() + ":",
            "choices": ["".join(generator.choices("abcdef", k=generator.randint(1, 6))) for _ in range(3)],
            "label": generator.randrange(3),
        }
        for _ in range(9)
    ]
    data = tmp_path / "letters.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "tasks"
    folder.mkdir()
    for file in TASKS.glob("*.yaml"):
        (folder / file.name).write_text(file.read_text().replace("LETTERS", str(data)))
    return folder, rows


def log_likelihood(model: Any, tokenizer: Any, context: str, continuation: str) -> float:
    import mlx.core as mx

    before, whole = tokenizer.encode(context), tokenizer.encode(context + continuation)
    logits = np.array(model(mx.array([whole[:-1]])), dtype=np.float64)[0]
    logp = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return float(sum(logp[at - 1, whole[at]] for at in range(len(before), len(whole))))


@pytest.mark.filterwarnings("ignore")
def test_multiple_choice_is_what_the_logits_say(
    loaded: tuple[Any, Any], tasks: tuple[Path, list[dict[str, Any]]]
) -> None:
    from droidft.engine.harness import evaluate

    model, tokenizer = loaded
    folder, rows = tasks
    found = {each.metric: each for each in evaluate(model, tokenizer, ["letters"], include=folder)}
    scores = [
        [log_likelihood(model, tokenizer, row["question"], f" {choice}") for choice in row["choices"]] for row in rows
    ]
    lengths = [[len(choice) for choice in row["choices"]] for row in rows]
    right = [float(np.argmax(each) == row["label"]) for each, row in zip(scores, rows, strict=True)]
    by_length = [
        float(np.argmax(np.array(each) / np.array(size)) == row["label"])
        for each, size, row in zip(scores, lengths, rows, strict=True)
    ]
    assert found["acc"].scores == tuple(right)
    assert found["acc_norm"].scores == tuple(by_length)
    assert found["acc"].value == pytest.approx(np.mean(right))
    assert found["acc"].version == "1.0"


@pytest.mark.filterwarnings("ignore")
def test_answers_end_where_the_task_says(loaded: tuple[Any, Any], tasks: tuple[Path, list[dict[str, Any]]]) -> None:
    from droidft.engine.harness import evaluate

    model, tokenizer = loaded
    (found,) = evaluate(model, tokenizer, ["copying"], include=tasks[0], limit=4)
    assert len(found.scores) == 4
    assert set(found.scores) <= {0.0, 1.0}


def test_log_likelihoods_and_the_greedy_flag(loaded: tuple[Any, Any]) -> None:
    import mlx.core as mx

    from droidft.engine.harness import _log_likelihoods
    from droidft.engine.loss import SplitModel

    model, _ = loaded
    greedy = [5, 9, 30]
    for _ in range(3):
        greedy.append(int(mx.argmax(model(mx.array([greedy]))[0, -1]).item()))
    pairs = [(greedy[:3], greedy[3:]), (greedy[:3], [*greedy[3:5], (greedy[5] + 1) % 200]), ([7], [8, 9])]
    found = _log_likelihoods(SplitModel(model), pairs, 64, lambda: False)
    assert [flag for _, flag in found][:2] == [True, False]
    for (context, continuation), (value, _) in zip(pairs, found, strict=True):
        whole = context + continuation
        logits = np.array(model(mx.array([whole[:-1]])), dtype=np.float64)[0]
        logp = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        expected = sum(logp[at - 1, whole[at]] for at in range(len(context), len(whole)))
        assert value == pytest.approx(expected, rel=1e-5)
    # A context that is too long is cut at the left: what is left is all that counts.
    long = _log_likelihoods(SplitModel(model), [([1, 2, 3, *pairs[0][0]], pairs[0][1])], 5, lambda: False)
    assert long[0][0] == pytest.approx(found[0][0], rel=1e-5)


def test_what_is_unknown_or_called_off(loaded: tuple[Any, Any], tasks: tuple[Path, list[dict[str, Any]]]) -> None:
    from droidft.engine.harness import _log_likelihoods, evaluate
    from droidft.engine.loss import SplitModel

    model, tokenizer = loaded
    with pytest.raises(NotFound, match="there is no task 'lettters'"):
        evaluate(model, tokenizer, ["lettters"], include=tasks[0])
    with pytest.raises(Interrupted):
        _log_likelihoods(SplitModel(model), [([1], [2])], 8, lambda: True)
