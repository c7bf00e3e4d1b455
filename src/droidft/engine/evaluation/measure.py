"""A trained model measured on data that it has not seen, row by row: test set, general text, questions.

`prepare_measurement` reads and checks everything before anything is trained, so that a fault in the test data does
not cost a night; `take` measures. `held_out_loss` and `accuracy` measure a model on a file and on some questions.
`rehearse` times a few steps of a run, which are not kept, and a part of its measurement.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from droidft.config import DataFormat, TrainingConfig, TrainOn
from droidft.config.measurement import Answers, Measurement, Measurements, Questions, RowLosses, TaskScore
from droidft.data import batches
from droidft.data.batches import mixed, numbered
from droidft.data.prepare import Prepared, prepare, read_set
from droidft.data.prompts import PromptRow, prompts_of
from droidft.data.tokens import TokenSet
from droidft.engine.generation.generate import generate_batch
from droidft.engine.generation.prompt import Prompt
from droidft.engine.methods.sft import Supervised
from droidft.engine.model.loss import SplitModel, losses
from droidft.engine.training.loop import Job, step_once
from droidft.engine.training.method import Interrupted
from droidft.errors import ConfigError
from droidft.events import Event, Measured, Phase, PhaseName
from droidft.rewards.rules import ToScore
from droidft.rewards.scorer import Scorer
from droidft.support.shares import score_interval

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper

ShouldStop = Callable[[], bool]

SCANNED_STEPS = 500
"""The longest batch is searched for among this many steps."""
EVALUATED_ROWS = 16
ANSWER_TOKENS = 32


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows whose loss is measured, and which of them belong together."""

    tokens: TokenSet
    clusters: list[int]

    @classmethod
    def of(cls, tokens: TokenSet) -> Rows:
        """Rows with clusters as they were read."""
        return cls(tokens, numbered(tokens.groups))


@dataclass(frozen=True, eq=False)
class Asked:
    """Questions about some of the test rows."""

    spec: Questions
    rows: list[int]
    """Their indices in the test set."""
    prompts: list[PromptRow]
    scorer: Scorer

    def questions(self) -> list[Prompt]:
        """The prompt of each, as training reads it: with its tools and the run's way of using the template."""
        return [Prompt(prompt.tokens.tolist(), prompt.messages is not None) for prompt in self.prompts]


@dataclass(frozen=True, eq=False)
class Material:
    """All that a measurement needs, read and checked."""

    config: TrainingConfig
    wanted: Measurement
    test: Rows
    general: Rows
    asked: Asked | None
    seen_in_training: int
    """Test rows that are also among those that are trained on or chosen by."""
    opened_in_training: int | None
    """Further ones that belong together with such a row. None: their column is not one of the training data."""
    context_length: int | None


def prepare_measurement(
    config: TrainingConfig,
    wanted: Measurement,
    tokenizer: TokenizerWrapper | Any,
    data: Prepared,
    *,
    general: Path,
    context_length: int | None,
) -> Material:
    """Read the test set, the general text (`general`, unless another is wanted) and the questions.

    `data` is the data of the run. Rows are read and masked as `config` says; the general text counts every token.

    Raises:
        InvalidData, DataError, DownloadError: as `prepare` does.
        ConfigError: there is no test set, or no such column.
    """
    if (spec := wanted.harness) is not None:
        from droidft.engine.evaluation import harness

        harness.check(spec.tasks, include=Path(spec.include) if spec.include else None)
    test = _test_rows(config, wanted, tokenizer, data, context_length)
    text = wanted.general_data_path or str(general)
    plain = config.model_copy(
        update={"data_format": DataFormat.AUTO, "mask_prompt": False, "system_prompt": None, "max_seq_length": None}
        | {"train_on": TrainOn.ALL_TURNS}
        | dict.fromkeys(("text_column", "prompt_column", "completion_column", "messages_column", "split_column"))
    )
    unseen = read_set(plain, text, tokenizer, called="the general text", context_length=context_length)
    known = [data.train, data.validation]
    seen = np.isin(test.digests, np.concatenate([rows.digests for rows in known]))
    comparable = wanted.cluster_column in (None, config.split_column)
    opened = np.isin(test.groups, np.concatenate([rows.groups for rows in known]))
    return Material(
        config=config,
        wanted=wanted,
        test=Rows.of(test),
        general=Rows.of(unseen),
        asked=_asked(config, wanted.questions, tokenizer, test, context_length) if wanted.questions else None,
        seen_in_training=int(seen.sum()),
        opened_in_training=int((opened & ~seen).sum()) if comparable else None,
        context_length=context_length,
    )


def take(
    model: nn.Module, tokenizer: TokenizerWrapper, material: Material, *, step: int, should_stop: ShouldStop
) -> Generator[Event, None, Measurements]:
    """Measure `model` as it stands, in evaluation mode.

    Raises:
        Interrupted: `should_stop` returned True.
    """
    began = time.perf_counter()
    training = model.training
    model.eval()
    try:
        split, size = SplitModel(model), material.config.batch_size
        yield Phase(name=PhaseName.MEASURING, detail=f"loss of {len(material.test.tokens):,} test rows")
        test = row_losses(split, material.test, batch_size=size, should_stop=should_stop)
        yield Phase(name=PhaseName.MEASURING, detail=f"loss of {len(material.general.tokens):,} general texts")
        general = row_losses(split, material.general, batch_size=size, should_stop=should_stop)
        answers = None
        if (asked := material.asked) is not None:
            yield Phase(name=PhaseName.MEASURING, detail=f"{len(asked.rows):,} questions")
            answers = _answers(model, tokenizer, asked, should_stop)
        tasks: list[TaskScore] = []
        if material.wanted.harness is not None:
            yield Phase(name=PhaseName.MEASURING, detail=", ".join(material.wanted.harness.tasks))
            tasks = _harness(model, tokenizer, material, should_stop)
    finally:
        model.train(training)
    measurements = Measurements(
        step=step,
        test=test,
        general=general,
        questions=answers,
        harness=tasks,
        seen_in_training=material.seen_in_training,
        seconds=time.perf_counter() - began,
    )
    yield Measured(
        step=step,
        test_loss=test.mean,
        general_loss=general.mean,
        right=sum(answers.right) if answers else None,
        questions=len(answers.right) if answers else None,
        seconds=measurements.seconds,
    )
    return measurements


def row_losses(model: SplitModel, rows: Rows, *, batch_size: int, should_stop: ShouldStop) -> RowLosses:
    """The summed loss of each row, in nats: sums in float64 over the float32 losses of its supervised tokens."""
    source = rows.tokens
    sums = np.zeros(len(source), dtype=np.float64)
    for chosen in batches.evaluation_order(source.lengths, batch_size=batch_size):
        if should_stop():
            raise Interrupted
        batch = batches.make_batch(source, chosen)
        values = np.asarray(losses(model, batch), dtype=np.float64)
        np.add.at(sums, chosen[batch.positions // batch.inputs.shape[1]], values)
    return RowLosses(
        losses=sums.tolist(),
        tokens=source.supervised_counts.tolist(),
        clusters=rows.clusters,
        places=[source.place(index) for index in range(len(source))],
        data_hash=source.sha256(),
    )


@dataclass(frozen=True)
class Accuracy:
    """Right answers among `total`, with the 95 % score interval (Wilson, 1927)."""

    right: int
    total: int

    @property
    def share(self) -> float:
        """Observed share of right answers."""
        return self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end; sensible at 0 and 1 too."""
        return score_interval(self.right, self.total)


def held_out_loss(model: nn.Module, tokenizer: TokenizerWrapper, config: TrainingConfig, rows: Path) -> float:
    """Mean loss in nats per supervised token on the rows of a file, read and masked as `config` says."""
    changed = config.model_copy(update={"train_data_path": str(rows), "val_data_path": str(rows)})
    data = prepare(changed, tokenizer)
    method = Supervised(changed, data.train, data.validation)
    return method.evaluate(SplitModel(model), should_stop=lambda: False).loss


def accuracy(
    model: nn.Module,
    tokenizer: TokenizerWrapper,
    questions: Sequence[str],
    is_right: Callable[[int, str], bool],
    *,
    max_tokens: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Accuracy, list[str]]:
    """Greedy answers to `questions`, judged by `is_right(index, answer)`; the score and the answers."""
    answers = generate_batch(model, tokenizer, questions, max_tokens=max_tokens, progress=progress)
    right = sum(is_right(index, answer) for index, answer in enumerate(answers))
    return Accuracy(right, len(answers)), answers


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


def _test_rows(
    config: TrainingConfig, wanted: Measurement, tokenizer: Any, data: Prepared, context_length: int | None
) -> TokenSet:
    if wanted.test_data_path is not None:
        path, column = wanted.test_data_path, wanted.cluster_column or config.split_column
        config = config.model_copy(update={"split_column": column})
        return read_set(config, path, tokenizer, called="the test data", context_length=context_length)
    if len(data.test) == 0:
        raise ConfigError(
            "there are no test rows: test_fraction is 0 and no test_data_path is given",
            hint="set test_fraction (0.1, say), or give a test file",
            field="test_data_path",
        )
    return data.test


def _asked(
    config: TrainingConfig, spec: Questions, tokenizer: Any, test: TokenSet, context_length: int | None
) -> Asked:
    # By their own hash, so that a file in order of difficulty gives a fair sample.
    order = np.argsort(mixed(test.digests, 0), kind="stable")[: spec.most]
    rows = sorted(int(index) for index in order)
    asking = config.model_copy(update={"max_completion_length": spec.max_tokens, "max_prompt_length": None})
    prompts = prompts_of(asking, tokenizer, test, rows, context_length=context_length)
    scorer = Scorer([spec.check], Path())  # no file of the user's own can be among the checks
    scorer.check((prompt.place, prompt.columns) for prompt in prompts)
    return Asked(spec, rows, prompts, scorer)


def _answers(model: nn.Module, tokenizer: TokenizerWrapper, asked: Asked, should_stop: ShouldStop) -> Answers:
    def check(_done: int, _all: int) -> None:
        if should_stop():
            raise Interrupted

    texts = generate_batch(
        model,
        tokenizer,
        asked.questions(),
        max_tokens=asked.spec.max_tokens,
        batch_size=asked.spec.batch_size,
        progress=check,
    )
    scores = asked.scorer.score(
        [
            ToScore(prompt.asked, text, 0, prompt.columns, prompt.place)
            for prompt, text in zip(asked.prompts, texts, strict=True)
        ]
    )
    return Answers(check=asked.spec.check.kind, rows=asked.rows, right=(scores[:, 0] == 1).tolist(), answers=texts)


def _harness(
    model: nn.Module, tokenizer: TokenizerWrapper, material: Material, should_stop: ShouldStop
) -> list[TaskScore]:
    from droidft.engine.evaluation import harness

    spec = material.wanted.harness
    assert spec is not None
    return harness.evaluate(
        model,
        tokenizer,
        spec.tasks,
        include=Path(spec.include) if spec.include else None,
        limit=spec.limit,
        num_fewshot=spec.num_fewshot,
        context_length=material.context_length,
        should_stop=should_stop,
    )
