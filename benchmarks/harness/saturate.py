"""As many requests as a server takes: each connection sends its next when its last is answered.

Only throughput may be read from this. Arrivals slow down with the server, so its latencies leave
out the waiting of everybody who would have come (coordinated omission); see openloop.py.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.wire import Answer, Pool, Request, Target, WireError, fetch

if TYPE_CHECKING:
    from collections.abc import Callable


# A connection that was turned away asks again after this: often enough that the server never idles,
# seldom enough that refusals cost it little.
TURNED_AWAY_S = 0.25


@dataclass(frozen=True, slots=True)
class Saturation:
    """Answers of the window by status (0: no answer), good ones a second, means of their stages.

    answered: good answers from the first request to the last, warm-up included.
    """

    statuses: dict[int, int]
    answered: int
    per_s: float
    stages_ms: dict[str, float]

    @property
    def errors(self) -> int:
        """Answers that are neither good nor the server's way to turn load away."""
        return sum(n for status, n in self.statuses.items() if status not in (200, 429, 503))


async def saturate(
    target: Target,
    request: Callable[[int], Request],
    *,
    connections: int,
    seconds: float,
    warmup_s: float = 1.0,
    timeout_s: float = 30.0,
) -> Saturation:
    """Send request(0), request(1), … on all connections; count what is answered after warm-up."""
    statuses: Counter[int] = Counter()
    stages: dict[str, float] = defaultdict(float)
    answered = 0
    numbers = iter(range(2**62))
    pool = Pool(target)
    begin = time.perf_counter() + warmup_s
    end = begin + seconds

    async def worker() -> None:
        nonlocal answered
        while time.perf_counter() < end:
            answer = await _try(pool, request(next(numbers)), timeout_s)
            answered += answer is not None and answer.status == 200
            if answer is not None and answer.status in (429, 503):
                await asyncio.sleep(TURNED_AWAY_S)
            if begin <= time.perf_counter() < end:
                statuses[answer.status if answer else 0] += 1
                if answer is not None:
                    for stage, spent_ms in answer.stages_ms().items():
                        stages[stage] += spent_ms

    await pool.warm(connections)
    await asyncio.gather(*(worker() for _ in range(connections)))
    pool.close()
    good = statuses[200]
    return Saturation(
        dict(statuses),
        answered,
        good / seconds,
        {name: total / good for name, total in stages.items()} if good else {},
    )


async def _try(pool: Pool, request: Request, timeout_s: float) -> Answer | None:
    try:
        return await fetch(pool, request, timeout_s=timeout_s)
    except (WireError, asyncio.TimeoutError):
        await asyncio.sleep(0.01)  # a dead server must not be hammered in a busy loop
        return None
