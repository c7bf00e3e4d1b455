"""Rewards before a run: a few completions of the model as it is, and what they earn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import mlx.nn as nn
import numpy as np

from droidft.adapters.diagnostics import refuse_other_base
from droidft.config import ScaleRewards, TrainingConfig
from droidft.data.prompts import PromptRow, PromptSet, prepare_prompts
from droidft.engine.generation.generate import wired
from droidft.engine.machine.device import release
from droidft.engine.methods.policy import advantages, tied
from droidft.engine.methods.rollouts import Completion, Sampler, Texts, streams
from droidft.engine.model import adapter_weights, loading
from droidft.engine.model.precision import precision
from droidft.engine.model.starting import starting_adapter
from droidft.events import SampledCompletion
from droidft.models import catalog
from droidft.rewards.scorer import Scorer, Trial
from droidft.support.places import Places

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much; what it raises ends the trial."""


def try_rewards(
    config: TrainingConfig,
    places: Places,
    scorer: Scorer,
    *,
    prompts: int,
    completions: int,
    seed: int,
    report: Report,
) -> Trial:
    """Sample `completions` of each of `prompts` training prompts, which `seed` chooses, and score them.

    Raises:
        DroidError: the model, the data or a reward cannot be used.
    """
    scorer.prepare()
    path = catalog.find_model(config.model_path, models_dir=places.models, offline=config.offline)
    tokenizer, limit = loading.load_tokenizer(path), catalog.context_length(catalog.load_config(path))
    texts = Texts.of(tokenizer)
    prepared = prepare_prompts(
        config,
        tokenizer,
        context_length=limit,
        progress=lambda done, total: report("checking rows", done, total or 0),
    )
    rows = chosen(prepared.train, prompts, seed)
    scorer.check((row.place, row.columns) for row in rows)
    report("loading the model", 0, 0)
    model, _ = loading.load_model(path, precision=precision(config.compute_dtype))
    if config.init_adapter is not None:
        info = starting_adapter(config.init_adapter, path, places)
        assert info is not None, "the model is here"
        base = catalog.fingerprint(path, cache=places.cache / "fingerprints.json")["weights_sha256"]
        refuse_other_base(info, base, ref=config.model_path, allowed=config.allow_mismatch)
        adapter_weights.apply(model, info)
    model.eval()
    begun = time.perf_counter()
    drawn = _sample(model, config, texts, rows, min(completions, config.num_generations), seed, report)
    sampled = time.perf_counter() - begun
    del model
    release()
    report("scoring", 0, 0)
    shown = _scored(scorer, texts, rows, drawn)
    lengths = [len(one.tokens) for group in drawn for one in group]
    rewards = np.array([row.reward for row in shown]).reshape(len(rows), -1)
    return Trial(
        rewards=scorer.names,
        weights=[float(weight) for weight in scorer.weights],
        rows=shown,
        tied_groups=float(np.mean(tied(rewards))),
        sampling_tokens_per_second=sum(lengths) / max(sampled, 1e-9),
        seconds=time.perf_counter() - begun,
        seed=seed,
        warnings=list(prepared.report.warnings),
    )


def _scored(
    scorer: Scorer, texts: Texts, rows: Sequence[PromptRow], drawn: Sequence[Sequence[Completion]]
) -> list[SampledCompletion]:
    """Every completion with what it earns; the advantage is its lead over its group."""
    items = [texts.to_score(row, one) for row, group in zip(rows, drawn, strict=True) for one in group]
    scores = scorer.score(items)
    totals = scorer.total(scores)
    leads = advantages(totals.reshape(len(rows), -1), ScaleRewards.NONE).ravel()
    flat = [one for group in drawn for one in group]
    return [
        SampledCompletion(
            place=item.place,
            prompt=item.prompt,
            completion=item.completion,
            rewards=scorer.named(given),
            reward=float(np.nan_to_num(total)),
            advantage=float(lead),
            tokens=len(one.tokens),
            truncated=one.truncated,
        )
        for item, one, given, total, lead in zip(items, flat, scores, totals, leads, strict=True)
    ]


def chosen(prompts: PromptSet, count: int, seed: int) -> list[PromptRow]:
    """Some of the prompts, in the order of the file: a function of `seed`."""
    picked = np.random.default_rng(seed).choice(len(prompts), size=min(count, len(prompts)), replace=False)
    return [prompts[int(index)] for index in sorted(picked)]


def _sample(
    model: nn.Module,
    config: TrainingConfig,
    texts: Texts,
    rows: Sequence[PromptRow],
    group: int,
    seed: int,
    report: Report,
) -> list[list[Completion]]:
    total, drawn = len(rows) * group, dict[tuple[int, int], Completion]()

    def look() -> bool:
        """Called before every token; what `report` raises ends the work."""
        report("sampling", len(drawn), total)
        return False

    sampler = Sampler(
        texts.ends, config.max_completion_length, config.temperature, config.sampling_batch_size, texts.known
    )
    numbers = streams(seed, 0, len(rows), group)
    with wired(model):
        for row, member, one in sampler.sample(model, [row.tokens for row in rows], numbers, should_stop=look):
            drawn[row, member] = one
    return [[drawn[row, member] for member in range(group)] for row in range(len(rows))]
