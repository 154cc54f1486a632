"""Twice and ten times what the server can do, by the clock: the surplus is refused, at once.

The encoder takes a fixed time an image, so the capacity is known. `benchmarks/overload.py` measures
the same with the real engine.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from separate import FULL, separate
from standing import SEARCH, exchange, picture, post

if TYPE_CHECKING:
    from pathlib import Path

    from standing import Raw

pytestmark = pytest.mark.slow

IMAGE_S = 0.05  # 20 images a second
SECONDS = 60.0 if FULL else 4.0
WARM_UP_S = 2.0
PICTURE = picture(1)


def query(number: int, key: str) -> bytes:
    """A query whose bytes no other has, so that it is embedded by itself."""
    image = PICTURE + number.to_bytes(4, "big")
    return post(SEARCH, image, Connection="close", Authorization=f"Bearer {key}")


async def open_loop(port: int, rate_per_s: float, *, key: str = "") -> Outcome:
    """Poisson arrivals; latencies count from the moment when each should have left."""
    chance = np.random.default_rng(1)
    count = int((SECONDS + WARM_UP_S) * rate_per_s)
    times = np.cumsum(chance.exponential(1 / rate_per_s, count))
    start = time.perf_counter()
    outcome = Outcome()

    async def send(number: int, due: float) -> None:
        answer = await exchange(port, query(number, key))
        late = time.perf_counter() - start - due
        if due < WARM_UP_S:
            return
        outcome.add(answer, late)

    tasks = []
    for number, due in enumerate(times):
        if (wait := start + due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(send(number, float(due))))
    await asyncio.gather(*tasks)
    outcome.seconds = time.perf_counter() - start - WARM_UP_S
    return outcome


class Outcome:
    """What came of an open loop after its warm-up."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.queued_s: list[float] = []
        self.seconds = SECONDS
        self.refused = 0
        self.without_retry_after = 0
        self.other: list[int] = []

    def add(self, answer: Raw, seconds: float) -> None:
        if answer.status == 200:
            self.latencies_s.append(seconds)
            self.queued_s.append(float(answer.text.split(b"queue;dur=")[1].split(b",")[0]) / 1e3)
        elif answer.status in (429, 503):
            self.refused += 1
            self.without_retry_after += b"\r\nretry-after: " not in answer.text.lower()
        else:
            self.other.append(answer.status)

    @property
    def per_s(self) -> float:
        return len(self.latencies_s) / self.seconds

    @property
    def p99_s(self) -> float:
        return float(np.percentile(self.latencies_s, 99))


@pytest.mark.timeout(900)
async def test_the_surplus_is_refused_and_the_rest_is_fast(tmp_path: Path) -> None:
    capacity = 1 / IMAGE_S
    with separate(tmp_path, image_s=IMAGE_S) as server:
        usual = await open_loop(server.port, 0.8 * capacity)
        print(f"80 %: {usual.per_s / capacity:.2f} of capacity, p99 {usual.p99_s * 1e3:.0f} ms")
        for factor in (2, 10):
            found = await open_loop(server.port, factor * capacity)
            print(
                f"{factor} ×: goodput {found.per_s / capacity:.2f} of capacity, p99 of accepted "
                f"{found.p99_s * 1e3:.0f} ms ({found.p99_s / usual.p99_s:.1f} × that at 80 %), "
                f"waited {max(found.queued_s) * 1e3:.0f} ms at most, {found.refused} refused, "
                f"RSS {server.rss_mb:.0f} MB"
            )
            assert found.other == []
            assert found.without_retry_after == 0
            # claims are for the benchmark: on a busy machine this generator is late by itself
            assert found.per_s > 0.5 * capacity
            assert max(found.queued_s) < 1.5
        after = await open_loop(server.port, 0.5 * capacity)
        assert len(after.latencies_s) > 0.9 * (len(after.latencies_s) + after.refused)


@pytest.mark.timeout(300)
async def test_a_flood_of_one_key_leaves_the_others_theirs(tmp_path: Path) -> None:
    lines = [f"{name} read {hashlib.sha256(name.encode()).hexdigest()}" for name in ("a", "b")]
    (tmp_path / "keys").write_text("\n".join(lines))
    capacity = 1 / IMAGE_S
    with separate(tmp_path, image_s=IMAGE_S, api_keys=str(tmp_path / "keys")) as server:
        flooded, victim = await asyncio.gather(
            open_loop(server.port, 6 * capacity, key="a"),
            open_loop(server.port, 0.25 * capacity, key="b"),
        )
    asked = len(victim.latencies_s) + victim.refused
    print(
        f"a flood of 6 × capacity by one key: {len(flooded.latencies_s)} of its calls answered; "
        f"the other key, at a quarter: {len(victim.latencies_s)} of {asked} answered, "
        f"p99 {victim.p99_s * 1e3:.0f} ms"
    )
    assert len(victim.latencies_s) >= 0.8 * asked
