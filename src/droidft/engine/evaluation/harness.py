"""EleutherAI's evaluation harness on a model that is loaded here, with or without an adapter on it.

The harness (`lm-eval`) brings tasks, prompts and metrics; `harness_model` brings log-probabilities and greedy
answers. It is an optional package, so nothing of it is imported before it is asked for.
"""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.nn as nn
import numpy as np

from droidft.config.measurement import TaskScore
from droidft.errors import ConfigError, DownloadError, NotFound
from droidft.models import catalog, hub

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper

CONTEXT = 2048
"""Longest input in tokens where the model names no limit, as in the harness."""
PYTHON_SEED, NUMPY_SEED, SHOTS_SEED = 0, 1234, 1234
"""What the harness's own command seeds before it loads tasks; some of them shuffle their choices."""
FIELD = "harness"


def check(tasks: Sequence[str], *, include: Path | None = None) -> None:
    """Load the tasks and their data, so that their faults show before a model is trained.

    Raises:
        ConfigError, NotFound, DownloadError: see `evaluate`.
    """
    _load(tasks, include)


def evaluate(
    model: nn.Module,
    tokenizer: TokenizerWrapper,
    tasks: Sequence[str],
    *,
    include: Path | None = None,
    limit: int | None = None,
    num_fewshot: int | None = None,
    context_length: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[TaskScore]:
    """What `model` scores on tasks of the harness, or on those of the YAML files in the folder `include`.

    Scores are in the task's own order, so that two models can be compared question by question. A metric has the
    harness's filter after a comma, where there is one: `exact_match,strict-match`.

    A group such as `mmlu` gives one result for each metric that the harness sums up as the mean over all questions,
    else one for each of its tasks. Metrics that are no mean over questions, such as perplexity, are left out. Files
    that a task in `include` names are looked for in that folder; nothing else of such a task touches the network.

    Args:
        limit: Use only this many questions of each task, from its start. Default: all.
        num_fewshot: Examples before each question; a task that allows none keeps none. Default: the task's own.
        context_length: Longest input in tokens; what is too long loses its beginning. Default: the model's own.
        progress: Called with requests answered and requests known so far.

    Raises:
        ConfigError: the harness is not installed, or a task cannot be loaded, or is of a kind that is not supported.
        NotFound: there is no such task, or no such folder.
        DownloadError: a task's data is not here and cannot be fetched.
        Interrupted: `should_stop` returned True.
    """
    training = model.training
    model.eval()
    try:
        with _seeded():
            loaded = _load(tasks, include)
            _set_shots(loaded.tasks.values(), num_fewshot)
            from lm_eval.evaluator import evaluate as run

            from droidft.engine.evaluation.harness_model import HarnessModel

            length = context_length or _own_length(model)
            asked = HarnessModel(model, tokenizer, context_length=length, progress=progress, should_stop=should_stop)
            tree = {"tasks": loaded.tasks, "groups": loaded.groups}
            outcome = run(lm=asked, task_dict=tree, limit=limit, bootstrap_iters=0, log_samples=True)
    finally:
        model.train(training)
    return [result for name in loaded.asked for result in _results(loaded, name, outcome)]


def _own_length(model: nn.Module) -> int:
    settings = getattr(model, "args", None)
    return catalog.context_length(vars(settings) if settings else {}) or CONTEXT


@dataclass(frozen=True)
class _Loaded:
    """Tasks with their data."""

    tasks: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, list[str]] = field(default_factory=dict)
    """Each name that was asked for, and the tasks behind it."""


def _load(names: Sequence[str], include: Path | None) -> _Loaded:
    try:
        import datasets  # type: ignore[import-untyped]
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the evaluation harness is not installed: there is no module {error.name}",
            hint='pip install "droidft[harness]"',
            field=FIELD,
        ) from error
    # Else a request counts every file that is read, also one of this machine.
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    manager = _manager(TaskManager, names, include)
    loaded = _Loaded()
    with chdir(include) if include else nullcontext():
        for name in dict.fromkeys(names):
            task = _load_one(manager, name)
            group = task["groups"].get(name)
            members = [each.task_name for each in group.get_all_tasks()] if group else list(task["tasks"])
            loaded.tasks.update(task["tasks"])
            loaded.groups.update(task["groups"])
            loaded.asked[name] = members
    for name, task in loaded.tasks.items():
        if problem := _unsupported(task):
            raise ConfigError(f"task {name!r} {problem}", hint="leave it out, or take another task", field=FIELD)
    return loaded


def _manager(TaskManager: Any, names: Sequence[str], include: Path | None) -> Any:
    """A task manager that knows all of `names`; reading every task of the harness takes seconds, so it is avoided."""
    if include is not None:
        if not include.is_dir():
            raise NotFound(f"there is no folder {include} with tasks", hint="check include", field=FIELD)
        own = TaskManager(include_path=str(include.absolute()), include_defaults=False)
        if set(names) <= set(own.all_subtasks):
            return own
    manager = TaskManager(include_path=str(include.absolute()) if include else None)
    for name in names:
        if name not in manager.all_tasks:
            nearest = difflib.get_close_matches(name, manager.all_tasks)
            meant = f"did you mean {' or '.join(nearest)}? " if nearest else ""
            raise NotFound(
                f"the evaluation harness has no task {name!r}",
                hint=f"{meant}`lm-eval ls tasks` lists its own; include is for a folder with YAML files of yours",
                field=FIELD,
            )
    return manager


def _load_one(manager: Any, name: str) -> Any:
    import datasets
    from huggingface_hub.errors import HfHubHTTPError
    from jinja2 import TemplateError
    from yaml import YAMLError

    try:
        return manager.load([name])
    except (ConnectionError, HfHubHTTPError, datasets.exceptions.DatasetNotFoundError) as error:
        reason = hub.why_offline(offline=False)
        raise DownloadError(
            f"the data of task {name!r} is not on this machine and cannot be fetched: {reason or _line(error)}",
            hint="allow the network once; the data is kept" if reason else "check the connection and try again",
            field=FIELD,
        ) from error
    except ImportError as error:
        raise ConfigError(
            f"task {name!r} needs a package that is not installed: {_line(error)}",
            hint=f"pip install {error.name}" if error.name else "the message names it",
            field=FIELD,
        ) from error
    except (datasets.exceptions.DatasetsError, TemplateError, YAMLError, *_BAD_TASK) as error:
        raise ConfigError(
            f"task {name!r} cannot be loaded: {_line(error)}",
            hint="fix its YAML file or its data; data files are looked for in the folder include",
            field=FIELD,
        ) from error


# The harness raises these on task files that do not fit their data, or name what does not exist.
_BAD_TASK = (OSError, ValueError, LookupError, TypeError, AttributeError)


def _line(error: BaseException) -> str:
    text = str(error).strip().split("\n", 1)[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _unsupported(task: Any) -> str:
    """Why a task cannot be used; empty if it can."""
    from lm_eval.api.registry import AGGREGATION_REGISTRY

    if getattr(task, "UNSAFE_CODE", False):
        return "runs code that the model writes, which is never done here"
    if getattr(task, "MULTIMODAL", False):
        return "shows pictures or plays sounds, and the model takes text only"
    options = task.get_config("generation_kwargs") or {}
    warmth = float(options.get("temperature", 1.0 if options.get("do_sample") else 0.0))
    if task.OUTPUT_TYPE == "generate_until" and options.get("do_sample", True) and warmth > 0:
        return f"draws its answers at temperature {warmth:g}, and answers are greedy here"
    others = {function for name, function in AGGREGATION_REGISTRY.items() if name not in ("mean", "nanmean")}
    metrics = task.aggregation()
    if metrics and all(function in others for function in metrics.values()):
        return f"has no score for each question: {', '.join(metrics)} are of the whole task"
    return ""


def _set_shots(tasks: Iterable[Any], num_fewshot: int | None) -> None:
    """As the harness's own command does: what a task forbids stays forbidden."""
    for task in tasks:
        own = task.get_config("num_fewshot")
        if own is None or (num_fewshot is not None and own != 0):
            task.set_config(key="num_fewshot", value=num_fewshot or 0)
        task.set_fewshot_seed(seed=SHOTS_SEED)


@contextmanager
def _seeded() -> Iterator[None]:
    """Global random numbers start as in the harness's own command; their state is restored afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(PYTHON_SEED)
    np.random.seed(NUMPY_SEED)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _results(loaded: _Loaded, name: str, outcome: Mapping[str, Any]) -> list[TaskScore]:
    """Of one name: a group as a whole if that is a mean over its questions, else task by task."""
    members = {member: _scores(outcome["samples"][member]) for member in loaded.asked[name]}
    if name in loaded.groups:
        shared = set.intersection(*(set(scores) for scores in members.values()))
        pooled = {metric: sum((scores[metric] for scores in members.values()), ()) for metric in sorted(shared)}
        if together := _means(name, pooled, outcome):
            return together
    return [result for member, scores in members.items() for result in _means(member, scores, outcome)]


def _scores(samples: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, ...]]:
    """By metric, as in the harness's results (`acc,none`): the numbers of all questions, in the order of the task."""
    questions = {sample["doc_id"] for sample in samples}
    by_metric: dict[str, list[float]] = {}
    for sample in sorted(samples, key=lambda sample: int(sample["doc_id"])):
        for metric in sample["metrics"]:
            if isinstance(sample[metric], int | float | np.number):
                by_metric.setdefault(f"{metric},{sample['filter']}", []).append(float(sample[metric]))
    return {metric: tuple(scores) for metric, scores in by_metric.items() if len(scores) == len(questions)}


def _means(name: str, scores: Mapping[str, tuple[float, ...]], outcome: Mapping[str, Any]) -> list[TaskScore]:
    """Those metrics whose value is the mean of the questions' scores."""
    values = outcome["results"][name]
    return [
        TaskScore(
            task=name,
            version=str(outcome["versions"][name]),
            metric=metric.removesuffix(",none"),
            value=float(values[metric]),
            scores=list(each),
        )
        for metric, each in scores.items()
        if metric in values and math.isclose(values[metric], math.fsum(each) / len(each), rel_tol=1e-9, abs_tol=1e-12)
    ]
