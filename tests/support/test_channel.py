"""Child processes that answer requests on their standard streams."""

from __future__ import annotations

import asyncio

import pytest

from droidft.support.channel import Child, ChildError


def test_a_child_killed_in_the_middle_of_a_line_died() -> None:
    seen = []

    async def scenario() -> None:
        async for step in Child("tests.server.cut_short").stream("anything", {}):
            seen.append(step)

    with pytest.raises(ChildError, match=r"ended in the middle of its work \(SIGKILL\)") as caught:
        asyncio.run(scenario())
    assert caught.value.code == "worker_died"
    assert seen == [("event", {"type": "text"})]


def test_a_request_that_is_cancelled_twice_keeps_its_turn_until_the_child_has_dropped_it() -> None:
    async def scenario() -> object:
        child = Child("tests.support.slow_child")
        asked = asyncio.create_task(child.call("slow", {}))
        while not child.busy or child.pid is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        for _ in range(2):
            asked.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        try:
            assert child.busy
            return await child.call("quick", {})
        finally:
            await child.close()

    assert asyncio.run(scenario()) == "done"
