"""A loop ends, a memory bomb is refused, and what comes afterwards has neither limit."""

from __future__ import annotations

import resource
import signal
import sys
import time
from contextlib import AbstractContextManager

import pytest

from droidft.errors import ModelError
from droidft.support import limits


def _within(seconds: float = 0.2, memory: int = 1 << 28) -> AbstractContextManager[None]:
    return limits.within("the work", seconds=seconds, memory=memory, kind=ModelError, hint="get it again")


def test_a_loop_is_ended_even_where_errors_are_swallowed() -> None:
    def swallow() -> None:
        while True:
            try:
                while True:
                    pass
            except Exception:  # noqa: BLE001 - as others' code does
                continue

    began = time.monotonic()
    with pytest.raises(ModelError, match=r"the work took longer than 0.2 s and was ended") as caught, _within():
        swallow()
    assert time.monotonic() - began < 2
    assert caught.value.hint == "get it again"
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory is Linux's")
def test_more_memory_is_refused_and_had_again_afterwards() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(ModelError, match=r"takes more than .* of memory"), _within(seconds=20):
        "x" * (1 << 30)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert len("x" * (1 << 29)) == 1 << 29


def test_deep_recursion_is_a_sentence() -> None:
    def deeper(depth: int) -> int:
        return deeper(depth + 1)

    with pytest.raises(ModelError, match="the work is nested too deeply"), _within(seconds=20):
        deeper(0)


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), _within():
        raise KeyError("x")
    with pytest.raises(RuntimeError, match="another"), _within():
        raise RuntimeError("another")


def test_an_outer_limit_goes_on_after_an_inner_one() -> None:
    def work() -> None:
        with _within(seconds=5):
            time.sleep(0.01)
        time.sleep(5)

    with pytest.raises(ModelError, match=r"longer than 0.3 s"), _within(seconds=0.3):
        work()


def test_an_outer_limit_ends_an_inner_one() -> None:
    began = time.monotonic()
    with pytest.raises(ModelError), _within(seconds=0.2), _within(seconds=5):
        time.sleep(5)
    assert time.monotonic() - began < 2
