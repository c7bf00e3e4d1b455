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
