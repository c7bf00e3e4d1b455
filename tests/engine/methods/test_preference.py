"""Learning from preferences: it learns, exactly resumes, and starts where policy and base are one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from droidft.engine.methods.preference import Preference
from droidft.engine.model import lora
from droidft.engine.model.loss import SplitModel
from droidft.engine.training import checkpoint
from droidft.engine.training.loop import train
from droidft.events import METRICS, EvalReport, Stopped, TrainReport
from tests import tiny
from tests.engine.methods import policy_compare, preferred
from tests.engine.methods import preference_cases as cases


def told(events: list[Any]) -> dict[Any, Any]:
    """Everything that a resumed run has to say again to the bit."""
    found: dict[Any, Any] = {}
    for event in events:
        match event:
            case TrainReport():
                found["report", event.step] = (event.loss, event.grad_norm, event.supervised_tokens, event.metrics)
            case EvalReport():
                found["eval", event.step] = (event.loss, event.tokens, event.metrics)
    return found


def newest(folder: Path) -> Any:
    return checkpoint.newest_good(folder)[:2]


def adapter_hash(folder: Path) -> str:
    return str(checkpoint.sha256(newest(folder)[0] / checkpoint.ADAPTER))


@pytest.mark.parametrize("stop_after", [0, 3, 9, 14])
@pytest.mark.parametrize(
    "changes",
    [
        {"method": "dpo"},
        {"method": "dpo", "lora_dropout": 0.2, "grad_accumulation_steps": 2},
        {"method": "orpo"},
        {"method": "orpo", "mask_prompt": False, "grad_accumulation_steps": 2, "grad_checkpoint": True},
    ],
)
def test_a_stopped_and_resumed_run_equals_one_never_stopped(
    tmp_path: Path, stop_after: int, changes: dict[str, Any]
) -> None:
    settings = preferred.config(lr_schedule="cosine", warmup_steps=3, steps_per_report=2, **changes)
    whole = list(train(preferred.job(tmp_path / "whole", settings)))
    asked = [0]

    def should_stop() -> bool:
        asked[0] += 1
        return asked[0] > stop_after

    first = list(train(preferred.job(tmp_path / "parts", settings), should_stop=should_stop))
    assert isinstance(first[-1], Stopped)
    second = list(train(preferred.job(tmp_path / "parts", settings, resume=newest(tmp_path / "parts"))))
    assert told(first) | told(second) == told(whole)
    assert adapter_hash(tmp_path / "parts") == adapter_hash(tmp_path / "whole")


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_preferences_are_learned(tmp_path: Path, method: str) -> None:
    events = list(train(preferred.job(tmp_path, preferred.config(method=method, iterations=40, steps_per_eval=40))))
    first, last = (event for event in events if isinstance(event, EvalReport))
    assert last.loss < first.loss - 0.3
    assert last.metrics["margin"] > first.metrics["margin"]
    assert last.metrics["accuracy"] == 1.0
    for event in events:
        if isinstance(event, TrainReport | EvalReport):
            assert event.metrics
            assert event.metrics.keys() <= METRICS.keys()


def test_dpo_starts_at_log_2_with_no_margin(tmp_path: Path) -> None:
    events = list(train(preferred.job(tmp_path, preferred.config(iterations=1))))
    first = next(event for event in events if isinstance(event, EvalReport))
    assert first.loss == pytest.approx(math.log(2), abs=1e-7)
    assert (first.metrics["margin"], first.metrics["reward_chosen"], first.metrics["accuracy"]) == (0, 0, 0)


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_gradients_are_zero_only_where_the_start_makes_them_so(tmp_path: Path, method: str) -> None:
    """B is zero at the start: then A has no gradient and B has one; once B is filled, both have."""
    job = preferred.job(tmp_path, preferred.config(method=method))
    for filled in (False, True):
        if filled:
            noise = [(name, array + 0.1) for name, array in lora.trainable(job.model).items() if "lora_b" in name]
            job.model.load_weights(noise, strict=False)
        split = SplitModel(job.model)
        list(job.method.prepare(1, split, lambda: False))
        (batch,) = job.method.batches(1)
        tree = nn.value_and_grad(job.model, lambda batch=batch, split=split: job.method.loss(split, batch)[0])()[1]
        largest = {name: float(mx.abs(array).max().item()) for name, array in tree_flatten(tree)}
        assert len(largest) == 8, "Q and V of both layers"
        for name, value in largest.items():
            assert (value > 1e-6) == (filled or "lora_b" in name), name


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_swapping_the_answers_turns_the_margin_round(method: str) -> None:
    split = SplitModel(policy_compare.model())
    settings = preferred.config(method=method, batch_size=2)
    rows = cases.pairs()
    data, swapped = preferred.pair_set(rows), preferred.pair_set([(asked, two, one) for asked, one, two in rows])
    found, other = (
        Preference(settings, pairs, pairs).evaluate(split, should_stop=lambda: False) for pairs in (data, swapped)
    )
    # A margin is a small difference of log-probabilities: its rounding error follows their size, not its own.
    rounding = float(np.finfo(np.float32).eps) * abs(found.metrics["logp_chosen"])
    assert found.metrics["margin"] == pytest.approx(-other.metrics["margin"], abs=rounding)
    assert abs(found.metrics["margin"]) > 10 * rounding
    assert found.metrics["accuracy"] == pytest.approx(1 - other.metrics["accuracy"])
    assert found.metrics["logp_chosen"] == pytest.approx(other.metrics["logp_rejected"], rel=1e-6)


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_how_pairs_are_batched_changes_nothing(method: str) -> None:
    split = SplitModel(policy_compare.model())
    data = preferred.pair_set(cases.pairs())
    losses = [
        Preference(preferred.config(method=method, batch_size=size, mask_prompt=False), data, data)
        .evaluate(split, should_stop=lambda: False)
        .loss
        for size in (1, 2, 5)
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


def test_the_base_is_asked_and_put_aside_again() -> None:
    split = SplitModel(policy_compare.model())
    data = preferred.pair_set(cases.pairs())
    method = Preference(preferred.config(), data, data)
    before = {name: np.array(array) for name, array in lora.trainable(split.model).items()}
    batch = method._with_reference(split, method._batch(data, [0, 1]))
    assert split.model.training
    assert {name: np.array(array).tolist() for name, array in lora.trainable(split.model).items()} == {
        name: array.tolist() for name, array in before.items()
    }
    plain = tiny.llama()
    base = [(name, array) for name, array in policy_compare.parity.weights().items()]
    plain.load_weights([(name, mx.array(array)) for name, array in base])
    logits = plain(mx.array(batch.inputs)).astype(mx.float32)
    logps = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    flat = np.array(logps).reshape(-1, logps.shape[-1])
    assert batch.reference == pytest.approx(flat[batch.positions, batch.targets], abs=1e-4)


@pytest.mark.parametrize("changes", [{}, {"method": "orpo", "mask_prompt": False}])
def test_pairs_by_themselves_add_up_to_their_batch(changes: dict[str, Any]) -> None:
    split = SplitModel(policy_compare.model())
    data = preferred.pair_set(cases.pairs())
    method = Preference(preferred.config(**changes), data, data)
    batch = method._with_reference(split, method._batch(data, [3, 0, 2]))
    singles = method.locate(batch)
    assert [name for _, name in singles] == ["pairs.jsonl:4", "pairs.jsonl:1", "pairs.jsonl:3"]
    whole = method.loss(split, batch)[0].item()
    assert sum(method.loss(split, single)[0].item() for single, _ in singles) == pytest.approx(whole, rel=1e-6)
