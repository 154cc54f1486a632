"""The batcher: batches grow with the load, and no call is forgotten."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vitrine_server.batching import Batcher
from vitrine_server.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def soon() -> float:
    return time.monotonic() + 5


async def test_calls_that_arrive_together_share_a_batch() -> None:
    sizes: list[int] = []

    async def run(items: Sequence[int], deadline: float) -> Sequence[int]:
        sizes.append(len(items))
        await asyncio.sleep(0.01)
        return [2 * item for item in items]

    batcher = Batcher[int, int](run, max_batch=8, concurrency=1)
    done = await asyncio.gather(*(batcher.submit(item, deadline=soon()) for item in range(20)))
    assert [each.value for each in done] == [2 * item for item in range(20)]
    assert sizes == [8, 8, 4]


async def test_no_call_is_forgotten_when_a_runner_ends_as_it_arrives() -> None:
    async def run(items: Sequence[int], deadline: float) -> Sequence[int]:
        return items  # without a pause: a runner ends in the step in which its calls wake up

    batcher = Batcher[int, int](run, max_batch=4, concurrency=2)

    async def caller() -> None:
        for item in range(300):
            assert (await batcher.submit(item, deadline=soon())).value == item

    await asyncio.wait_for(asyncio.gather(*(caller() for _ in range(8))), 4)


async def test_every_call_expires_on_time() -> None:
    release = asyncio.Event()

    async def run(items: Sequence[float], deadline: float) -> Sequence[float]:
        await release.wait()
        return items

    batcher = Batcher[float, float](run, max_batch=2, concurrency=1)
    started = time.monotonic()

    async def late_s(wait_s: float) -> float:
        with pytest.raises(DeadlineExceeded):
            await batcher.submit(wait_s, deadline=started + wait_s)
        return time.monotonic() - started - wait_s

    patient = asyncio.create_task(batcher.submit(1, deadline=math.inf))
    # one of them runs, the others wait; a deadline comes after a later one, and after an earlier
    calls = asyncio.gather(*(late_s(wait_s) for wait_s in (0.3, 0.1, 0.2, 0.1, 0.4)))
    assert min(await asyncio.wait_for(calls, 30)) >= 0
    release.set()
    assert (await patient).value == 1


async def test_a_call_that_is_given_up_is_not_run() -> None:
    seen: list[int] = []

    async def run(
        items: Sequence[NDArray[np.int64]], deadline: float
    ) -> Sequence[NDArray[np.int64]]:
        seen.extend(int(item[0]) for item in items)
        await asyncio.sleep(0.05)
        return items

    batcher = Batcher["NDArray[np.int64]", "NDArray[np.int64]"](run, max_batch=1, concurrency=1)
    calls = [
        asyncio.create_task(batcher.submit(np.full(3, number), deadline=soon()))
        for number in range(4)
    ]
    await asyncio.sleep(0.01)
    calls[2].cancel()
    with pytest.raises(DeadlineExceeded):
        await batcher.submit(np.full(3, 9), deadline=time.monotonic() + 0.01)
    await asyncio.gather(*calls, return_exceptions=True)
    assert seen == [0, 1, 3]
