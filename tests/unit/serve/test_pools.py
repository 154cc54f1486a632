"""Calls in threads that an event loop waits for: what they give, and what is given up in time."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from vitrine_server.errors import DeadlineExceeded
from vitrine_server.pools import WatchedPool


def soon(seconds: float = 30) -> float:
    return time.monotonic() + seconds


async def test_what_a_call_gives() -> None:
    pool = WatchedPool(1, "test")
    assert await pool.run(threading.get_ident, deadline=soon()) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 / 0, deadline=soon())
    pool.shutdown()


async def test_what_waits_when_its_time_is_up_is_not_executed() -> None:
    pool = WatchedPool(1, "test")
    release, executed = threading.Event(), []
    running = asyncio.create_task(pool.run(lambda: release.wait(10), deadline=soon()))
    await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded):
        await pool.run(lambda: executed.append("late"), deadline=soon(0.05))
    given_up = asyncio.create_task(pool.run(lambda: executed.append("alone"), deadline=soon()))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert pool.longest_s > 0.04
    release.set()
    assert await running is True
    await pool.run(lambda: executed.append("last"), deadline=soon())
    assert executed == ["last"]
    pool.shutdown()
    assert pool.longest_s == 0


async def test_a_call_that_runs_when_its_time_is_up_is_not_waited_for() -> None:
    pool = WatchedPool(1, "test")
    release = threading.Event()
    with pytest.raises(DeadlineExceeded):
        await pool.run(lambda: release.wait(10), deadline=soon(0.05))
    release.set()
    assert await pool.run(lambda: "next", deadline=soon()) == "next"
    pool.shutdown()


async def test_no_cancellation_is_lost_to_a_result() -> None:
    pool = WatchedPool(1, "test")
    started = threading.Event()
    task = asyncio.create_task(pool.run(started.wait, deadline=soon()))
    await asyncio.sleep(0)
    started.set()
    # the result is on its way to this loop, which must not see it yet
    time.sleep(0.05)  # noqa: ASYNC251
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pool.shutdown()
