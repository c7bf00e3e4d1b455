"""Prompts that were read before are found again, and only where all before them is the same."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import KVCache, RotatingKVCache, make_prompt_cache

from droidft.engine.generation.reuse import Kept
from droidft.engine.model.lora import Attached
from tests.tiny import llama

PART = 8


def keep(kept: Kept, adapter: Attached | None, tokens: list[int], cache: list[Any]) -> None:
    for span in kept.spans(adapter, tokens):
        kept.keep(span, cache)


def find(kept: Kept, adapter: Attached | None, tokens: list[int], cache: list[Any]) -> int:
    """How many tokens were found."""
    spans = kept.spans(adapter, tokens)
    count = kept.find(spans, cache)
    return spans[count - 1].end if count else 0


def read(model: Any, tokens: list[int]) -> list[Any]:
    cache: list[Any] = make_prompt_cache(model)
    for start in range(0, len(tokens), PART):
        model(mx.array([tokens[start : start + PART]]), cache=cache)
    mx.eval([layer.state for layer in cache])
    return cache


@pytest.fixture(scope="module")
def model() -> Any:
    return llama()


def test_a_prompt_that_goes_on_is_found_as_far_as_whole_parts_go(model: Any) -> None:
    kept, tokens = Kept(1 << 20, part=PART), list(range(30))
    whole = read(model, tokens)
    keep(kept, None, tokens, whole)
    for asked, known in (
        (tokens, 30),
        ([*tokens, 40], 24),
        (tokens[:20], 16),
        ([*tokens[:10], 99, *tokens[11:]], 8),
        ([99, *tokens[1:]], 0),
    ):
        cache: list[Any] = [KVCache() for _ in whole]
        assert find(kept, None, asked, cache) == known, asked
        for found, layer in zip(cache, whole, strict=True):
            assert found.offset == known
            if known:
                assert mx.array_equal(found.keys[..., :known, :], layer.keys[..., :known, :])
                assert mx.array_equal(found.values[..., :known, :], layer.values[..., :known, :])
    again = [KVCache() for _ in whole]
    find(kept, None, [*tokens, 40], again)
    rest = mx.array([[*tokens[24:], 40]])
    assert mx.allclose(model(rest, cache=again), model(mx.array([[*tokens, 40]]))[:, 24:], atol=1e-5)


def test_adapters_have_prompts_of_their_own(model: Any) -> None:
    kept, tokens = Kept(1 << 20, part=PART), list(range(16))
    one, other = Attached([]), Attached([])
    keep(kept, one, tokens, read(model, tokens))
    assert find(kept, one, tokens, make_prompt_cache(model)) == 16
    assert find(kept, other, tokens, make_prompt_cache(model)) == 0
    assert find(kept, None, tokens, make_prompt_cache(model)) == 0


def test_memory_is_bounded_and_the_least_recently_used_goes(model: Any) -> None:
    tokens = [list(range(n, n + PART)) for n in range(3)]
    cache = read(model, tokens[0])
    part = sum(layer.keys[..., :PART, :].nbytes * 2 for layer in cache)
    kept = Kept(2 * part, part=PART)
    for each in tokens[:2]:
        keep(kept, None, each, read(model, each))
    find(kept, None, tokens[0], make_prompt_cache(model))
    keep(kept, None, tokens[2], read(model, tokens[2]))
    assert kept.bytes == 2 * part
    assert [find(kept, None, each, make_prompt_cache(model)) for each in tokens] == [PART, 0, PART]
    kept = Kept(part - 1, part=PART)
    keep(kept, None, tokens[0], cache)
    assert kept.bytes == 0


def test_caches_of_other_kinds_are_left_alone(model: Any) -> None:
    kept = Kept(1 << 20, part=PART)
    keep(kept, None, [1, 2], [RotatingKVCache(8)])
    assert kept.bytes == 0
    assert find(kept, None, [1, 2], [RotatingKVCache(8)]) == 0
