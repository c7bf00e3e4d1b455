"""EleutherAI's evaluation harness (`lm-eval`) on a model that is loaded here, with or without an adapter on it.

The harness brings the tasks, their prompts and their metrics; this brings log-probabilities and greedy answers. It is
an optional extra: `pip install "droidft[harness]"`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from droidft.engine.generate import generate_batch
from droidft.engine.loss import SplitModel
from droidft.engine.method import Interrupted
from droidft.errors import ConfigError, DownloadError, NotFound

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper

BATCH = 8
MOST_TOKENS = 256
"""Tokens of an answer where a task names no limit, as in the harness."""
CONTEXT = 2048
"""Tokens that are looked at where the model names no limit."""


@dataclass(frozen=True)
class TaskResult:
    """One task by one of its metrics; `scores` are those of each question, in the task's own order."""

    name: str
    version: str
    metric: str
    value: float
    scores: tuple[float, ...]


def evaluate(
    model: nn.Module,
    tokenizer: TokenizerWrapper,
    tasks: Sequence[str],
    *,
    include: Path | None = None,
    limit: int | None = None,
    num_fewshot: int | None = None,
    context_length: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[TaskResult]:
    """What `model` scores on the harness's `tasks`, or on those of YAML files in the folder `include`.

    Raises:
        ConfigError: the harness is not installed.
        NotFound: there is no such task.
        DownloadError: a task's data cannot be had.
        Interrupted: `should_stop` said so.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise ConfigError(
            "harness: the evaluation harness is not installed",
            hint='pip install "droidft[harness]"',
            field="harness",
        ) from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager = TaskManager(include_path=str(include) if include else None)
    if unknown := [name for name in tasks if name not in manager.all_tasks]:
        raise NotFound(
            f"harness: there is no task {unknown[0]!r}",
            hint="`lm-eval ls tasks` lists them; include names a folder with task files of your own",
            field="harness",
        )
    try:
        found = simple_evaluate(
            model=_model(model, tokenizer, context_length or CONTEXT, should_stop),
            tasks=list(tasks),
            limit=limit,
            num_fewshot=num_fewshot,
            task_manager=manager,
            bootstrap_iters=0,
            log_samples=True,
        )
    except (ConnectionError, FileNotFoundError) as error:
        raise DownloadError(
            f"harness: the data of {', '.join(tasks)} cannot be had: {error}",
            hint="check the network",
            field="harness",
        ) from error
    return list(_results(found))


def _results(found: dict[str, Any]) -> Iterator[TaskResult]:
    """One result for each metric that every question of a task has a number for."""
    for name, samples in sorted(found["samples"].items()):
        ordered = sorted(samples, key=lambda sample: sample["doc_id"])
        for metric in sorted(ordered[0]["metrics"]):
            scores = [sample[metric] for sample in ordered]
            if not all(isinstance(score, int | float | np.number) for score in scores):
                continue
            yield TaskResult(
                name=name,
                version=str(found["versions"].get(name, "")),
                metric=metric,
                value=float(np.mean(scores)),
                scores=tuple(float(score) for score in scores),
            )


def _model(
    model: nn.Module, tokenizer: TokenizerWrapper, context_length: int, should_stop: Callable[[], bool]
) -> Any:
    """The harness's view of the model; the class is made here since its base comes with the harness."""
    from lm_eval.api.model import TemplateLM
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    split = SplitModel(model)

    class Local(TemplateLM):  # type: ignore[misc]
        @property
        def eot_token_id(self) -> int:
            return int(tokenizer.eos_token_id)

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
            special = True if add_special_tokens is None else add_special_tokens
            return list(tokenizer.encode(string, add_special_tokens=special))

        def _loglikelihood_tokens(
            self, requests: list[tuple[Any, list[int], list[int]]], **_: Any
        ) -> list[tuple[float, bool]]:
            pairs = [(context, continuation) for _, context, continuation in requests]
            return _log_likelihoods(split, pairs, context_length, should_stop)

        def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
            totals = []
            for request in requests:
                windows = get_rolling_token_windows(
                    token_list=self.tok_encode(request.args[0]),
                    prefix_token=self.prefix_token_id,
                    max_seq_len=context_length - 1,
                    context_len=1,
                )
                pairs = [make_disjoint_window(window) for window in windows]
                found = _log_likelihoods(split, pairs, context_length, should_stop)
                totals.append(sum(value for value, _ in found))
            return totals

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            return [
                _answer(model, tokenizer, context, options, context_length, should_stop)
                for context, options in (request.args for request in requests)
            ]

    return Local()


def _log_likelihoods(
    model: SplitModel,
    pairs: Sequence[tuple[list[int], list[int]]],
    context_length: int,
    should_stop: Callable[[], bool],
) -> list[tuple[float, bool]]:
    """Of each continuation after its context: the summed log-probability in nats, and whether it is the greedy one.

    What does not fit is cut off at the left, as the harness does for models of Hugging Face.
    """
    cut = [((context + continuation)[-(context_length + 1) :], len(continuation)) for context, continuation in pairs]
    order = sorted(range(len(cut)), key=lambda index: -len(cut[index][0]))
    found: list[tuple[float, bool]] = [(0.0, True)] * len(cut)
    for start in range(0, len(order), BATCH):
        if should_stop():
            raise Interrupted
        chosen = order[start : start + BATCH]
        for index, each in zip(chosen, _batch(model, [cut[index] for index in chosen]), strict=True):
            found[index] = each
    return found


def _batch(model: SplitModel, rows: Sequence[tuple[list[int], int]]) -> Iterator[tuple[float, bool]]:
    width = max(len(tokens) for tokens, _ in rows) - 1
    inputs = np.zeros((len(rows), width), np.int32)
    for number, (tokens, _) in enumerate(rows):
        inputs[number, : len(tokens) - 1] = tokens[:-1]
    hidden = model.backbone(mx.array(inputs))
    for number, (tokens, length) in enumerate(rows):
        end = len(tokens) - 1
        logits = model.head(hidden[number, end - length : end]).astype(mx.float32)
        targets = mx.array(tokens[-length:])
        scores = mx.take_along_axis(logits, targets[:, None], axis=-1)[:, 0] - mx.logsumexp(logits, axis=-1)
        greedy = (mx.argmax(logits, axis=-1) == targets).all()
        yield float(np.array(scores.sum())), bool(greedy.item())


def _answer(
    model: nn.Module,
    tokenizer: TokenizerWrapper,
    context: str,
    options: dict[str, Any],
    context_length: int,
    should_stop: Callable[[], bool],
) -> str:
    """The greedy continuation, up to the first of the texts that end it."""
    if should_stop():
        raise Interrupted
    most = int(options.get("max_gen_toks", MOST_TOKENS))
    tokens = list(tokenizer.encode(context))[-max(1, context_length - most) :]
    text = tokenizer.decode(tokens) if len(tokens) < len(tokenizer.encode(context)) else context
    (answer,) = generate_batch(model, tokenizer, [text], max_tokens=most, use_chat_template=False)
    until = options.get("until", [])
    ends = [answer.find(end) for end in ([until] if isinstance(until, str) else until) if end and end in answer]
    return answer[: min(ends)] if ends else answer
