"""Learning from rewards: it learns, exactly resumes, and does nothing where there is nothing to learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from droidft.engine.methods.policy import PolicyBatch
from droidft.engine.model import lora
from droidft.engine.model.loss import SplitModel
from droidft.engine.training import checkpoint
from droidft.engine.training.loop import train
from droidft.errors import CheckpointError, NonFiniteError, RewardError
from droidft.events import METRICS, Completions, EvalReport, Stopped, TrainReport, Warned
from tests.engine.methods import rewarded

METHODS = ["grpo", "gspo", "dr_grpo"]
TIMED = "sampling_tokens_per_second"


def told(events: list[Any]) -> dict[Any, Any]:
    """Everything that a resumed run has to say again to the bit."""
    found: dict[Any, Any] = {}
    for event in events:
        match event:
            case TrainReport():
                metrics = {name: value for name, value in event.metrics.items() if name != TIMED}
                found["report", event.step] = (event.loss, event.grad_norm, event.supervised_tokens, metrics)
            case EvalReport():
                found["eval", event.step] = (event.loss, event.tokens, event.metrics)
            case Completions():
                found["completions", event.step] = event.rows
    return found


def newest(folder: Path) -> Any:
    return checkpoint.newest_good(folder)[:2]


def adapter_hash(folder: Path) -> str:
    return str(checkpoint.sha256(newest(folder)[0] / checkpoint.ADAPTER))


@pytest.mark.parametrize("stop_after", [0, 30, 41, 70, 90])
@pytest.mark.parametrize(
    "changes",
    [
        {"beta": 0.04},
        {"beta": 0.04, "steps_per_generation": 2, "num_iterations": 2, "steps_per_report": 2},
        {"method": "gspo", "num_iterations": 3, "mask_truncated_completions": True},
    ],
)
def test_a_stopped_and_resumed_run_equals_one_never_stopped(
    tmp_path: Path, stop_after: int, changes: dict[str, Any]
) -> None:
    """`should_stop` is asked for every token that is sampled, so it breaks into rollouts and into updates."""
    settings = rewarded.config(**changes)
    whole = list(train(rewarded.job(tmp_path / "whole", settings)))
    asked = [0]

    def should_stop() -> bool:
        asked[0] += 1
        return asked[0] > stop_after

    first = list(train(rewarded.job(tmp_path / "parts", settings), should_stop=should_stop))
    assert isinstance(first[-1], Stopped)
    second = list(train(rewarded.job(tmp_path / "parts", settings, resume=newest(tmp_path / "parts"))))
    assert told(first) | told(second) == told(whole)
    assert adapter_hash(tmp_path / "parts") == adapter_hash(tmp_path / "whole")


@pytest.mark.parametrize("stop_after", range(4))
def test_a_stop_while_the_base_is_asked_leaves_nothing_half_made(
    tmp_path: Path, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sampling serves two steps here; without its base's log-probabilities the second would have no KL term."""
    settings = rewarded.config(beta=0.5, num_iterations=2, iterations=6, save_every=100)
    whole = list(train(rewarded.job(tmp_path / "whole", settings)))
    job = rewarded.job(tmp_path / "parts", settings)
    asked, read = [0], job.method._read

    def stops_within(model: Any, rollout: Any, should_stop: Any) -> Any:
        def stop() -> bool:
            asked[0] += rollout.number == 1
            return asked[0] > stop_after

        return read(model, rollout, lambda: stop() or should_stop())

    monkeypatch.setattr(job.method, "_read", stops_within)
    first = list(train(job, should_stop=lambda: asked[0] > stop_after))
    if stop_after < 3:
        assert isinstance(first[-1], Stopped)
        assert first[-1].step == 2
    second = list(train(rewarded.job(tmp_path / "parts", settings, resume=newest(tmp_path / "parts"))))
    assert told(first) | told(second) == told(whole)
    assert adapter_hash(tmp_path / "parts") == adapter_hash(tmp_path / "whole")


def test_broken_weights_are_noticed_while_sampling(tmp_path: Path) -> None:
    job = rewarded.job(tmp_path, rewarded.config())
    job.model.load_weights([("model.norm.weight", mx.full((32,), float("nan")))], strict=False)
    with pytest.raises(NonFiniteError, match="while completions are sampled"):
        list(train(job))


def test_a_run_is_not_continued_with_another_file_of_rewards(tmp_path: Path) -> None:
    settings = rewarded.config(rewards=[rewarded.ASCII], iterations=1)
    list(train(rewarded.job(tmp_path, settings)))
    job = rewarded.job(tmp_path, settings, resume=newest(tmp_path))
    job.rewards_hash = "letters.py 0123"
    with pytest.raises(CheckpointError, match="file of rewards"):
        list(train(job))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("changes", [{}, {"num_iterations": 2, "beta": 0.01}])
def test_the_reward_rises(tmp_path: Path, method: str, changes: dict[str, Any]) -> None:
    settings = rewarded.config(
        **{"method": method, "rewards": [rewarded.ASCII], "iterations": 80, "learning_rate": 3e-2},
        **{
            "prompts_per_step": 4,
            "num_generations": 8,
            "max_completion_length": 8,
            "steps_per_eval": 80,
            "max_eval_prompts": 32,
        },
        **changes,
    )
    events = list(train(rewarded.job(tmp_path, settings)))
    rewards = [event.metrics["reward"] for event in events if isinstance(event, TrainReport)]
    assert np.mean(rewards[-10:]) > np.mean(rewards[:10]) + 0.1
    evaluations = [event for event in events if isinstance(event, EvalReport)]
    assert evaluations[-1].metrics["reward"] > evaluations[0].metrics["reward"]
    assert evaluations[-1].loss == -evaluations[-1].metrics["reward"]


def test_equal_rewards_move_nothing_and_the_user_is_told_why(tmp_path: Path) -> None:
    settings = rewarded.config(
        rewards=[{"kind": "keyword_coverage", "keywords": ["unheard-of"]}], iterations=6, weight_decay=0.1
    )
    job = rewarded.job(tmp_path, settings)
    before = {name: np.array(array) for name, array in lora.trainable(job.model).items()}
    events = list(train(job))
    for name, array in lora.trainable(job.model).items():
        assert np.array_equal(before[name], np.array(array)), name
    reports = [event for event in events if isinstance(event, TrainReport)]
    assert {report.metrics["tied_groups"] for report in reports} == {1.0}
    assert {report.grad_norm for report in reports} == {0.0}
    (warning,) = [event for event in events if isinstance(event, Warned) and event.code == "all_tied"]
    assert "keyword_coverage gives 0 to every completion" in warning.message


def test_a_warning_where_every_completion_is_cut_off(tmp_path: Path) -> None:
    settings = rewarded.config(max_completion_length=1, iterations=1)
    codes = [event.code for event in train(rewarded.job(tmp_path, settings)) if isinstance(event, Warned)]
    assert codes == ["all_truncated"]


def test_batches_in_which_completions_are_processed_change_nothing(tmp_path: Path) -> None:
    results = []
    for size in (1, 3, 100):
        settings = rewarded.config(
            rewards=[rewarded.ASCII], batch_size=size, iterations=1, optimizer="sgd", max_grad_norm=0, beta=0.1
        )
        job = rewarded.job(tmp_path / str(size), settings)
        reports = [event for event in train(job) if isinstance(event, TrainReport)]
        results.append((reports[0], lora.trainable(job.model)))
    (report, arrays), *others = results
    for other, other_arrays in others:
        assert other.metrics["kl"] == pytest.approx(report.metrics["kl"], abs=1e-7)
        assert other.grad_norm == pytest.approx(report.grad_norm, rel=1e-4)
        for name, array in arrays.items():
            assert np.allclose(np.asarray(array), np.asarray(other_arrays[name]), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_leaving_out_what_cannot_teach_changes_no_gradient(tmp_path: Path, method: str) -> None:
    """Without a KL term, completions of tied groups are not read again."""
    settings = rewarded.config(
        method=method, rewards=[rewarded.ASCII], num_generations=2, prompts_per_step=6, max_completion_length=2
    )
    job = rewarded.job(tmp_path, settings)
    split, taught = SplitModel(job.model), job.method
    list(taught.prepare(1, split, lambda: False))
    some = taught.batches(1)
    rows = {row for batch in some for row in batch.rows}
    assert 0 < len(rows) < settings.completions_per_step, "some groups are tied, and some are not"
    rollout, part = taught._part(1)
    weights = dict(zip(part.tolist(), taught._weights(rollout, part).tolist(), strict=True))
    everything = [taught._batch(rollout, part, weights)]

    def gradients(batches: Any) -> dict[str, Any]:
        total = nn.value_and_grad(job.model, lambda: sum(taught.loss(split, batch)[0] for batch in batches))
        return dict(tree_flatten(total()[1]))

    few, all_of_them = gradients(some), gradients(everything)
    assert max(float(mx.abs(array).max().item()) for array in few.values()) > 1e-4
    for name, array in few.items():
        assert np.allclose(np.asarray(array), np.asarray(all_of_them[name]), atol=1e-7), name


def test_the_first_ratio_is_one_and_what_was_kept_at_sampling_is_what_the_policy_says(tmp_path: Path) -> None:
    job = rewarded.job(tmp_path, rewarded.config(beta=0.5, temperature=0.7))
    split = SplitModel(job.model)
    list(job.method.prepare(1, split, lambda: False))
    from droidft.engine.model.loss import log_probabilities

    for batch in job.method.batches(1):
        assert isinstance(batch, PolicyBatch)
        assert batch.reference is not None
        now = np.array(log_probabilities(split, batch, temperature=0.7))
        assert np.allclose(now, batch.old, atol=2e-5)
        assert np.allclose(now, batch.reference, atol=2e-5), "B is zero at the start: the policy is the base"


def test_every_metric_is_explained_and_completions_are_shown(tmp_path: Path) -> None:
    settings = rewarded.config(beta=0.1, shown_completions=5, iterations=2)
    events = list(train(rewarded.job(tmp_path, settings)))
    for event in events:
        if isinstance(event, TrainReport | EvalReport):
            for name in event.metrics:
                head, _, own = name.partition("/")
                assert (f"{head}/NAME" if own else head) in METRICS, name
    shown = [event for event in events if isinstance(event, Completions)]
    assert [event.step for event in shown] == [1, 2]
    for event in shown:
        assert len(event.rows) == 5
        row = event.rows[0]
        assert row.reward == pytest.approx(row.rewards["length_window"] + 0.5 * row.rewards["lexical_f1"])
        assert row.place.startswith("chat.jsonl:")
        group = [other.advantage for other in event.rows[:4]]
        assert sum(group) == pytest.approx(0, abs=1e-9)


def test_prompts_follow_the_seed_and_every_prompt_comes_once_an_epoch(tmp_path: Path) -> None:
    settings = rewarded.config(prompts_per_step=4, steps_per_generation=2)
    method = rewarded.method(settings)
    count = len(method._train)
    assert method.steps_per_epoch == -(-count // 4)
    seen = np.concatenate([method._prompts_of(number) for number in range(count)])
    for epoch in range(len(seen) // count):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))
    other = rewarded.method(rewarded.config(prompts_per_step=4, steps_per_generation=2, seed=1))
    assert not np.array_equal(method._prompts_of(0), other._prompts_of(0))


NONE_FOR_SOME = """
def short(completions, messages, **_):
    return [None if m[0]["content"] < limit else float(len(c) < 8) for c, m in zip(completions, messages)]
"""


def with_partial(limit: str, **changes: Any) -> Any:
    """Settings with a reward that is for prompts from `limit` on alone, by their first letter."""
    (rewarded.material()[1].parent / "rewards" / "partial.py").write_text(f"limit = {limit!r}\n{NONE_FOR_SOME}")
    partial = {"kind": "python", "file": "partial.py", "function": "short", "label": "short"}
    settings: dict[str, Any] = {"iterations": 6, "steps_per_report": 1, "prompts_per_step": 4, "max_eval_prompts": 8}
    return rewarded.config(**settings, **{"rewards": [partial], **changes})


def test_a_reward_that_is_none_for_some_rows(tmp_path: Path) -> None:
    """Such rows are in no mean of that reward, and where nothing else scores them nothing is learned from them."""
    events = list(train(rewarded.job(tmp_path, with_partial("k"))))
    shown = [row for event in events if isinstance(event, Completions) for row in event.rows]
    unscored = [row for row in shown if not row.rewards]
    assert unscored
    assert len(unscored) < len(shown)
    assert all(row.reward == row.advantage == 0 for row in unscored)
    assert all(row.prompt[0] < "k" for row in unscored)
    [warning] = [event for event in events if isinstance(event, Warned) and event.code == "unscored"]
    assert "every reward returned None for" in warning.message
    for event in events:
        if isinstance(event, TrainReport | EvalReport):
            assert all(np.isfinite(value) for value in event.metrics.values())


def test_the_mean_of_a_reward_is_over_the_rows_that_it_is_for(tmp_path: Path) -> None:
    always = {"kind": "length_window", "minimum": 0, "maximum": 4000, "unit": "characters"}
    settings = with_partial("k", shown_completions=16)
    settings = settings.model_copy(update={"rewards": rewarded.config(rewards=[always]).rewards + settings.rewards})
    step: dict[int, Any] = {}
    for event in train(rewarded.job(tmp_path, settings)):
        if isinstance(event, TrainReport):
            step[event.step] = event.metrics
        if isinstance(event, Completions):
            given = [row.rewards["short"] for row in event.rows if "short" in row.rewards]
            assert len(event.rows) == 16
            if given:
                assert step[event.step]["reward/short"] == pytest.approx(np.mean(given))
            else:
                assert "reward/short" not in step[event.step]
            assert all(row.reward == pytest.approx(1 + row.rewards.get("short", 0)) for row in event.rows)


def test_rewards_that_are_none_for_every_row_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"every reward returned None for all [0-9]+ .* for row chat"):
        list(train(rewarded.job(tmp_path, with_partial("~"))))


def test_a_stop_while_a_reward_runs_keeps_the_steps_before(tmp_path: Path) -> None:
    (rewarded.material()[1].parent / "rewards" / "stops.py").write_text(
        "from droidft.rewards import calls\ncount = 0\n"
        "def reward(completions, **_):\n"
        "    global count\n    count += 1\n"
        "    if count == 4:\n        calls.abandon()\n"
        "    return [len(c) for c in completions]\n"
    )
    settings = rewarded.config(rewards=[{"kind": "python", "file": "stops.py"}], steps_per_eval=100)
    events = list(train(rewarded.job(tmp_path, settings)))
    assert isinstance(events[-1], Stopped)
    assert events[-1].step == 2, "one call for the evaluation before the first step, one for each step"
    assert newest(tmp_path)[1].step == 2
