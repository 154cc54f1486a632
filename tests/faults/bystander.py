"""A client that does nothing wrong, while others do: what they cost it."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from standing import SEARCH, exchange, picture, post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAUSE_S = 0.02
QUERIES = [post(SEARCH, picture(number), Connection="close") for number in range(20)]


@asynccontextmanager
async def bystander(port: int) -> AsyncIterator[list[float]]:
    """Seconds that each of its image queries took, one after the other; each must be answered."""
    found: list[float] = []
    leaving = False

    async def ask() -> None:
        while not leaving:
            answer = await exchange(port, QUERIES[len(found) % len(QUERIES)])
            assert answer.status == 200, answer.text
            found.append(answer.seconds)
            await asyncio.sleep(PAUSE_S)

    asking = asyncio.create_task(ask())
    try:
        yield found
    finally:
        leaving = True
        await asking


async def alone(port: int, seconds: float) -> list[float]:
    """The same while nobody else asks."""
    async with bystander(port) as found:
        await asyncio.sleep(seconds)
    return found


def p99_ms(seconds: list[float]) -> float:
    return 1e3 * statistics.quantiles(seconds, n=100)[98]
