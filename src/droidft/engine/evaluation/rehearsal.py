"""A few steps of a run that are not kept: what training and evaluation cost on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from droidft.engine.evaluation.measure import Asked, Material, Rows, row_losses
from droidft.engine.generation.generate import generate_batch
from droidft.engine.model.loss import SplitModel
from droidft.engine.training.loop import Job, step_once

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper

SCANNED_STEPS = 500
"""The longest batch is searched for among this many steps."""
EVALUATED_ROWS = 16
ANSWER_TOKENS = 32


@dataclass(frozen=True)
class Rehearsal:
    """Seconds and bytes, measured."""

    training_seconds_per_token: float
    evaluation_seconds_per_token: float
    seconds_per_answer_token: float | None
    """For each answer, all of a batch being drawn at the same time; None without questions."""
    peak_bytes: int
    """As MLX counts them."""


def rehearse(
    job: Job, tokenizer: TokenizerWrapper, material: Material, *, steps: int, report: Callable[[], None]
) -> Rehearsal:
    """Time `steps` optimizer steps of `job` after one with the longest batch, and a part of its measurement.

    `report` is called between the parts, and may raise. The model is trained on the way; nothing is saved.
    """
    mx.reset_peak_memory()
    method = job.method
    longest = max(
        range(1, min(method.steps_per_epoch, SCANNED_STEPS) + 1),
        key=lambda step: max(batch.inputs.size for batch in method.batches(step)),
    )
    one = step_once(job)
    one(longest)
    report()
    seconds, tokens = 0.0, 0
    for step in range(1, steps + 1):
        began = time.perf_counter()
        tokens += one(step)
        seconds += time.perf_counter() - began
        report()
    job.model.eval()
    test = material.test
    rows = Rows(test.tokens.take(np.arange(min(EVALUATED_ROWS, len(test.tokens)))), test.clusters[:EVALUATED_ROWS])
    began = time.perf_counter()
    row_losses(SplitModel(job.model), rows, batch_size=job.config.batch_size, should_stop=lambda: False)
    evaluation = (time.perf_counter() - began) / rows.tokens.token_count
    report()
    answering = None if material.asked is None else _answer_seconds(job, tokenizer, material.asked)
    return Rehearsal(seconds / tokens, evaluation, answering, mx.get_peak_memory())


def _answer_seconds(job: Job, tokenizer: TokenizerWrapper, asked: Asked) -> float:
    """Seconds for a token of each answer of one batch, the batch's other answers being drawn at the same time."""
    size, tokens = asked.spec.batch_size, min(ANSWER_TOKENS, asked.spec.max_tokens)
    questions = asked.questions()[:size]
    began = time.perf_counter()
    generate_batch(job.model, tokenizer, questions, max_tokens=tokens, batch_size=size)
    return (time.perf_counter() - began) / (tokens * len(questions))
