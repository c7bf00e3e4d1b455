"""What came of a run: the sentence claims no more than was measured, the notes say how far to trust it."""

from __future__ import annotations

from typing import Any

import pytest

from droidft.events import DataPrepared, EarlyStopped, EvalReport
from droidft.runs.summary import Summary
from droidft.server.runs.verdict import verdict
from droidft.server.schemas.runs import RunState, RunSummary

FINISHED: dict[str, Any] = {
    "state": RunState.FINISHED, "method": "sft", "step": 80, "seconds": 148.0, "trainable": 9_768_960,
    "total": 134_515_008, "first_loss": 2.5, "best_loss": 0.5, "best_step": 80,
}  # fmt: skip


def run(**changes: Any) -> RunSummary:
    return RunSummary.model_construct(**FINISHED | changes)


def said(*losses: float, rows: int | None = None, early: int | None = None) -> Summary:
    """Evaluations 40 steps apart, on `rows` rows; ended after `early` evaluations without improvement."""
    return Summary(
        evaluations=[EvalReport.model_construct(step=40 * at, loss=loss) for at, loss in enumerate(losses)],
        data=None if rows is None else DataPrepared.model_construct(val_rows=rows),
        early_stop=None if early is None else EarlyStopped.model_construct(evaluations_without_improvement=early),
    )


@pytest.mark.parametrize(
    ("changes", "losses", "tone", "title"),
    [
        (
            {"first_loss": 2.0, "best_loss": 1.0, "best_step": 40},
            [2.0, 1.0],
            "good",
            "Validation loss fell from 2.0000 to 1.0000 at step 40 (−50.0%).",
        ),
        (
            {"first_loss": 2.6365, "best_loss": 0.0277},
            [],
            "good",
            "Validation loss fell from 2.6365 to 0.0277 at step 80 (−98.9%).",
        ),
        (
            {"first_loss": 2.0, "best_loss": 1.999},
            [],
            "neutral",
            "Validation loss fell from 2.0000 to 1.9990 at step 80 (−0.050%).",
        ),
        (
            {"first_loss": 2.0, "best_loss": 2.0, "best_step": 0},
            [2.0, 2.5, 2.25],
            "warn",
            "Validation loss did not improve: 2.0000 before training, at best 2.2500 after it (step 80).",
        ),
        (
            {"first_loss": 2.0, "best_loss": 2.0, "best_step": 0},
            [2.0],
            "neutral",
            "Validation loss before training was 2.0000; it has not been measured since.",
        ),
        (
            {"first_loss": None, "best_loss": 1.0, "best_step": 40},
            [],
            "neutral",
            "The best validation loss was 1.0000, at step 40; there is none from before training to compare it with.",
        ),
        (
            {"first_loss": None, "best_loss": None, "best_step": None},
            [],
            "neutral",
            "No validation loss has been measured.",
        ),
        (
            {"first_loss": None, "best_loss": None, "best_step": None, "state": RunState.RUNNING},
            [],
            "neutral",
            "No validation loss has been measured yet.",
        ),
        (
            {"method": "grpo", "first_loss": -0.25, "best_loss": -0.5},
            [],
            "good",
            "Mean reward rose from 0.25 to 0.5 at step 80.",
        ),
        (
            {"method": "grpo", "first_loss": -0.25, "best_loss": -0.25, "best_step": 0},
            [-0.25, -0.2],
            "warn",
            "Mean reward did not rise: 0.25 before training is the best so far.",
        ),
        (
            {"method": "grpo", "first_loss": -0.25, "best_loss": -0.25, "best_step": 0},
            [-0.25],
            "neutral",
            "Mean reward before training was 0.25; it has not been measured since.",
        ),
        (
            {"method": "grpo", "first_loss": 0.125, "best_loss": -0.0},
            [],
            "good",
            "Mean reward rose from −0.125 to 0 at step 80.",
        ),
        (
            {"method": "grpo", "first_loss": None, "best_loss": -0.5},
            [],
            "neutral",
            "The best mean reward was 0.5, at step 80; there is none from before training.",
        ),
    ],
)
def test_the_sentence(changes: dict[str, Any], losses: list[float], tone: str, title: str) -> None:
    found = verdict(run(**changes), said(*losses))
    assert (found.tone, found.title) == (tone, title)


def test_the_cost_is_told_of_a_run_that_has_ended() -> None:
    cost = "It took 2 min 28 s and 80 steps, training 9,768,960 of 134,515,008 parameters (7.26%)."
    assert verdict(run(), said()).notes == [cost]
    assert verdict(run(state=RunState.RUNNING), said()).notes == []


def test_a_loss_that_rose_again_and_a_run_that_stopped_early() -> None:
    notes = verdict(run(best_step=40), said(2.5, 0.5, 0.9, early=3)).notes
    assert "By step 80 it had risen again to 0.9000; the best weights are those of step 40." in notes
    assert "Stopped early after 3 evaluations without improvement." in notes
    again = verdict(run(method="grpo", first_loss=-0.1, best_loss=-0.5, best_step=40), said(-0.1, -0.5, -0.3)).notes
    assert "By step 80 it was at 0.3; the best weights are those of step 40." in again


@pytest.mark.parametrize(
    ("changes", "rows", "note"),
    [
        ({"first_loss": 2.0, "best_loss": 1.999}, 500, "500 validation rows; a difference this small may be noise."),
        ({}, 40, "40 validation rows only, so small differences between runs say little."),
        ({}, 500, "not how good answers are"),
        ({"method": "grpo", "first_loss": -0.1, "best_loss": -0.5}, 500, "how well the rewards were served"),
    ],
)
def test_how_far_it_can_be_trusted(changes: dict[str, Any], rows: int, note: str) -> None:
    assert note in verdict(run(**changes), said(rows=rows)).notes[-1]


@pytest.mark.parametrize(("method", "word"), [("sft", "memorised"), ("grpo", "rewards")])
def test_without_a_validation_set_nothing_is_claimed(method: str, word: str) -> None:
    told = verdict(run(method=method, first_loss=None, best_loss=None, best_step=None), said(rows=0))
    assert told.tone == "neutral"
    assert word in told.title
