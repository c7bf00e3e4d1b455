"""Child processes that answer requests on their standard streams."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing

import pytest

from droidft.support.channel import Child, ChildError, _Process


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


async def counting(child: Child, to: int | None, until: int) -> list[int]:
    """Numbers that a request counts, called off after `until` of them."""
    found: list[int] = []
    async with aclosing(child.stream("count", {} if to is None else {"to": to})) as steps:
        async for kind, value in steps:
            if kind == "event":
                found.append(value)
            if len(found) == until:
                break
    return found


def test_requests_side_by_side_end_alone_and_break_together() -> None:
    async def scenario() -> None:
        child = Child("tests.support.together_child", at_once=8)
        try:
            endless = asyncio.create_task(counting(child, None, 1_000_000))
            assert await counting(child, 5, 99) == [1, 2, 3, 4, 5]
            assert await counting(child, None, 3) == [1, 2, 3]
            with pytest.raises(ChildError, match="no"):
                await child.call("refuse", {})
            pid = child.pid
            assert child.busy
            breaking = asyncio.create_task(child.call("break", {"why": "worn out"}))
            for broken in (breaking, endless):
                with pytest.raises(ChildError, match="RuntimeError: worn out"):
                    await broken
            assert not child.busy
            assert await counting(child, 2, 99) == [1, 2]
            assert child.pid == pid, "the process goes on"
            last = asyncio.create_task(counting(child, None, 1_000_000))
            others = [asyncio.create_task(counting(child, None, 1_000_000)) for _ in range(3)]
            await asyncio.sleep(0.2)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            for each in (last, *others):
                with pytest.raises(ChildError, match="SIGKILL"):
                    await each
            assert await counting(child, 1, 99) == [1]
        finally:
            await child.close()

    asyncio.run(scenario())


def test_a_child_that_reads_no_more_is_killed_when_its_request_is_called_off() -> None:
    async def scenario() -> None:
        child = Child("tests.support.together_child", at_once=8, patience=0.2)
        try:
            assert await counting(child, 1, 99) == [1]
            assert child.pid is not None
            os.kill(child.pid, signal.SIGSTOP)
            asked = asyncio.create_task(child.call("refuse", {"long": "x" * (1 << 20)}))
            await asyncio.sleep(0.2)
            asked.cancel()
            await asyncio.wait({asked}, timeout=5)
            assert asked.done()
            assert child.pid is None
            assert not child.busy
        finally:
            await child.close()

    asyncio.run(scenario())


def test_a_request_that_is_cancelled_while_it_is_sent_is_called_off(monkeypatch: pytest.MonkeyPatch) -> None:
    send, stuck = _Process.send, asyncio.Event()

    async def slow(self: _Process, line: bytes) -> None:
        await send(self, line)
        if b'"call"' in line and not stuck.is_set():  # the pipe is full
            stuck.set()
            await asyncio.sleep(60)

    async def scenario() -> None:
        child = Child("tests.support.together_child", at_once=8)
        monkeypatch.setattr(_Process, "send", slow)
        try:
            endless = asyncio.create_task(counting(child, None, 1_000_000))
            await stuck.wait()
            endless.cancel()
            await asyncio.wait({endless})
            assert not child.busy
            assert child._child is not None
            assert child._child.listeners == 0
            assert await counting(child, 2, 99) == [1, 2]
        finally:
            await child.close()

    asyncio.run(scenario())
