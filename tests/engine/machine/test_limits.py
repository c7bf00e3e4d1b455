"""How much of a GPU's memory a process takes. MLX takes such limits on a CPU too, which shows that it knows them."""

from __future__ import annotations

import mlx.core as mx
import pytest

from droidft.engine.machine.limits import Limits, limits
from droidft.errors import ConfigError

GB = 10**9


def test_a_process_alone_takes_nearly_all() -> None:
    assert limits(100 * GB, {}) == Limits(95 * GB, 50 * GB, 90 * GB)


def test_several_take_their_share() -> None:
    assert limits(100 * GB, {"DROIDFT_SHARES": "4"}) == Limits(int(23.75 * GB), int(12.5 * GB), int(22.5 * GB))


@pytest.mark.parametrize(
    ("text", "expected"), [("40GB", 40 * GB), ("40 gb", 40 * GB), ("512MB", 512 * 10**6), ("25%", 25 * GB)]
)
def test_the_environment_decides_where_it_says_something(text: str, expected: int) -> None:
    made = limits(100 * GB, {"DROIDFT_MEMORY_LIMIT": text, "DROIDFT_SHARES": "2"})
    assert made.memory == expected
    assert made.cache == min(expected, 25 * GB)


@pytest.mark.parametrize("text", ["much", "-1GB", "0", "101%", "200GB", "1e9", "5 XB"])
@pytest.mark.parametrize("name", ["DROIDFT_MEMORY_LIMIT", "DROIDFT_CACHE_LIMIT", "DROIDFT_WIRED_LIMIT"])
def test_what_is_no_amount_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}={text}"):
        limits(100 * GB, {name: text})


def test_mlx_knows_them() -> None:
    memory, cache = mx.set_memory_limit(GB), mx.set_cache_limit(GB)
    try:
        Limits(3 * GB, 2 * GB, GB).apply(metal=False)
        assert (mx.set_memory_limit(memory), mx.set_cache_limit(cache)) == (3 * GB, 2 * GB)
    finally:
        mx.set_memory_limit(memory)
        mx.set_cache_limit(cache)
