"""The losses, gradients, statistics and updates of TRL's own trainer, on the same weights, prompts and completions.

`tests/golden/trl_policy.txt` was written by `bench/golden_policy.py`. TRL's newer factor of the ratio on the KL term
is turned off there: the papers have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from droidft.config import TrainingConfig
from droidft.data.prompts import PromptRow
from droidft.engine.methods.grpo import GroupRelative
from droidft.engine.methods.policy import PolicyBatch
from droidft.engine.methods.rollouts import Completion, Rollout, Texts
from droidft.engine.model import lora
from droidft.engine.model.loss import SplitModel, log_probabilities
from droidft.engine.training.loop import Job, train
from droidft.engine.training.method import Evaluation
from droidft.events import Event, TrainReport
from droidft.rewards.scorer import Scorer
from tests import parity
from tests.engine.methods import policy_cases as cases
from tests.engine.methods import policy_compare as compare
from tests.engine.methods.policy_cases import Case, Section

GOLDEN = cases.read()
LIMITS = {
    "advantages": 1e-6,
    "log-probabilities": 2e-5,
    "loss": 1e-6,
    "gradient norm": 1e-5,
    "gradient norms of tensors": 2e-5,
    "gradient": 5e-5,
    "kl": 2e-6,
    "clip_low": 1e-6,
    "clip_high": 1e-6,
}


@pytest.fixture(scope="module")
def split() -> SplitModel:
    return SplitModel(compare.model())


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_loss_gradient_and_statistics_are_trls(case: Case, split: SplitModel, arithmetic: None) -> None:
    found = compare.from_trl(case, GOLDEN, split)
    assert found.keys() == LIMITS.keys() - ({"kl"} if not case.beta else set())
    assert not {name: apart for name, apart in found.items() if apart > LIMITS[name]}


METHODS = {"grpo": "grpo", "gspo": "gspo", "dr_grpo": "dr_grpo", "dapo": "grpo"}


def config(case: Case) -> TrainingConfig:
    """The settings of a training of TRL's in our terms."""
    return TrainingConfig(
        method=METHODS[case.name],
        model_path="tiny",
        train_data_path="prompts",
        rewards=[{"kind": "lexical_f1", "weight": cases.REWARD_WEIGHTS[0], "label": "format"},
                 {"kind": "lexical_f1", "weight": cases.REWARD_WEIGHTS[1], "label": "answer"}],
        num_generations=cases.SIZE,
        prompts_per_step=cases.GROUPS,
        steps_per_generation=1,
        num_iterations=cases.ITERATIONS,
        max_completion_length=cases.LONGEST,
        temperature=case.temperature,
        loss_type=case.loss_type,
        epsilon=case.epsilon,
        epsilon_high=case.epsilon_high,
        beta=case.beta,
        scale_rewards=case.scale,
        mask_truncated_completions=case.mask_truncated,
        learning_rate=cases.RATE,
        adam_beta1=parity.BETAS[0],
        adam_beta2=parity.BETAS[1],
        adam_eps=parity.EPS,
        weight_decay=0.0,
        max_grad_norm=0.05,
        lora_rank=cases.RANK,
        lora_alpha=cases.RANK * cases.SCALE,
        batch_size=5,
        iterations=cases.STEPS,
        steps_per_eval=100,
        save_every=100,
    )  # fmt: skip


class Prompts:
    """The prompts of the cases."""

    def __len__(self) -> int:
        return cases.GROUPS

    def __getitem__(self, index: int) -> PromptRow:
        tokens = np.array(cases.prompts()[index], np.int32)
        return PromptRow(tokens, None, f"prompt {index}", {"answer": "-"}, "prompts.jsonl", index + 1)

    @property
    def lengths(self) -> Any:
        return np.array(cases.PROMPT_LENGTHS, np.int64)


class Given(GroupRelative):
    """The method with given completions and rewards in the place of sampled ones; all else is its own."""

    def prepare(self, step: int, model: SplitModel, should_stop: Callable[[], bool]) -> Iterator[Event]:
        number = (step - 1) // self._updates
        if self._rollout is not None and self._rollout.number == number:
            return
        completions = [
            Completion(
                np.array(tokens, np.int32), np.zeros(len(tokens)), np.zeros(len(tokens)), tokens[-1] != cases.END
            )
            for tokens in cases.completions(number)
        ]
        rows = np.repeat(np.arange(cases.GROUPS), cases.SIZE)
        rollout = Rollout.of(number, rows, completions, cases.rewards(number), seconds=1.0)
        self._adopt(rollout)
        rollout.old = self._read(model, rollout, should_stop)
        self._reread(model, rollout, should_stop)
        yield from ()

    def evaluate(self, model: SplitModel, *, should_stop: Callable[[], bool]) -> Evaluation:
        return Evaluation(0.0, 1)


@pytest.mark.parametrize("case", cases.TRAININGS, ids=lambda case: case.name)
def test_updates_are_trls_step_by_step(case: Case, tmp_path: Path, arithmetic: None) -> None:
    """Two rollouts with three AdamW steps each, the ratio moving away from one within a rollout."""
    settings, wanted = config(case), GOLDEN[f"training {case.name}"]
    prompts: Any = Prompts()
    scorer = Scorer(settings.rewards, tmp_path)
    method = Given(settings, prompts, prompts, scorer=scorer, texts=Texts(None, frozenset({cases.END})))
    method._config = settings.model_copy(update={"shown_completions": 0})
    model = compare.model()
    job = Job(settings, model, method, tmp_path, data_hash="prompts")
    reports = [event for event in train(job) if isinstance(event, TrainReport)]
    assert len(reports) == cases.STEPS
    found = {"loss": [report.loss for report in reports], "gradient_norm": [report.grad_norm for report in reports]}
    found |= {name: [report.metrics[name] for report in reports] for name in ("clip_low", "clip_high")}
    if case.beta:
        found["kl"] = [report.metrics["kl"] for report in reports]
    for name, values in found.items():
        # The log of TRL keeps some of them in few digits.
        assert values == pytest.approx(wanted.values[name], rel=2e-3, abs=2e-5), name
    for name, array in lora.trainable(model).items():
        shown = cases.shown(np.array(array).reshape(-1))
        assert shown == pytest.approx(wanted.values[f"values {name}"], abs=2e-5), name


def test_rewards_lengths_and_ties_are_counted_as_trl_does(tmp_path: Path) -> None:
    case = cases.TRAININGS[0]
    settings, prompts, wanted = config(case), Prompts(), GOLDEN["case grpo"]
    given: Any = prompts
    method = Given(settings, given, given, scorer=Scorer(settings.rewards, tmp_path), texts=Texts(None, frozenset()))
    list(method.prepare(1, SplitModel(compare.model()), lambda: False))
    found = method.metrics(1, {})
    for name in (
        "reward", "reward_std", "reward/format", "reward_std/format", "reward/answer", "reward_std/answer",
        "tied_groups", "completion_length", "completion_length_max", "truncated",
    ):  # fmt: skip
        assert found[name] == pytest.approx(wanted.one(name), abs=1e-6), name


def test_the_entropy_of_sampling_is_trls(split: SplitModel) -> None:
    """The same distributions, from logits."""
    from droidft.engine.methods.rollouts import _draw_on_host

    policy = GOLDEN["policy temperature=0.7"]
    batch = compare.case_batch(Case("cool", temperature=0.7), policy.rows("logps"), policy.rows("base"))
    assert isinstance(batch, PolicyBatch)
    import mlx.core as mx

    logits = split.model(mx.array(batch.inputs)).reshape(-1, split.model(mx.array(batch.inputs)).shape[-1])
    at = np.array(logits[mx.array(batch.positions)])
    _, _, entropies = _draw_on_host(at, np.full(len(at), 0.5), 0.7)
    assert entropies == pytest.approx(np.concatenate(policy.rows("entropies")), abs=2e-5)
    assert np.array(log_probabilities(split, batch, temperature=0.7)) == pytest.approx(
        np.concatenate(policy.rows("logps")), abs=2e-5
    )


def test_the_golden_file_names_its_makers() -> None:
    first = cases.RECORDED.read_text().splitlines()[0]
    assert first.startswith("# trl 1.")
    assert all(isinstance(section, Section) for section in GOLDEN.values())
