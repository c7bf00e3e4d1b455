"""Completions are drawn from the model's own distribution, whatever shares their batch."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer

from droidft.config.rewards import TagFormat
from droidft.data import batches
from droidft.data.prompts import PromptRow
from droidft.engine.methods import rollouts
from droidft.engine.methods.rollouts import Completion, Sampler, streams
from droidft.engine.model import loading
from droidft.engine.model.architectures import build_lazily
from droidft.engine.model.loss import SplitModel, log_probabilities
from droidft.engine.training.method import Interrupted
from droidft.rewards.scorer import Scorer
from tests import tiny
from tests.engine.model.architectures import TABLE

END = 258


def prompts(*lengths: int) -> list[Any]:
    generator = np.random.default_rng(3)
    return [generator.integers(0, 250, length).astype(np.int32) for length in lengths]


def sampled(model: Any, asked: list[Any], *, group: int = 3, **settings: Any) -> list[list[Completion]]:
    sampler = Sampler(**{"ends": frozenset({END}), "max_tokens": 20, "temperature": 1.0, "batch_size": 64} | settings)
    found: list[list[Any]] = [[None] * group for _ in asked]
    for prompt, member, completion in sampler.sample(model, asked, streams(0, 0, len(asked), group)):
        assert found[prompt][member] is None
        found[prompt][member] = completion
    return found


def read_again(model: Any, prompt: Any, completion: Completion, temperature: float) -> Any:
    """Log-probabilities by one pass over prompt and completion."""
    tokens = np.concatenate([prompt, completion.tokens])
    supervised = np.arange(len(tokens)) >= len(prompt)
    row = tiny.Row(tokens, supervised, "", 1)
    batch = batches.make_batch([row], [0])  # type: ignore[arg-type]
    return np.array(log_probabilities(SplitModel(model), batch, temperature=temperature))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_log_probabilities_are_those_of_a_pass_over_the_whole(
    temperature: float, batch_size: int, arithmetic: None
) -> None:
    model, asked = tiny.llama(), prompts(1, 9, 30, 9)
    for prompt, group in zip(
        asked, sampled(model, asked, temperature=temperature, batch_size=batch_size), strict=True
    ):
        for completion in group:
            again = read_again(model, prompt, completion, temperature)
            assert np.allclose(again, completion.logps, atol=2e-5)
            assert (completion.entropies > 0).all()


def test_what_is_drawn_does_not_depend_on_what_shares_the_batch() -> None:
    model, asked = tiny.llama(), prompts(5, 12, 7)
    alone = sampled(model, asked, batch_size=1)
    together = sampled(model, asked, batch_size=64)
    for one, other in zip(chain(*alone), chain(*together), strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
        assert np.allclose(one.logps, other.logps, atol=1e-5)


@pytest.mark.parametrize("kind", ["qwen2", "gemma3_text", "mixtral", "qwen3_next", "mamba"])
def test_other_architectures_and_their_caches(kind: str) -> None:
    """Sliding windows, experts, recurrent states: each cache is laid out for a group."""
    mx.random.seed(1)
    model = build_lazily({"model_type": kind, **TABLE[kind].config})
    model.eval()
    size = int(TABLE[kind].config.get("vocab_size", 100))
    asked = [prompt % size for prompt in prompts(4, 11)]
    for prompt, group in zip(asked, sampled(model, asked, group=2, max_tokens=6), strict=True):
        for completion in group:
            assert np.allclose(read_again(model, prompt, completion, 1.0), completion.logps, atol=5e-4), kind


def test_a_completion_ends_with_its_end_token_or_is_truncated() -> None:
    model, asked = tiny.llama(), prompts(3, 6)
    every_token = frozenset(range(0, tiny.VOCABULARY, 7))
    found = [one for group in sampled(model, asked, group=16, ends=every_token) for one in group]
    assert {one.truncated for one in found} == {True, False}
    for one in found:
        ended = [int(token) in every_token for token in one.tokens]
        assert not any(ended[:-1])
        assert one.truncated == (not ended[-1])
        assert len(one.tokens) == 20 if one.truncated else len(one.tokens) <= 20
        assert len(one.logps) == len(one.entropies) == len(one.tokens)


def test_tokens_come_as_often_as_their_probability_says() -> None:
    """Chi-squared of 40,000 draws from one distribution, by both ways of drawing."""
    logits = mx.random.normal((1, 12), key=mx.random.key(4)) * 2
    scores = np.array(logits[0], np.float64) / 0.8
    expected = np.exp(scores) / np.exp(scores).sum()
    uniforms = np.random.default_rng(0).random(40_000)
    many = mx.broadcast_to(logits, (len(uniforms), 12))
    for way in (lambda: rollouts._draw_on_host(np.array(many), uniforms, 0.8),
                lambda: rollouts._draw_on_device(many, uniforms, 0.8)):  # fmt: skip
        tokens, logps, entropies = way()
        counts = np.bincount(tokens, minlength=12)
        chi = ((counts - expected * len(uniforms)) ** 2 / (expected * len(uniforms))).sum()
        assert chi < 31.3, "99.9 % quantile at 11 degrees of freedom"
        assert np.allclose(logps, np.log(expected)[tokens], atol=1e-5)
        assert np.allclose(entropies, -(expected * np.log(expected)).sum(), atol=1e-5)


def test_a_token_of_no_probability_is_never_drawn() -> None:
    logits = mx.array([[-float("inf"), 0.0, -float("inf"), 1.0, -float("inf")]])
    for uniform in (0.0, 0.5, 1 - 2**-53):
        for way in (rollouts._draw_on_host, rollouts._draw_on_device):
            given = np.array(logits) if way is rollouts._draw_on_host else logits
            tokens, logps, entropies = way(given, np.array([uniform]), 1.0)
            assert tokens[0] in (1, 3)
            assert np.isfinite(logps).all()
            assert np.isfinite(entropies).all()


def test_sampling_is_called_off() -> None:
    asked = [0]

    def should_stop() -> bool:
        asked[0] += 1
        return asked[0] > 5

    sampler = Sampler(frozenset(), 20, 1.0, 8)
    with pytest.raises(Interrupted):
        list(sampler.sample(tiny.llama(), prompts(4), streams(0, 0, 1, 2), should_stop=should_stop))


@pytest.mark.parametrize("special", [True, False])
def test_rewards_see_the_text_that_chat_shows(tmp_path: Path, special: bool) -> None:
    """Tags that the tokenizer holds as special tokens are part of it; the token that ends it is not."""
    folder = tiny.write_model(tmp_path)
    added = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tags = [AddedToken(tag, special=special, normalized=False) for tag in ("<think>", "</think>")]
    (added.add_special_tokens if special else added.add_tokens)(tags)
    added.save(str(folder / "tokenizer.json"))
    tokenizer = loading.load_tokenizer(folder)
    texts = rollouts.Texts.of(tokenizer)
    said = "<think>a ü</think> b"
    tokens = np.array([*tokenizer.encode(said), tokenizer.eos_token_id], np.int32)
    asked = PromptRow(np.array([65], np.int32), [{"role": "user", "content": "0"}], None, {}, "rows.jsonl", 1)
    item = texts.to_score(asked, Completion(tokens, np.zeros(1), np.zeros(1), truncated=False))
    assert item.completion == said
    assert item.tokens == len(item.ids) == len(tokens)
    score = Scorer([TagFormat(tags=["think"])], tmp_path).score([item])[0, 0]
    assert score == pytest.approx(2 / 3), "opened and closed, in order, and a word outside"


def test_a_text_that_is_continued_keeps_its_first_space(tmp_path: Path) -> None:
    tokenizer = loading.load_tokenizer(tiny.write_model(tmp_path))
    texts = rollouts.Texts.of(tokenizer)
    asked = PromptRow(np.array(tokenizer.encode("a"), np.int32), None, "a", {}, "rows.jsonl", 1)
    assert texts.completion(asked, np.array(tokenizer.encode(" b"), np.int32)) == " b"
